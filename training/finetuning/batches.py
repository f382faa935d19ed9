"""Batches for fine-tuning: images augmented one by one, targets as probabilities. All a function of the seed."""

import math

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from modeling_simfle.image_processing_simfle import resize_face
from training.data.faces import Faces
from training.data.images import BadImage
from training.data.views import view_generator
from training.finetuning.arguments import FineTuningArguments
from training.models.outputs import collate_readable
from training.runtime.errors import InputError
from training.runtime.processes import ignore_stop_signals

ERASED_AREA, ERASED_RATIO = (0.02, 0.2), (0.3, 3.3)
SOFTEST = 24  # px, the smallest side of a softened face
OUTSIDE = (127, 127, 127)  # what an affine change brings in from beyond the image


def affine_coefficients(generator: np.random.Generator, run: FineTuningArguments, width: int, height: int, size: int):
    """
    Draws a similarity change. Every number but the margin is drawn, used or not, so that draws stay aligned. The square
    of margin m has a side of 1 + 2m faces, as in FaceExpressionPipeline.

    Returns:
        Pillow's six numbers, from pixels of the (size, size) result to pixels of the (width, height) image.
    """
    angle = math.radians(run.rotation) * generator.uniform(-1, 1)
    scale = math.exp(math.log1p(run.zoom) * generator.uniform(-1, 1))
    right, down = run.shift * generator.uniform(-1, 1, 2)
    mirror = -1.0 if generator.random() < 0.5 and run.flip else 1.0
    if any(run.margins) and generator.random() >= run.tight_share:
        scale *= 1 + 2 * generator.uniform(run.margins[0], run.margins[1])
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    # The result's centred coordinates in [-0.5, 0.5], turned, zoomed and shifted, onto the image's pixels.
    a, b = mirror * cosine * width / size, -mirror * sine * width / size
    d, e = sine * height / size, cosine * height / size
    c = (0.5 + right) * width - (a + b) * size / 2
    f = (0.5 + down) * height - (d + e) * size / 2
    return a, b, c, d, e, f


def augment(image: Image.Image, generator: np.random.Generator, run: FineTuningArguments, size: int) -> Image.Image:
    """The changed image as a (size, size) RGB image. One that is larger is made smaller first, antialiased."""
    side = min(size, max(image.size))
    if run.softening and side > SOFTEST and generator.random() < run.softening:
        image = resize_face(image, round(math.exp(generator.uniform(math.log(SOFTEST), math.log(side)))))
    if max(image.size) > size:
        image = resize_face(image, size)
    coefficients = affine_coefficients(generator, run, *image.size, size)
    if run.border == "reflect":
        image, coefficients = reflect(image, coefficients, size)
    return image.transform(
        (size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=OUTSIDE
    )


def reflect(image: Image.Image, coefficients: tuple, size: int):
    """Pads the image with its mirror image as far as `coefficients` reach; returns it and the coefficients for it."""
    a, b, c, d, e, f = coefficients
    right, down = ([0, x * size, y * size, (x + y) * size] for x, y in ((a, b), (d, e)))
    left, top = (math.ceil(max(0, 1 - start - min(reach))) for start, reach in ((c, right), (f, down)))
    beyond = [math.ceil(max(0, 1 + s + max(r) - n)) for s, r, n in zip((c, f), (right, down), image.size, strict=True)]
    pixels = np.pad(np.asarray(image), ((top, beyond[1]), (left, beyond[0]), (0, 0)), "symmetric")
    return Image.fromarray(pixels), (a, b, c + left, d, e, f + top)


def erase(pixels: np.ndarray, generator: np.random.Generator) -> None:
    """A rectangle of (3, S, S) becomes 0, the mean, in place (random erasing, arXiv 1708.04896)."""
    size = pixels.shape[1]
    area = size * size * generator.uniform(*ERASED_AREA)
    ratio = math.exp(generator.uniform(*np.log(ERASED_RATIO)))
    height, width = (min(size, max(1, round(side))) for side in (math.sqrt(area * ratio), math.sqrt(area / ratio)))
    top, left = generator.integers(0, (size - height + 1, size - width + 1))
    pixels[:, top : top + height, left : left + width] = 0


class AugmentedFaces(Dataset):
    """
    Items by (epoch, index, draw): index, pixel_values (3, S, S) float32, problem ("" if none).

    Args:
        faces: with `image(index)`. processor: the model's; its gray, scale, mean and deviation are applied. size: S.
        run: how far images are changed, and the seed.
    """

    def __init__(self, faces, processor, run: FineTuningArguments, size: int):
        self.faces, self.run, self.size = faces, run, size
        self.gray = processor.do_grayscale
        self.divisor = np.float32(1 / processor.rescale_factor) if processor.do_rescale else np.float32(1)
        self.mean, self.std = (
            np.broadcast_to(np.asarray(v, np.float32).reshape(-1, 1, 1), (3, 1, 1))
            for v in ((processor.image_mean, processor.image_std) if processor.do_normalize else (0, 1))
        )

    def __getitem__(self, key: tuple[int, int, int]):
        epoch, index, draw = key
        try:
            image = self.faces.image(index)
        except BadImage as error:
            return index, None, str(error)
        generator = view_generator(self.run.seed, epoch, index, draw)
        image = augment(image, generator, self.run, self.size)
        image = image.convert("L").convert("RGB") if self.gray else image
        pixels = (np.asarray(image, np.float32).transpose(2, 0, 1) / self.divisor - self.mean) / self.std
        gain, offset = 1 + self.run.jitter * generator.uniform(-1, 1, 2)
        pixels = pixels * np.float32(gain) + np.float32(offset - 1)
        if generator.random() < self.run.random_erasing:
            erase(pixels, generator)
        return index, pixels, ""


def epoch_order(labels: np.ndarray, seed: int, epoch: int, balanced: bool) -> np.ndarray:
    """The images of an epoch (N,): a permutation; balanced: drawn with replacement, every class equally often."""
    generator = np.random.default_rng([seed, epoch])
    if not balanced:
        return generator.permutation(len(labels))
    weights = 1.0 / np.bincount(labels)[labels]
    return generator.choice(len(labels), len(labels), p=weights / weights.sum())


def count_draws(order: np.ndarray) -> np.ndarray:
    """(N,): how often each image of an order (N,) came before in it; zeros for a permutation."""
    return pd.Series(order).groupby(order).cumcount().to_numpy()


def epoch_batches(faces, epoch: int, run: FineTuningArguments, rank: int, num_processes: int):
    """Keys (epoch, index, draw) of the batches of one process; the last short batch of all processes is dropped."""
    order = epoch_order(faces.labels, run.seed, epoch, run.class_balance == "sampling")
    batch_size = run.per_device_train_batch_size
    steps = len(order) // (batch_size * num_processes)
    pairs = np.stack([order, count_draws(order)], axis=1)[: steps * batch_size * num_processes]
    own = pairs.reshape(steps, num_processes, batch_size, 2)[:, rank]
    return [[(epoch, index, draw) for index, draw in batch] for batch in own.tolist()]


def make_epoch_loader(dataset: AugmentedFaces, batches: list, num_workers: int) -> DataLoader:
    """Yields (indices, pixel_values (B, 3, S, S), problems)."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate_readable,
        worker_init_fn=ignore_stop_signals,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # the loader draws a seed for its workers: not from the run's generator
    )


def make_targets(faces: Faces, soft: bool, smoothing: float) -> torch.Tensor:
    """Probabilities (N, classes) float32: the annotators' votes or one-hot labels, smoothed."""
    classes = len(faces.class_names)
    if soft and faces.soft_labels is None:
        raise InputError(f"--labels soft: {faces.source} has one label an image and no votes; use --labels hard.")
    if soft:
        targets = torch.from_numpy(np.asarray(faces.soft_labels, np.float32))
    else:
        targets = torch.nn.functional.one_hot(torch.from_numpy(faces.labels), classes).float()
    return targets * (1 - smoothing) + smoothing / classes


def class_weights(labels: np.ndarray, classes: int) -> torch.Tensor:
    """(classes,) inverse to the classes' counts, mean 1 over the images; a class without images weighs 0."""
    counts = np.bincount(labels, minlength=classes)
    weights = np.where(counts > 0, len(labels) / (np.maximum(counts, 1) * (counts > 0).sum()), 0.0)
    return torch.from_numpy(weights.astype(np.float32))


def mix(pixel_values: torch.Tensor, targets: torch.Tensor, alpha: float, generator: np.random.Generator):
    """Mixup (arXiv 1710.09412): each image and target with another of the batch, one share for the batch."""
    if alpha == 0:
        return pixel_values, targets
    share = float(generator.beta(alpha, alpha))
    partner = torch.from_numpy(generator.permutation(len(pixel_values))).to(pixel_values.device, non_blocking=True)
    return torch.lerp(pixel_values[partner], pixel_values, share), torch.lerp(targets[partner], targets, share)
