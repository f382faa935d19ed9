"""
Faces drawn by code: data for tests and for the demonstration. They are no evidence about real faces.

    python -m training.data.drawn_faces OUTPUT_DIR --count 800 --size 96 --seed 0

Parameters of brows, eyes and mouth draw eight expressions. Pose, skin, light, hair, background, glasses and noise vary.
A face depends on its arguments alone and comes with the 68 landmarks (iBUG order) that it was drawn from.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from training.data.expressions import EXPRESSIONS
from training.runtime.arguments import run_main
from training.runtime.errors import InputError

SUPERSAMPLING = 3
# Of each expression at full intensity, in units of half the face: inner and outer brow up, eye opening (1 neutral),
# mouth corners up, mouth opening, mouth width, upper lip up.
ACTIONS = {
    "neutral": (0.00, 0.00, 1.0, 0.00, 0.00, 0.00, 0.00),
    "happiness": (0.02, 0.02, 0.8, 0.14, 0.07, 0.10, 0.00),
    "surprise": (0.14, 0.12, 1.6, 0.00, 0.26, -0.08, 0.00),
    "sadness": (0.10, -0.07, 0.8, -0.12, 0.00, -0.02, 0.00),
    "anger": (-0.13, 0.05, 0.8, -0.04, 0.00, -0.06, 0.00),
    "disgust": (-0.07, -0.02, 0.6, -0.05, 0.05, -0.02, 0.09),
    "fear": (0.12, 0.02, 1.5, -0.06, 0.10, 0.08, 0.00),
    "contempt": (0.00, 0.02, 0.9, 0.00, 0.00, 0.00, 0.00),
}
CONTEMPT_CORNER = 0.15  # one corner only, the side drawn at random


@dataclass
class DrawnFace:
    """image: RGB, size x size. label: in EXPRESSIONS' order. landmarks: (68, 2) float32, fractions of the image."""

    image: Image.Image
    label: int
    expression: str
    landmarks: np.ndarray


def draw_face(seed: int, index: int, size: int = 96, expression: str | None = None) -> DrawnFace:
    """
    Draws face `index` of a seed. Raises InputError: a size below 16, a negative number, an unknown expression.

    Args:
        size: side in pixels. expression: of EXPRESSIONS; index modulo 8 when None.
    """
    if size < 16 or seed < 0 or index < 0:
        raise InputError(f"size={size}, seed={seed}, index={index}: give a size of 16 or more, and no negative number.")
    expression = EXPRESSIONS[index % len(EXPRESSIONS)] if expression is None else expression
    if expression not in EXPRESSIONS:
        raise InputError(f"expression={expression!r} is not known; use one of {', '.join(EXPRESSIONS)}.")
    generator = np.random.default_rng([seed, index])
    points = face_points(generator, expression)
    points = pose(generator, points)  # (68, 2) in [0, 1]
    image = paint(generator, points, size)
    return DrawnFace(image, EXPRESSIONS.index(expression), expression, points.astype(np.float32))


def draw_faces(num_images: int, seed: int, size: int = 96) -> Iterator[DrawnFace]:
    """Faces 0 ... num_images - 1 of a seed, the expressions in turn."""
    return (draw_face(seed, index, size) for index in range(num_images))


def face_points(generator: np.random.Generator, expression: str) -> np.ndarray:
    """The 68 points of an upright face, (68, 2): x right, y down, the face about [-1, 1]."""
    inner, outer, eye_open, corner, mouth_open, wider, upper_lip = np.array(ACTIONS[expression]) * 1.0
    intensity = generator.uniform(0.7, 1.0)
    inner, outer, corner, mouth_open, wider, upper_lip = (
        intensity * action for action in (inner, outer, corner, mouth_open, wider, upper_lip)
    )
    eye_open = 1 + intensity * (eye_open - 1)
    corners = np.array([corner, corner])
    if expression == "contempt":
        corners[generator.integers(2)] += intensity * CONTEMPT_CORNER
    jitter = generator.normal(0, 0.02, 8)  # people differ
    return np.concatenate(
        [
            jaw_points(0.78 + jitter[0], 1.0 + jitter[1]),
            brow_points(inner, outer, -0.42 + jitter[2]),
            nose_points(0.2 + jitter[3], upper_lip),
            eye_points(0.36 + jitter[4], -0.2 + jitter[5], 0.075 * eye_open),
            mouth_points(corners, mouth_open, 0.3 + wider + jitter[6], 0.55 + jitter[7], upper_lip),
        ]
    )


def jaw_points(width: float, height: float) -> np.ndarray:
    angles = np.linspace(np.pi * 1.03, -np.pi * 0.03, 17)
    return np.stack([width * np.cos(angles), -0.1 + height * np.maximum(np.sin(angles), -0.2)], axis=1)


def brow_points(inner: float, outer: float, y: float) -> np.ndarray:
    along = np.linspace(0, 1, 5)  # outer to inner
    heights = y - (outer * (1 - along) + inner * along) - 0.07 * np.sin(np.pi * along)
    left = np.stack([-0.62 + 0.48 * along, heights], axis=1)
    return np.concatenate([left, left[::-1] * (-1, 1)])


def nose_points(y: float, wrinkle: float) -> np.ndarray:
    bridge = np.stack([np.zeros(4), np.linspace(-0.2, y - 0.08, 4)], axis=1)
    x = np.linspace(-0.15, 0.15, 5)
    return np.concatenate([bridge, np.stack([x, y + 0.04 * (1 - (x / 0.15) ** 2) - wrinkle / 2], axis=1)])


def eye_points(x: float, y: float, opening: float) -> np.ndarray:
    eye = np.array([(-0.14, 0), (-0.06, -1), (0.06, -1), (0.14, 0), (0.06, 1), (-0.06, 1)]) * (1, opening)
    return np.concatenate([eye + np.array((-x, y)), eye + np.array((x, y))])


def mouth_points(corners: np.ndarray, opening: float, width: float, y: float, upper_lip: float) -> np.ndarray:
    """Points 48-67: outer lip clockwise from the left corner, then the inner lip."""

    def lip(xs, height):  # corners up by `corners`, more so further out
        lift = np.where(xs < 0, corners[0], corners[1]) * np.abs(xs) ** 1.5
        return np.stack([xs * width, y + height - lift], axis=1)

    across = np.linspace(-1, 1, 7)
    arch = 1 - across**2
    top = lip(across, -(0.06 + opening / 2 + upper_lip) * arch)
    bottom = lip(across[5:0:-1], (0.07 + opening / 2) * arch[5:0:-1])
    inside = np.linspace(-0.85, 0.85, 5)
    inner_arch = 1 - inside**2
    inner_top = lip(inside, -(0.01 + opening / 2 + upper_lip / 2) * inner_arch)
    inner_bottom = lip(inside[3:0:-1], (0.01 + opening / 2) * inner_arch[3:0:-1])
    return np.concatenate([top, bottom, inner_top, inner_bottom])


def pose(generator: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """Yaw (the inner parts shift against the outline), roll, scale and shift; into [0, 1]."""
    depth = np.clip(1 - (points[:, 0] ** 2 + points[:, 1] ** 2) / 1.4, 0, 1)
    points = points + np.stack([generator.uniform(-0.12, 0.12) * depth, generator.uniform(-0.06, 0.06) * depth], 1)
    roll, scale = generator.normal(0, 0.08), generator.uniform(0.4, 0.48)
    rotation = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return points @ rotation.T * scale + (0.5, 0.5) + generator.uniform(-0.03, 0.03, 2)


def paint(generator: np.random.Generator, points: np.ndarray, size: int) -> Image.Image:
    """Paints the points' face over a background, in the light drawn."""
    side = size * SUPERSAMPLING
    background, hair, shirt = generator.integers(20, 236, (3, 3))
    skin = np.array([225, 172, 140]) * generator.uniform(0.35, 1.1) + generator.normal(0, 8, 3)
    image = Image.new("RGB", (side, side), tuple(background.tolist()))
    draw, pixels = ImageDraw.Draw(image), points * side
    unit = np.linalg.norm(pixels[16] - pixels[0]) / 1.56  # half a face, in pixels

    def color(values):
        return tuple(np.clip(values, 0, 255).astype(int).tolist())

    def polygon(indices, values):
        draw.polygon([tuple(p) for p in pixels[indices]], fill=color(values))

    centre, up = pixels[[0, 16]].mean(0), pixels[27] - pixels[8]
    up = up / np.linalg.norm(up)
    across = (pixels[16] - pixels[0]) / np.linalg.norm(pixels[16] - pixels[0])
    angles = np.linspace(0, np.pi, 17)[:, None]
    skull = centre + 0.78 * unit * np.cos(angles) * across + 0.85 * unit * np.sin(angles) * up
    hair_size = generator.uniform(1.0, 1.25)
    draw.polygon([tuple(p) for p in centre + (skull - centre) * hair_size], fill=color(hair * 0.6))
    draw.ellipse([*(pixels[8] - (unit, -0.02 * unit)), *(pixels[8] + (unit, 1.2 * unit))], fill=color(shirt))
    forehead = centre + (skull - centre) * (1, 0.8)
    draw.polygon([tuple(p) for p in np.concatenate([pixels[:17], forehead])], fill=color(skin))
    line = max(1, round(0.03 * unit))
    for first in (36, 42):
        polygon(range(first, first + 6), (240, 240, 240))
        eye = pixels[first : first + 6]
        radius = min(0.075 * unit, np.linalg.norm(eye[1] - eye[5]) * 0.5 + 1)
        iris = eye.mean(0)
        draw.ellipse([*(iris - radius), *(iris + radius)], fill=color(generator.integers(20, 90, 3)))
        draw.line([tuple(p) for p in eye[[0, 1, 2, 3]]], fill=color(skin * 0.3), width=line)
    for first in (17, 22):
        draw.line([tuple(p) for p in pixels[first : first + 5]], fill=color(hair * 0.4), width=3 * line, joint="curve")
    draw.line([tuple(p) for p in pixels[27:31]], fill=color(skin * 0.85), width=line)
    draw.line([tuple(p) for p in pixels[31:36]], fill=color(skin * 0.6), width=2 * line)
    polygon(range(48, 60), skin * (0.85, 0.5, 0.5))
    polygon(range(60, 68), (70, 25, 25))
    if generator.random() < 0.15:  # glasses
        for first in (36, 42):
            eye, radius = pixels[first : first + 6].mean(0), 0.2 * unit
            draw.ellipse([*(eye - radius), *(eye + radius)], outline=(30, 30, 30), width=line)
    return light(generator, image.resize((size, size), Image.Resampling.BOX))


def light(generator: np.random.Generator, image: Image.Image) -> Image.Image:
    """A gradient of light, gain and noise."""
    size = image.width
    direction = generator.uniform(0, 2 * np.pi)
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    gradient = 1 + generator.uniform(0, 0.4) * (np.cos(direction) * x + np.sin(direction) * y)
    pixels = np.asarray(image, np.float32) * gradient[:, :, None] * generator.uniform(0.7, 1.15)
    pixels += generator.normal(0, generator.uniform(2, 10), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def make_dataset(num_images: int, seed: int, size: int = 96):
    """A `datasets.Dataset` with image, label (ClassLabel) and landmarks (68, 2)."""
    import datasets

    kinds = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=list(EXPRESSIONS)),
        "landmarks": datasets.Array2D((68, 2), "float32"),
    }
    faces = [{name: getattr(face, name) for name in kinds} for face in draw_faces(num_images, seed, size)]
    return datasets.Dataset.from_list(faces, features=datasets.Features(kinds))


def write_image_folder(folder: str | Path, num_images: int, seed: int, size: int = 96) -> None:
    """Writes folder/<expression>/<index>.png. Raises InputError on a folder that is not empty."""
    folder = Path(folder)
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; give a new folder.")
    for name in EXPRESSIONS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, face in enumerate(draw_faces(num_images, seed, size)):
        face.image.save(folder / face.expression / f"{index:06d}.png")


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("output_dir", help="new folder: one folder of .png files per expression")
    parser.add_argument("--count", type=int, default=800, help="number of faces, the expressions in turn")
    parser.add_argument("--size", type=int, default=96, help="side in pixels")
    parser.add_argument("--seed", type=int, default=0, help="faces of another seed are other faces")
    arguments = parser.parse_args(argv)
    write_image_folder(arguments.output_dir, arguments.count, arguments.seed, arguments.size)


if __name__ == "__main__":
    run_main("drawn_faces", main)
