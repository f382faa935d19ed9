# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Copies of images and videos with a box, a label and a bar a class for each face."""

import os
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from simfle.errors import RunError
from simfle.inputs import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Source
from simfle.video import VideoWriter

COLOURS = ("#bbbbbb", "#f0e442", "#56b4e9", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")  # Okabe and Ito's
KEPT_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")  # all others become .png
SHORTEST_PANEL, SMALLEST_FONT = 72, 7  # pixels


def draw_faces(image: Image.Image, rows: list[dict], classes: list[str]) -> Image.Image:
    """
    Args:
        image: RGB, upright. rows: of its faces, as the table has them. classes: the columns of probabilities.
    Returns:
        `image`, drawn on. A face that covers the image (it has no box) is labelled at the image's corner.
    """
    draw = ImageDraw.Draw(image)
    for row in rows:
        if row.get("label") is None:
            continue
        box = row.get("box")
        corners = (
            [box[c] for c in ("xmin", "ymin", "xmax", "ymax")] if box else [0, 0, image.width - 1, image.height - 1]
        )
        colour = colour_of(classes.index(row["label"]))
        draw.rectangle(corners, outline=colour, width=max(2, min(image.size) // 250))
        _draw_label(draw, corners, f"{_number(row)}{row['label']} {row['score']:.2f}", colour)
        _draw_bars(draw, corners, [row[name] for name in classes], classes)
    return image


def colour_of(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _number(row: dict) -> str:
    number = row.get("face") if row.get("track") is None else row["track"]
    return "" if number is None else f"{number} "


def _draw_label(draw, corners: list[int], text: str, colour: str) -> None:
    left, top, _, bottom = corners
    font = ImageFont.load_default(max(12, min((bottom - top) // 7, 48)))
    width, height = draw.textbbox((0, 0), text, font=font)[2:]
    x = max(0, min(left, draw.im.size[0] - width - 4))
    y = top - height - 4 if top >= height + 4 else max(0, top)
    draw.rectangle([x, y, x + width + 4, y + height + 4], fill=colour)
    draw.text((x + 2, y + 1), text, fill="black", font=font)


def _draw_bars(draw, corners: list[int], probabilities: list[float], classes: list[str]) -> None:
    """A panel beside the box: to its right, to its left, or within it where there is no room."""
    left, top, right, bottom = corners
    row_height = max(bottom - top, SHORTEST_PANEL) / len(classes)
    font = ImageFont.load_default(max(SMALLEST_FONT, min(row_height * 0.8, 28)))
    name_width = max(draw.textlength(name, font=font) for name in classes)
    width = int(name_width + 5 * row_height + 10)
    image_width, image_height = draw.im.size
    x = right + 4 if right + 4 + width <= image_width else left - 4 - width
    x = x if x >= 0 else max(0, min(left, image_width - width))
    y = max(0, min(top, image_height - row_height * len(classes)))
    draw.rectangle([x, y, x + width, y + row_height * len(classes)], fill="#202020")
    for index, (name, probability) in enumerate(zip(classes, probabilities)):
        middle = y + (index + 0.5) * row_height
        start = x + name_width + 6
        length = (x + width - 4 - start) * max(0.0, min(1.0, probability))
        draw.text((x + 3, middle), name, fill="white", font=font, anchor="lm")
        draw.rectangle(
            [start, middle - row_height * 0.35, start + length, middle + row_height * 0.35], fill=colour_of(index)
        )


class Annotator:
    """
    Writes the copies.

    Args:
        target: a folder; or one file, where there is a single input and the name ends as an image or a video.
        is_file: whether it is one file. classes: the columns of probabilities.
    """

    def __init__(self, target: Path, is_file: bool, classes: list[str]):
        self.target, self.is_file, self.classes = target, is_file, classes
        self._names: set[Path] = set()
        self._video: VideoWriter | None = None

    def place(self, source: Source) -> Path:
        """Where the copy of a source goes; called once a source, in their order, so that no two share a name."""
        if self.is_file:
            return self.target
        suffix = source.place.suffix.lower()
        suffix = ".mp4" if source.is_video else source.place.suffix if suffix in KEPT_SUFFIXES else ".png"
        name, number = source.place.with_suffix(suffix), 2
        while name in self._names:
            name, number = source.place.with_name(f"{source.place.stem}-{number}{suffix}"), number + 1
        self._names.add(name)
        return self.target / name

    def write_image(self, image: Image.Image, rows: list[dict], source: Source, place: Path) -> None:
        """Raises OSError: it cannot be written. RunError: it would replace the original."""
        self._make_room(source, place)
        temporary = place.with_name(place.stem + ".partial" + place.suffix)
        try:
            draw_faces(image, rows, self.classes).save(temporary, quality=95)
            os.replace(temporary, place)
        finally:
            temporary.unlink(missing_ok=True)

    def write_frame(self, frame, time: float, rows: list[dict], source: Source, place: Path, rate: float) -> None:
        """frame: (H, W, 3) uint8, RGB. time: seconds. rate: frames a second. Raises as `write_image`."""
        import numpy as np

        if self._video is None:
            self._make_room(source, place)
            self._video = VideoWriter(partial_video(place), rate)
        self._video.write(np.asarray(draw_faces(Image.fromarray(frame), rows, self.classes)), time)

    def end_video(self, place: Path) -> None:
        """Completes the video of `write_frame`, if there was a frame. Raises OSError."""
        if self._video is not None:
            video, self._video = self._video, None
            video.close()
            os.replace(partial_video(place), place)

    def close(self) -> None:
        """What is there of an unfinished video stays, as NAME.partial.mp4."""
        if self._video is not None:
            self._video.release()

    @staticmethod
    def _make_room(source: Source, place: Path) -> None:
        if place.exists() and place.samefile(source.path):
            raise RunError(f"the copy of {source.name} would replace it; give --annotate another folder.")
        place.parent.mkdir(parents=True, exist_ok=True)


def partial_video(place: Path) -> Path:
    return place.with_name(place.stem + ".partial.mp4")


def is_single_file(target: Path, inputs: list[Path]) -> bool:
    """Whether --annotate names the copy of the only input, and not a folder."""
    suffix = target.suffix.lower()
    return (
        len(inputs) == 1 and inputs[0].is_file() and not target.is_dir() and suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES
    )
