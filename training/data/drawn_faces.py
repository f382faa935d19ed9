"""
Faces drawn by code: data for tests and for the demonstration. They are no evidence about real faces.

    python -m training.data.drawn_faces OUTPUT_DIR --count 800 --size 96 --seed 0

Parameters of brows, eyes and mouth draw eight expressions. Pose, skin, light, hair, background and noise vary. A face
depends on its arguments alone and comes with the 68 landmarks (iBUG order) that it was drawn from.
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
# Of each expression at full intensity, in units of half the face: inner and outer brow up, eyes opened (a share of the
# neutral opening), mouth corners up, mouth opening, mouth width, upper lip up.
ACTIONS = {
    "neutral": (0.00, 0.00, 0.0, 0.00, 0.00, 0.00, 0.00),
    "happiness": (0.02, 0.02, -0.2, 0.14, 0.07, 0.10, 0.00),
    "surprise": (0.14, 0.12, 0.6, 0.00, 0.26, -0.08, 0.00),
    "sadness": (0.10, -0.07, -0.2, -0.12, 0.00, -0.02, 0.00),
    "anger": (-0.13, 0.05, -0.2, -0.04, 0.00, -0.06, 0.00),
    "disgust": (-0.07, -0.02, -0.4, -0.05, 0.05, -0.02, 0.09),
    "fear": (0.12, 0.02, 0.5, -0.06, 0.10, 0.08, 0.00),
    "contempt": (0.00, 0.02, -0.1, 0.00, 0.00, 0.00, 0.00),
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
    Draws face `index` of a seed.

    Args:
        size: side in pixels. expression: of EXPRESSIONS; index modulo 8 when None.
    """
    if size < 16 or seed < 0:
        raise InputError(f"size={size}, seed={seed}: give a size of 16 or more, and no negative seed.")
    expression = expression or EXPRESSIONS[index % len(EXPRESSIONS)]
    generator = np.random.default_rng([seed, index])
    points = pose(generator, face_points(generator, expression))  # (68, 2) in [0, 1]
    image = paint(generator, points, size)
    return DrawnFace(image, EXPRESSIONS.index(expression), expression, points.astype(np.float32))


def draw_faces(num_images: int, seed: int, size: int = 96) -> Iterator[DrawnFace]:
    """Faces 0 ... num_images - 1 of a seed, the expressions in turn."""
    return (draw_face(seed, index, size) for index in range(num_images))


def face_points(generator: np.random.Generator, expression: str) -> np.ndarray:
    """The 68 points of an upright face, (68, 2): x right, y down, the face about [-1, 1]."""
    intensity = generator.uniform(0.7, 1.0)
    inner, outer, eye_open, corner, mouth_open, wider, upper_lip = intensity * np.array(ACTIONS[expression])
    corners = np.array([corner, corner])
    if expression == "contempt":
        corners[generator.integers(2)] += intensity * CONTEMPT_CORNER
    jaw_width, jaw_height, brow_y, nose_y, eye_x, eye_y, mouth_width, mouth_y = (
        np.array([0.78, 1.0, -0.42, 0.2, 0.36, -0.2, 0.3 + wider, 0.55]) + generator.normal(0, 0.02, 8)  # people differ
    )
    angles = np.linspace(np.pi * 1.03, -np.pi * 0.03, 17)
    jaw = np.stack([jaw_width * np.cos(angles), -0.1 + jaw_height * np.maximum(np.sin(angles), -0.2)], 1)
    along = np.linspace(0, 1, 5)  # outer to inner
    brow_height = outer * (1 - along) + inner * along + 0.07 * np.sin(np.pi * along)
    brow = np.stack([-0.62 + 0.48 * along, brow_y - brow_height], 1)
    bridge = np.stack([np.zeros(4), np.linspace(-0.2, nose_y - 0.08, 4)], 1)
    x = np.linspace(-1, 1, 5)
    nostrils = np.stack([0.15 * x, nose_y + 0.04 * (1 - x**2) - upper_lip / 2], 1)
    opening = 0.075 * (1 + eye_open)
    eye = np.array([(-0.14, 0), (-0.06, -1), (0.06, -1), (0.14, 0), (0.06, 1), (-0.06, 1)]) * (1, opening)
    eyes = [eye + np.array([side * eye_x, eye_y]) for side in (-1, 1)]

    def lip(xs: np.ndarray, height: float) -> np.ndarray:  # an arch, its ends up by `corners`
        lift = np.where(xs < 0, corners[0], corners[1]) * np.abs(xs) ** 1.5
        return np.stack([xs * mouth_width, mouth_y + height * (1 - xs**2) - lift], 1)

    outside, inside, half = np.linspace(-1, 1, 7), np.linspace(-0.85, 0.85, 5), mouth_open / 2
    upper, lower = lip(outside, -0.06 - half - upper_lip), lip(outside[5:0:-1], 0.07 + half)
    inner_upper, inner_lower = lip(inside, -0.01 - half - upper_lip / 2), lip(inside[3:0:-1], 0.01 + half)
    mouth = [upper, lower, inner_upper, inner_lower]
    return np.concatenate([jaw, brow, brow[::-1] * (-1, 1), bridge, nostrils, *eyes, *mouth])


def pose(generator: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """Yaw (the inner parts shift against the outline), roll, scale and shift; into [0, 1]."""
    depth = np.clip(1 - (points**2).sum(1, keepdims=True) / 1.4, 0, 1)
    points = points + depth * generator.uniform((-0.12, -0.06), (0.12, 0.06))
    roll, scale = generator.normal(0, 0.08), generator.uniform(0.4, 0.48)
    rotation = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return points @ rotation.T * scale + (0.5, 0.5) + generator.uniform(-0.03, 0.03, 2)


def paint(generator: np.random.Generator, points: np.ndarray, size: int) -> Image.Image:
    """Paints the points' face over a background, in a gradient of light, with noise."""
    background, hair, iris = generator.integers((20, 20, 20), (236, 236, 90), (3, 3)).T
    skin = np.array([225, 172, 140]) * generator.uniform(0.35, 1.1) + generator.normal(0, 8, 3)
    pixels = points * size * SUPERSAMPLING
    unit = np.linalg.norm(pixels[16] - pixels[0]) / 1.56  # half a face, in pixels
    line = max(1, round(0.03 * unit))

    def color(values) -> tuple:
        return tuple(np.clip(values, 0, 255).astype(int).tolist())

    def xy(outline: np.ndarray) -> list:
        return [tuple(point) for point in outline]

    image = Image.new("RGB", (size * SUPERSAMPLING,) * 2, color(background))
    draw, centre = ImageDraw.Draw(image), pixels[[0, 16]].mean(0)
    skull = centre - (pixels[:17] - centre) * (1, 0.85)  # the jaw, turned up
    draw.polygon(xy(centre + (skull - centre) * generator.uniform(1.0, 1.25)), fill=color(hair * 0.6))
    draw.polygon(xy(np.concatenate([pixels[:17], centre + (skull - centre) * (1, 0.8)])), fill=color(skin))
    for eye in (pixels[36:42], pixels[42:48]):
        draw.polygon(xy(eye), fill=(240, 240, 240))
        radius = min(0.075 * unit, np.linalg.norm(eye[1] - eye[5]) * 0.5 + 1)
        draw.ellipse([*(eye.mean(0) - radius), *(eye.mean(0) + radius)], fill=color(iris))
        draw.line(xy(eye[:4]), fill=color(skin * 0.3), width=line)
    for brow in (pixels[17:22], pixels[22:27]):
        draw.line(xy(brow), fill=color(hair * 0.4), width=3 * line, joint="curve")
    draw.line(xy(pixels[27:36]), fill=color(skin * 0.7), width=line)
    draw.polygon(xy(pixels[48:60]), fill=color(skin * (0.85, 0.5, 0.5)))
    draw.polygon(xy(pixels[60:68]), fill=(70, 25, 25))
    image = image.resize((size, size), Image.Resampling.BOX)
    direction, strength, gain = generator.uniform((0, 0, 0.7), (2 * np.pi, 0.4, 1.15))
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    gradient = 1 + strength * (np.cos(direction) * x + np.sin(direction) * y)
    values = np.asarray(image, np.float32) * gradient[:, :, None] * gain
    values += generator.normal(0, generator.uniform(2, 10), values.shape)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


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
