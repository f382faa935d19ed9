"""
The two views and the origin of a face: SimCLR's augmentation at full strength, in method.md's order.

    RandomResizedCrop - horizontal flip - colour jitter - grayscale - Gaussian blur - normalisation

Drawing is apart from applying: `draw_view` needs a generator and the picture's size only, `apply_view` no randomness,
so that a view depends on (seed, epoch, image, view) alone and a resumed run sees the very same ones.

Source: arXiv 2303.07648, section 4.1; Chen et al., arXiv 2002.05709, appendix A.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

CROP_SCALE, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
FLIP_PROBABILITY, JITTER_PROBABILITY, GRAYSCALE_PROBABILITY = 0.5, 0.8, 0.2
JITTER_STRENGTH, HUE_STRENGTH = 0.8, 0.2
BLUR_SIGMA = (0.1, 2.0)


@dataclass(frozen=True)
class ViewParameters:
    """
    Args:
        crop: top, left, height, width in pixels of the picture.
        flip, jitter, grayscale: whether it is done.
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


def draw_view(generator: np.random.Generator, height: int, width: int) -> ViewParameters:
    """Draws one view of a picture of this size. Every number is drawn, used or not, so that draws stay aligned."""
    crop = draw_crop(generator, height, width)
    flip, jitter, grayscale = generator.random(3) < (FLIP_PROBABILITY, JITTER_PROBABILITY, GRAYSCALE_PROBABILITY)
    brightness, contrast, saturation = generator.uniform(1 - JITTER_STRENGTH, 1 + JITTER_STRENGTH, 3)
    hue = generator.uniform(-HUE_STRENGTH, HUE_STRENGTH)
    order = tuple(int(i) for i in generator.permutation(4))
    sigma = generator.uniform(*BLUR_SIGMA)
    return ViewParameters(
        crop, bool(flip), bool(jitter), brightness, contrast, saturation, hue, order, bool(grayscale), sigma
    )


def shift_hue(image: Image.Image, hue: float) -> Image.Image:
    """Turns the hue by `hue` of the circle, in Pillow's 8-bit HSV."""
    h, s, v = image.convert("HSV").split()
    shifted = np.asarray(h) + np.uint8(int(hue * 255) % 256)  # wraps around
    return Image.merge("HSV", (Image.fromarray(shifted), s, v)).convert("RGB")


def blur_matrix(size: int, sigma: float) -> np.ndarray:
    """
    One-dimensional Gaussian blur with reflect padding as a matrix K, so that a picture X is blurred by K X K^T.

    The kernel spans 0.1 of the side made odd (23 at 224 px).

    Args:
        size: side in pixels. sigma: in pixels.
    Returns:
        (size, size) float32, rows summing to 1.
    """
    radius = int(0.1 * size) // 2
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    sources = np.abs(np.arange(size)[:, None] + offsets)  # reflected at the first pixel
    sources = size - 1 - np.abs(size - 1 - sources)  # and at the last
    matrix = np.zeros((size, size), dtype=np.float32)
    np.add.at(matrix, (np.arange(size)[:, None], sources), weights / weights.sum())
    return matrix


def apply_view(image: Image.Image, view: ViewParameters, size: int) -> np.ndarray:
    """
    Args:
        image: 8-bit RGB. view: its parameters. size: side of the view, in pixels.
    Returns:
        (3, size, size) float32 in [0, 1], not normalised.
    """
    top, left, height, width = view.crop
    # Cut out first: `resize(box=...)` would let the pixels around the box in.
    image = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
    if view.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if view.jitter:
        for operation in view.jitter_order:
            if operation == 0:
                image = ImageEnhance.Brightness(image).enhance(view.brightness)
            elif operation == 1:
                image = ImageEnhance.Contrast(image).enhance(view.contrast)
            elif operation == 2:
                image = ImageEnhance.Color(image).enhance(view.saturation)
            else:
                image = shift_hue(image, view.hue)
    if view.grayscale:
        image = image.convert("L").convert("RGB")
    pixels = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255
    kernel = blur_matrix(size, view.sigma)
    return kernel @ pixels @ kernel.T


def view_generator(seed: int, epoch: int, index: int, view: int) -> np.random.Generator:
    """The generator of one view: stateless, the same in any process, worker or resumed run."""
    return np.random.default_rng([seed, epoch, index, view])
