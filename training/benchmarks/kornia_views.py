"""
Both views of a batch by kornia and by training/data/views.py, in turn, within one run: which makes them faster.

    pip install kornia && python training/benchmarks/kornia_views.py --output_json kornia.json

On a GPU where there is one, on one thread of the CPU otherwise. Ours is timed from the parameters on, which pretraining
draws in the loader's workers, and with the drawing; kornia draws in its call. The augmentations differ: kornia draws
one order of the jitter for a whole batch, and resizes without antialiasing.
"""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from training.runtime.arguments import check_range, parse_arguments, run_main
from training.runtime.errors import InputError


@dataclass
class KorniaArguments:
    """What is timed."""

    view_size: int = field(default=112, metadata={"help": "side of the views"})
    image_side: int = field(default=112, metadata={"help": "side of the drawn faces"})
    batch_size: int = field(default=64, metadata={"help": "faces a call"})
    rounds: int = field(default=5, metadata={"help": "rounds over all variants"})
    output_json: str | None = field(default=None, metadata={"help": "where the figures go, beside the table"})

    def __post_init__(self):
        for name in ("view_size", "image_side", "batch_size", "rounds"):
            check_range(name, getattr(self, name), 1)


def main(argv=None) -> None:
    (bench,) = parse_arguments((KorniaArguments,), argv, __doc__)
    import torch

    from training.benchmarks.bench import device_name, in_turn
    from training.runtime.run_folder import write_json

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(1)
    with torch.inference_mode():
        times = in_turn(make_variants(bench, device), bench.rounds, device)
    figures = {name: bench.batch_size / median(seconds) for name, seconds in times.items()}
    print(f"{device_name(device)}; images a second, both views, and ratio to kornia")
    for name, rate in figures.items():
        print(f"  {name:<34}{rate:10.1f}  x {rate / figures['kornia']:5.2f}")
    if bench.output_json:
        write_json(Path(bench.output_json), {"device": device_name(device), "images_per_second": figures})


def make_variants(bench: KorniaArguments, device: str) -> dict:
    """
    Name to a function that makes both views of the same faces.

    Raises:
        ValueError: kornia is not installed.
    """
    import numpy as np
    import torch

    from training.data import views
    from training.data.drawn_faces import draw_faces

    faces = [np.asarray(face.image) for face in draw_faces(bench.batch_size, 0, bench.image_side)]
    images = torch.from_numpy(np.stack(faces)).to(device)
    augment = kornia_augmentation(bench.view_size)

    def draw(view: int) -> views.ViewBatch:
        generators = [views.view_generator(0, 0, index, view) for index in range(bench.batch_size)]
        drawn = [views.draw_view(generator, bench.image_side, bench.image_side) for generator in generators]
        return views.stack_views(drawn).to(device)

    drawn = [draw(view) for view in (1, 2)]
    return {
        "kornia": lambda: [augment(images.permute(0, 3, 1, 2) / 255) for _ in drawn],
        "ours, parameters drawn before": lambda: [views.apply_views(images, view, bench.view_size) for view in drawn],
        "ours, drawing included": lambda: [views.apply_views(images, draw(v), bench.view_size) for v in (1, 2)],
    }


def kornia_augmentation(size: int):
    """method.md section 7 as kornia has it: (B, 3, H, W) float32 in [0, 1] -> (B, 3, S, S)."""
    try:
        from kornia import augmentation
    except ImportError as error:
        raise InputError(f"kornia cannot be imported ({error}); pip install kornia.") from error
    from training.data import views

    strength, hue, kernel = views.JITTER_STRENGTH, views.HUE_STRENGTH, int(0.1 * size) // 2 * 2 + 1
    return augmentation.AugmentationSequential(
        augmentation.RandomResizedCrop((size, size), scale=views.CROP_SCALE, ratio=views.CROP_RATIO),
        augmentation.RandomHorizontalFlip(p=views.FLIP_PROBABILITY),
        augmentation.ColorJiggle(strength, strength, strength, hue, p=views.JITTER_PROBABILITY),
        augmentation.RandomGrayscale(p=views.GRAYSCALE_PROBABILITY),
        augmentation.RandomGaussianBlur((kernel, kernel), views.BLUR_SIGMA, border_type="reflect", p=1.0),
    )


if __name__ == "__main__":
    run_main("kornia_views", main)
