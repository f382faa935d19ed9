"""Compares an exported classifier with the original, and times it. Shapes: (N, K) logits, K classes."""

import statistics
import time
from collections.abc import Mapping

import torch

from training.data.images import BadImages
from training.exporting.onnx_files import Classify
from training.models.outputs import ImagePass, compute_outputs
from training.runtime.resources import torch_threads


def compute_logits(classifiers: Mapping[str, Classify], faces, processor, batch_size, num_workers, bad_images: int):
    """
    Passes the images once through several classifiers.

    Args:
        classifiers: maps a name to a function of the same pixels. processor: their image processor.
        bad_images: how many images may fail to decode.
    Returns:
        Indices (N,) of the readable images, and a mapping of each name to logits (N, K).
    """
    kept, logits = compute_outputs(
        lambda pixel_values: torch.stack([classify(pixel_values) for classify in classifiers.values()], dim=1),
        faces,
        processor,
        ImagePass(batch_size, num_workers, BadImages(bad_images), "cpu"),
        title="comparing",
    )  # (N, classifiers, K)
    return kept, dict(zip(classifiers, logits.unbind(1), strict=True))


def agreement(logits: torch.Tensor, reference: torch.Tensor) -> dict[str, float]:
    """Returns the share of images with equal top labels, and the largest difference of a probability. Both (N, K)."""
    difference = (logits.softmax(1) - reference.softmax(1)).abs().max()
    return {
        "agreement": (logits.argmax(1) == reference.argmax(1)).double().mean().item(),
        "largest_probability_difference": difference.item(),
    }


def median_milliseconds(classifiers: Mapping[str, Classify], batch_size, size, threads, rounds) -> dict[str, float]:
    """
    Times the classifiers in turn, so that other load on the machine affects all of them equally.

    Args:
        batch_size, size: shape of the noise that is classified, (B, 3, size, size).
        threads: number of torch's threads; an ONNX session has its own.
        rounds: how often the classifiers take turns. In a turn a classifier first runs once untimed, because threads of
            the previous one may still spin. It then runs 10 timed times, or fewer so that it classifies about 64
            images.
    Returns:
        The median milliseconds of a batch, by name.
    """
    pixel_values = torch.randn(batch_size, 3, size, size, generator=torch.Generator().manual_seed(0))
    seconds: dict[str, list[float]] = {name: [] for name in classifiers}
    with torch_threads(threads):
        for _ in range(rounds):
            for name, classify in classifiers.items():
                classify(pixel_values)
                for _ in range(min(10, max(1, 64 // batch_size))):
                    started = time.perf_counter()
                    classify(pixel_values)
                    seconds[name].append(time.perf_counter() - started)
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}
