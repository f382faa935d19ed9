"""
The time that one face takes the image-classification pipeline, in turn for several models, in PyTorch on two threads.

    python training/benchmarks/time_per_face.py MODEL... [--calls 120]

Each model is timed as loaded, and with its weights in channels-last layout. Prints medians in milliseconds.
"""

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

from training.runtime.arguments import run_main

UNCOUNTED = 10  # first calls of each model
FACE = Path(__file__).parents[2] / "hub_cards" / "simfle-resnet18-ferplus" / "example_photo.png"
MODELS = [str(FACE.parent), str(FACE.parents[1] / "simfle-resnet50-ferplus")]


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="folders or Hub ids; default the published two")
    parser.add_argument("--calls", type=int, default=120, help="timed calls of each")
    arguments = parser.parse_args(argv)
    import torch
    from PIL import Image
    from transformers import pipeline

    torch.set_num_threads(2)
    face = Image.open(FACE)
    pipelines: dict[str, Any] = {}  # mypy does not know a pipeline's __call__ (Transformers 5.24)
    for name in arguments.models:
        for layout in ("as loaded", "channels last"):
            classify: Any = pipeline("image-classification", model=name, trust_remote_code=True)
            if layout == "channels last":
                classify.model.to(memory_format=torch.channels_last)
            pipelines[f"{Path(name).name}, {layout}"] = classify
    seconds: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in range(UNCOUNTED + arguments.calls):
        for name, classify in pipelines.items():
            started = time.perf_counter()
            classify(face)
            seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        print(f"{name:<48}{1000 * median(values[UNCOUNTED:]):8.2f} ms")


if __name__ == "__main__":
    run_main("time_per_face", main)
