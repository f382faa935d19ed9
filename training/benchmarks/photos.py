"""
Measures the command `simfle` as people run it: videos, cropped faces, a large photograph, memory, and its start.

    python training/benchmarks/photos.py --output_json photos.json

Each figure comes from the command in a process of its own. A rate is the difference between a long and a short run, so
that imports and the loading of the model do not count. The images show scikit-image's astronaut (NASA, public domain).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from training.runtime.arguments import run_main
from training.runtime.errors import RunError

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "hub_cards" / "simfle-resnet18-ferplus"
PLAIN = ROOT / "hub_cards" / "simfle-resnet18-ferplus-plain"
ONNX = ["--model", str(PLAIN), "--backend", "onnx"]
BATCH_SIZE = 32
FRAMES, SHORT_FRAMES = 350, 100  # of the long and the short video
CROPS, SHORT_CROPS = 1500, 300
# The aims on two quiet cores: name of a figure -> (least or most, value).
AIMS = {
    "video_onnx_frames_per_second": ("at least", 25),
    "video_torch_frames_per_second": ("at least", 12),
    "crops_ratio_to_network": ("at least", 0.9),
    "photo_of_12_megapixels_seconds": ("at most", 1),
    "help_seconds": ("at most", 1),
    "first_photo_seconds": ("at most", 8),
    "memory_ratio_of_five_times_the_crops": ("at most", 1.1),
}


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many runs counts")
    parser.add_argument("--output_json", type=Path, help="where the figures go, beside the table")
    arguments = parser.parse_args(argv)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, value in measure(Path(folder), arguments.rounds):
            figures[name] = value
            aim = "{} {}".format(*AIMS[name]) if name in AIMS else ""
            print(f"{name:<40}{value:10.2f}   {aim}", flush=True)
    if arguments.output_json:
        arguments.output_json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, rounds: int) -> Iterator[tuple[str, float]]:
    """Yields (name, figure). Images and tables are written to `folder`."""
    face, photo = write_pictures(folder)
    yield "help_seconds", median(simfle("--help")[0] for _ in range(rounds))
    yield "first_photo_seconds", median(simfle(photo, "--model", MODEL)[0] for _ in range(rounds))
    for frames in (FRAMES, SHORT_FRAMES):
        write_video(folder / f"{frames}.mp4", frames, face)
    for backend, flags in (("onnx", ONNX), ("torch", ["--model", MODEL])):
        seconds, _ = difference(folder / f"{FRAMES}.mp4", folder / f"{SHORT_FRAMES}.mp4", flags, rounds)
        yield f"video_{backend}_frames_per_second", (FRAMES - SHORT_FRAMES) / seconds
    flags = ["--model", MODEL, "--already_cropped", "--batch_size", BATCH_SIZE]
    seconds, memory = difference(folder / "crops", folder / "few_crops", flags, rounds)
    rate, network = (CROPS - SHORT_CROPS) / seconds, network_rate(rounds)
    yield "crops_per_second", rate
    yield "network_faces_per_second", network
    yield "crops_ratio_to_network", rate / network
    yield "memory_ratio_of_five_times_the_crops", memory
    seconds, _ = difference(folder / "large", folder / "one_large", ["--model", MODEL], rounds)
    yield "photo_of_12_megapixels_seconds", seconds / 4


def simfle(*arguments) -> tuple[float, int]:
    """
    Runs the command. Returns the seconds, and the largest resident memory in kilobytes. Raises RunError if the command
    does not end with status 0.
    """
    command = [sys.executable, "-m", "simfle", *map(str, arguments)]
    started = time.perf_counter()
    with open(os.devnull, "w") as nowhere, tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=nowhere, stderr=said, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        said.seek(0)
        if process.returncode:
            raise RunError(f"{' '.join(command)} ended with status {process.returncode}: {said.read()[-500:]}")
    return seconds, usage.ru_maxrss


def difference(long: Path, short: Path, flags: list, rounds: int) -> tuple[float, float]:
    """Returns the seconds that the long input takes more than the short one, and the ratio of their memory; medians."""
    output = long.parent / "rows.csv"
    pairs = [
        [simfle(place, *flags, "--output", output, "--overwrite") for place in (long, short)] for _ in range(rounds)
    ]
    seconds = median(more[0] - less[0] for more, less in pairs)
    return seconds, median(more[1] / less[1] for more, less in pairs)


def network_rate(rounds: int) -> float:
    """Returns the faces a second of the network alone, in the same batches."""
    import torch
    from transformers import AutoModelForImageClassification

    import modeling_simfle  # noqa: F401

    model = AutoModelForImageClassification.from_pretrained(MODEL).eval()
    faces, batches, rates = torch.rand(BATCH_SIZE, 3, 96, 96), (CROPS - SHORT_CROPS) // BATCH_SIZE, []
    with torch.inference_mode():
        for _ in range(rounds):
            model(pixel_values=faces)
            started = time.perf_counter()
            for _ in range(batches):
                model(pixel_values=faces)
            rates.append(batches * BATCH_SIZE / (time.perf_counter() - started))
    return median(rates)


def write_pictures(folder: Path):
    """Writes photographs and crops. Returns the face as an image, and the path of the photograph."""
    import skimage.data
    from PIL import Image

    astronaut = Image.fromarray(skimage.data.astronaut())
    astronaut.save(folder / "photo.jpg")
    face = astronaut.crop((150, 30, 300, 200))
    for name, count in (("crops", CROPS), ("few_crops", SHORT_CROPS)):
        (folder / name).mkdir()
        for index in range(count):
            astronaut.crop((178, 63, 290, 175)).resize((48, 48)).save(folder / name / f"{index}.png")
    group = Image.new("RGB", (4000, 3000), "gray")
    for index in range(12):
        group.paste(face.resize((300, 340)), (150 + 950 * (index % 4), 200 + 900 * (index // 4)))
    for name, count in (("large", 5), ("one_large", 1)):
        (folder / name).mkdir()
        for index in range(count):
            group.save(folder / name / f"{index}.jpg", quality=90)
    return face, folder / "photo.jpg"


def write_video(path: Path, frames: int, face) -> None:
    """Writes a video of 640 x 480 pixels and 25 frames a second with three faces, one of which moves."""
    import cv2
    import numpy as np
    from PIL import Image

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (640, 480))
    for index in range(frames):
        frame = Image.new("RGB", (640, 480), "gray")
        for left, top in ((10 + index % 40, 20), (240, 250), (450, 40)):
            frame.paste(face, (left, top))
        writer.write(np.ascontiguousarray(np.asarray(frame)[:, :, ::-1]))
    writer.release()


if __name__ == "__main__":
    run_main("photos", main)
