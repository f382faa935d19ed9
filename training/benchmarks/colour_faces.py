"""
How far the plain ResNet folder differs from the SimFLE folder on faces in colour, by drawn faces.

    python training/benchmarks/colour_faces.py

The plain folder takes luminance without rounding it to 8 bits. Prints, for faces of 48 and 128 px: the largest change
of a probability, how many of 80 faces change by more than 0.01, and how many get another first label.
"""

import argparse
from pathlib import Path

from training.runtime.arguments import run_main

CARDS = Path(__file__).parents[2] / "hub_cards"


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(argv)
    from transformers import pipeline

    from training.data.drawn_faces import draw_faces

    folders = (CARDS / "simfle-resnet18-ferplus", CARDS / "simfle-resnet18-ferplus-plain")
    simfle, plain = (pipeline("image-classification", model=str(f), trust_remote_code=True, top_k=8) for f in folders)
    for size in (48, 128):
        faces = [face.image for face in draw_faces(80, seed=3, size=size)]
        scores = [[{x["label"]: x["score"] for x in face} for face in classify(faces)] for classify in (simfle, plain)]
        pairs = list(zip(*scores, strict=True))
        changes = [max(abs(a[label] - b[label]) for label in a) for a, b in pairs]
        relabelled = sum(max(a, key=a.get) != max(b, key=b.get) for a, b in pairs)
        print(f"{size} px: largest {max(changes):.4f}, above 0.01 {sum(c > 0.01 for c in changes)}, other {relabelled}")


if __name__ == "__main__":
    run_main("colour_faces", main)
