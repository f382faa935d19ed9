"""
The two views and the origin of a face: SimCLR's augmentation at full strength, in this order.

    RandomResizedCrop - horizontal flip - colour jitter - grayscale - Gaussian blur - normalisation

`draw_view` needs a generator and an image's size only, so that a view depends on (seed, epoch, image, view) alone and a
resumed run sees the same views. `apply_views` makes a batch of views on any device, each image with its own parameters:
one matrix per side does the crop, antialiased resize and flip, and a second one the blur, so that images of several
sizes share a batch.

Legend: B images, H x W the largest of their sizes, S the side of a view.

Source: arXiv 2303.07648, section 4.1; Chen et al., arXiv 2002.05709, appendix A.
"""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from modeling_simfle.modeling_simfle import LUMINANCE

CROP_SCALE, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
FLIP_PROBABILITY, JITTER_PROBABILITY, GRAYSCALE_PROBABILITY = 0.5, 0.8, 0.2
JITTER_STRENGTH, HUE_STRENGTH = 0.8, 0.2
BLUR_SIGMA = (0.1, 2.0)


@dataclass(frozen=True)
class ViewParameters:
    """
    Args:
        crop: top, left, height, width in pixels of the image.
        flip, jitter, grayscale: whether each is done.
        brightness, contrast, saturation: factors in [0.2, 1.8]. hue: in [-0.2, 0.2] turns.
        jitter_order: the order of (brightness, contrast, saturation, hue).
        sigma: of the blur, in pixels of the view.
    """

    crop: tuple[int, int, int, int]
    flip: bool
    jitter: bool
    brightness: float
    contrast: float
    saturation: float
    hue: float
    jitter_order: tuple[int, ...]
    grayscale: bool
    sigma: float


def view_generator(seed: int, epoch: int, index: int, view: int) -> np.random.Generator:
    """The generator of one view: stateless, the same in any process, worker or resumed run."""
    return np.random.default_rng([seed, epoch, index, view])


def draw_crop(generator: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """RandomResizedCrop's box: ten tries, then the largest central box of an allowed ratio."""
    for _ in range(10):
        area = height * width * generator.uniform(*CROP_SCALE)
        ratio = math.exp(generator.uniform(math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(generator.integers(0, height - crop_height + 1))
            left = int(generator.integers(0, width - crop_width + 1))
            return top, left, crop_height, crop_width
    crop_width = max(1, min(width, round(height * CROP_RATIO[1])))
    crop_height = max(1, min(height, round(width / CROP_RATIO[0])))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def draw_view(generator: np.random.Generator, height: int, width: int, blur_sigma=BLUR_SIGMA) -> ViewParameters:
    """
    Draws one view of an image of this size. Every number is drawn, used or not, so that draws stay aligned.

    Args:
        blur_sigma: least and most of the blur, in pixels of the view.
    """
    crop = draw_crop(generator, height, width)
    flip, jitter, grayscale = generator.random(3) < (FLIP_PROBABILITY, JITTER_PROBABILITY, GRAYSCALE_PROBABILITY)
    brightness, contrast, saturation = generator.uniform(1 - JITTER_STRENGTH, 1 + JITTER_STRENGTH, 3)
    hue = generator.uniform(-HUE_STRENGTH, HUE_STRENGTH)
    order = tuple(int(i) for i in generator.permutation(4))
    sigma = generator.uniform(*blur_sigma)
    return ViewParameters(
        crop, bool(flip), bool(jitter), brightness, contrast, saturation, hue, order, bool(grayscale), sigma
    )


class ViewBatch(NamedTuple):
    """
    The parameters of B views as tensors.

    Args:
        crop: (B, 4) float32: top, left, height, width. flip: (B,) bool. sigma: (B,) float32.
        factors: (4, B) float32: brightness, contrast, saturation, hue.
        jitter_indices: int64, the images of each (step, operation) pair, one list after the other.
        jitter_counts: (16,), the length of each list. It stays on the host, so that reading it waits for no device.
        grayscale_indices: images that become gray, int64.
    """

    crop: torch.Tensor
    flip: torch.Tensor
    sigma: torch.Tensor
    factors: torch.Tensor
    jitter_indices: torch.Tensor
    jitter_counts: torch.Tensor
    grayscale_indices: torch.Tensor

    def to(self, device, non_blocking: bool = False) -> "ViewBatch":
        """Moves all but jitter_counts to the device."""
        moved = {name: value.to(device, non_blocking=non_blocking) for name, value in self._asdict().items()}
        return ViewBatch(**{**moved, "jitter_counts": self.jitter_counts})


def stack_views(views: list[ViewParameters]) -> ViewBatch:
    """Parameters of B images as one ViewBatch."""
    order = np.array([view.jitter_order if view.jitter else (-1,) * 4 for view in views])  # (B, 4)
    steps = [np.flatnonzero(order[:, step] == operation) for step in range(4) for operation in range(4)]
    factors = [[view.brightness, view.contrast, view.saturation, view.hue] for view in views]
    return ViewBatch(
        crop=torch.tensor([view.crop for view in views], dtype=torch.float32),
        flip=torch.tensor([view.flip for view in views]),
        sigma=torch.tensor([view.sigma for view in views], dtype=torch.float32),
        factors=torch.tensor(factors, dtype=torch.float32).T.contiguous(),
        jitter_indices=torch.from_numpy(np.concatenate(steps)),
        jitter_counts=torch.tensor([len(step) for step in steps]),
        grayscale_indices=torch.tensor([i for i, view in enumerate(views) if view.grayscale], dtype=torch.int64),
    )


def apply_views(images: torch.Tensor, views: ViewBatch, size: int) -> torch.Tensor:
    """
    Args:
        images: (B, H, W, 3) uint8, each in the upper left corner of its place.
        views: on the images' device. size: S.
    Returns:
        (B, 3, S, S) float32 in [0, 1], not normalised.
    """
    top, left, height, width = views.crop.unbind(1)
    rows = resize_matrices(top, height, size, images.shape[1])
    columns = resize_matrices(left, width, size, images.shape[2])
    columns = torch.where(views.flip[:, None, None], columns.flip(1), columns)
    pixels = transform_both_sides(images.permute(0, 3, 1, 2) / 255, rows, columns)
    pixels = jitter(pixels, views)
    if len(views.grayscale_indices):
        pixels[views.grayscale_indices] = luminance(pixels[views.grayscale_indices]).expand(-1, 3, -1, -1)
    kernels = blur_matrices(size, views.sigma)
    return transform_both_sides(pixels, kernels, kernels)


def resize_whole(images: torch.Tensor, sizes: torch.Tensor, size: int) -> torch.Tensor:
    """
    The whole image as a square, antialiased as by Pillow's bilinear resize: the origin.

    Args:
        images: (B, H, W, 3) uint8. sizes: (B, 2) float32, each image's height and width. size: S.
    Returns:
        (B, 3, S, S) float32 in [0, 1].
    """
    height, width = sizes.unbind(1)
    rows = resize_matrices(torch.zeros_like(height), height, size, images.shape[1])
    columns = resize_matrices(torch.zeros_like(width), width, size, images.shape[2])
    return transform_both_sides(images.permute(0, 3, 1, 2) / 255, rows, columns)


def transform_both_sides(pixels: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """rows @ pixels @ columns^T for each image: (B, 3, H, W), (B, S, H), (B, S, W) -> (B, 3, S, S)."""
    batch, channels, height, width = pixels.shape
    # Each product as one batched matmul: the colours lie side by side in the free dimension.
    pixels = torch.bmm(pixels.reshape(batch, channels * height, width), columns.transpose(1, 2))
    pixels = pixels.view(batch, channels, height, -1).transpose(1, 2).reshape(batch, height, -1)  # (B, H, 3 S)
    pixels = torch.bmm(rows, pixels)  # (B, S, 3 S)
    return pixels.view(batch, len(rows[0]), channels, -1).transpose(1, 2).contiguous()


def resize_matrices(start: torch.Tensor, length: torch.Tensor, size: int, source: int) -> torch.Tensor:
    """
    Crop and antialiased bilinear resize of one side as matrices: Pillow's triangle filter, in floats.

    Args:
        start, length: (B,) float32, the crop in pixels. size: S. source: pixels of the padded side.
    Returns:
        (B, S, source), rows summing to 1.
    """
    start, length = start[:, None, None], length[:, None, None]
    scale = length / size
    centres = start + (torch.arange(size, device=start.device)[:, None] + 0.5) * scale  # (B, S, 1)
    positions = torch.arange(source, device=start.device) + 0.5
    weights = (1 - ((positions - centres) / scale.clamp(min=1)).abs()).clamp(min=0)
    weights = weights * ((positions > start) & (positions < start + length))
    return weights / weights.sum(2, keepdim=True)


def blur_matrices(size: int, sigma: torch.Tensor) -> torch.Tensor:
    """
    Gaussian blur of one side with reflect padding as matrices. The kernel spans 0.1 of the side made odd (23 at 224).

    Args:
        size: S. sigma: (B,) float32, in pixels.
    Returns:
        (B, S, S), rows summing to 1.
    """
    radius = int(0.1 * size) // 2
    index = torch.arange(size, device=sigma.device)
    to, source = index[:, None], index[None, :]
    # A source pixel is met directly, and where the image is reflected at its first and at its last pixel.
    offsets = torch.stack([source - to, -source - to, 2 * (size - 1) - source - to])  # (3, S, S)
    counts = (offsets.abs() <= radius) & torch.stack([source >= 0, source > 0, source < size - 1])
    weights = torch.exp(-0.5 * (offsets / sigma[:, None, None, None]) ** 2) * counts  # (B, 3, S, S)
    weights = weights.sum(1)
    return weights / weights.sum(2, keepdim=True)


def jitter(pixels: torch.Tensor, views: ViewBatch) -> torch.Tensor:
    """Brightness, contrast, saturation and hue, in each image's own order. Changes `pixels` in place."""
    chosen = views.jitter_indices.split(views.jitter_counts.tolist())
    for step in range(4):
        for operation, function in enumerate((brighten, change_contrast, saturate, turn_hue)):
            indices = chosen[4 * step + operation]
            if len(indices):
                factor = views.factors[operation, indices][:, None, None, None]
                pixels[indices] = function(pixels[indices], factor)
    return pixels


def luminance(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> (B, 1, H, W)."""
    red, green, blue = pixels.unbind(1)
    return (LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue)[:, None]


def brighten(pixels: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return (factor * pixels).clamp(0, 1)


def change_contrast(pixels: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    mean = luminance(pixels).mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, pixels, factor).clamp(0, 1)


def saturate(pixels: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return torch.lerp(luminance(pixels), pixels, factor).clamp(0, 1)


def turn_hue(pixels: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """The hue of HSV turned by `turns` of the circle."""
    value, brightest = pixels.max(1, keepdim=True)
    chroma = value - pixels.amin(1, keepdim=True)
    red, green, blue = pixels[:, :1], pixels[:, 1:2], pixels[:, 2:]
    safe = chroma.clamp(min=1e-8)
    sixths = torch.where(
        brightest == 0,
        (green - blue) / safe,
        torch.where(brightest == 1, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    sixths = sixths + 6 * turns
    # Each colour is value - chroma * clip(min(k, 4 - k), 0, 1) with k = (n + sixths) mod 6, n = 5, 3, 1.
    colours = 5.0 - 2 * torch.arange(3, device=pixels.device)[None, :, None, None]
    k = torch.remainder(colours + sixths, 6)  # (B, 3, H, W)
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def normalize(pixels: torch.Tensor, processor) -> torch.Tensor:
    """(B, 3, H, W) in [0, 1] -> the image processor's gray (under do_grayscale), mean and deviation."""
    if processor.do_grayscale:
        pixels = luminance(pixels).expand(-1, 3, -1, -1)
    mean, std = (constant(tuple(v), pixels.device) for v in (processor.image_mean, processor.image_std))
    return (pixels - mean) / std


@functools.cache  # made once: copying numbers to a device waits for it
def constant(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, device=device)[None, :, None, None]
