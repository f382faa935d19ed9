"""
The square of an image that a face takes: found from landmarks or a box, and cut out, turned upright.

A square has a centre and a side (both in pixels of the image) and the angle of the line through the eyes.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from training.runtime.errors import InputError

# Of a face cut out without margin, as fractions of the side: the distance between the eyes' centres, and their height.
EYE_DISTANCE, EYE_HEIGHT = 0.36, 0.36
# From the eyes' line down to the mouth's centre, in eye distances, of a face seen from the front.
EYES_TO_MOUTH = 1.15
OUTSIDE = (127, 127, 127)  # the colour beyond the image
# Points of the left and right eye (as seen in the image) and of the mouth, by the number of landmarks.
FACE_PARTS = {5: ([0], [1], [3, 4]), 68: (list(range(36, 42)), list(range(42, 48)), list(range(48, 68)))}


@dataclass(frozen=True)
class Square:
    """centre: (2,) x and y, pixels. side: pixels. angle: radians, clockwise in the image."""

    centre: np.ndarray
    side: float
    angle: float = 0.0

    def box(self) -> list[int]:
        """[left, top, right, bottom] of the square as it would lie unturned, whole pixels."""
        return [math.floor(v + 0.5) for v in (*(self.centre - self.side / 2), *(self.centre + self.side / 2))]


def square_of_landmarks(landmarks: np.ndarray) -> Square:
    """
    The face's square by its eyes; a head turned aside is measured by the height from eyes to mouth instead.

    Args:
        landmarks: (68, 2) in iBUG order, or (5, 2): eyes, nose, mouth corners; pixels.
    Raises:
        InputError: another number of points, or points that span no face.
    """
    points = np.asarray(landmarks, np.float64)
    if len(points) not in FACE_PARTS or not np.isfinite(points).all():
        raise InputError(f"landmarks of shape {points.shape} are not those of a face; 5 or 68 points were expected.")
    left, right, mouth = (points[part].mean(0) for part in FACE_PARTS[len(points)])
    if left[0] > right[0]:
        left, right = right, left
    across, eyes = right - left, (left + right) / 2
    distance = max(float(np.hypot(*across)), float(np.hypot(*(mouth - eyes))) / EYES_TO_MOUTH)
    if distance < 1 or not across.any():
        raise InputError("the landmarks of the eyes and the mouth lie on one another.")
    side, angle = distance / EYE_DISTANCE, math.atan2(across[1], across[0])
    down = np.array([-math.sin(angle), math.cos(angle)])
    return Square(eyes + (0.5 - EYE_HEIGHT) * side * down, side, angle)


def square_of_box(box) -> Square:
    """The smallest square about the box [left, top, right, bottom] with its centre. Raises InputError: an empty box."""
    left, top, right, bottom = map(float, box)
    if right <= left or bottom <= top:
        raise InputError(f"the face box {list(map(int, box))} is empty.")
    return Square(np.array([left + right, top + bottom]) / 2, max(right - left, bottom - top))


def cut_square(image: Image.Image, square: Square, size: int, margin: float = 0.0) -> Image.Image:
    """
    The square as an upright (size, size) image, antialiased; gray where it goes beyond the image.

    Args:
        image: RGB. size: pixels. margin: of the square's side, added on every side.
    Raises:
        InputError: a centre outside of the image, so that the landmarks or the box belong to another image.
    """
    if not (0 <= square.centre[0] <= image.width and 0 <= square.centre[1] <= image.height):
        x, y = square.centre
        raise InputError(f"the face's centre ({x:.0f}, {y:.0f}) is outside of the image of {image.size} pixels.")
    side = square.side * (1 + 2 * margin)
    x_scale = y_scale = 1.0
    if side > size:  # Pillow's transform does not antialias: shrink first
        width, height = (max(1, round(length * size / side)) for length in image.size)
        x_scale, y_scale = width / image.width, height / image.height
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    step = side / size
    cosine, sine = step * math.cos(square.angle), step * math.sin(square.angle)
    x, y = square.centre - np.array([cosine - sine, sine + cosine]) * size / 2
    coefficients = [v * x_scale for v in (cosine, -sine, x)] + [v * y_scale for v in (sine, cosine, y)]
    kind = Image.Transform.AFFINE
    return image.transform((size, size), kind, coefficients, Image.Resampling.BILINEAR, fillcolor=OUTSIDE)


def crop_box(image: Image.Image, box) -> Image.Image:
    """The part of the image in the box [left, top, right, bottom]. Raises InputError where they do not meet."""
    left, top, right, bottom = max(box[0], 0), max(box[1], 0), min(box[2], image.width), min(box[3], image.height)
    if right <= left or bottom <= top:
        raise InputError(f"the face box {list(box)} is outside of the image of {image.size} pixels")
    return image.crop((left, top, right, bottom))
