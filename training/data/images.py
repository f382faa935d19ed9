"""Images read from a cell of a table; equal images found by hashes; unreadable images counted, named and limited."""

import hashlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from training.runtime.errors import InputError

NOWHERE = {"bytes": None, "path": None}  # the cell of a missing image


class BadImage(InputError):
    """An image that cannot be decoded. The message names it and says why."""


def read_image(cell: dict, name: str, convert: Callable | None = None):
    """
    A cell of an image column as an upright 8-bit RGB PIL image, or as what `convert` makes of the opened image.

    Args:
        cell: {"bytes", "path"}. name: of the image, for the error.
    Raises:
        BadImage: an image that is missing or broken.
    """
    from modeling_simfle.image_processing_simfle import BROKEN, open_image, to_rgb

    if cell["bytes"] is None and cell["path"] is None:
        raise BadImage(f"{name} has no image")
    try:
        is_file = cell["bytes"] is None or (cell["bytes"] == b"" and cell["path"] is not None)
        with open_image(cell["path"] if is_file else io.BytesIO(cell["bytes"])) as image:
            return (convert or to_rgb)(image)
    except (*BROKEN, ValueError) as error:
        why = re.sub(r" at 0x[0-9a-f]+", "", str(error))  # the buffer's address: another one at every reading
        raise BadImage(f"{name} is not a readable image ({why})") from error


def image_hash(cell: dict | None) -> str | None:
    """
    A hash of the decoded gray pixels: equal images have equal hashes, whatever their encoding. None for an unreadable
    image, which is named where it is used.
    """
    try:
        pixels = read_image(cell or NOWHERE, "", lambda image: np.asarray(image.convert("L")))
    except BadImage:
        return None
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def is_among(hashes: list, others: list) -> np.ndarray:
    """(N,) bool: whether each hash is one of the others'; None, of an unreadable image, is not."""
    known = set(others) - {None}
    return np.array([value in known for value in hashes], np.bool_)


def located(path: str | None, folder: Path | None) -> str | None:
    """
    Where a table's image file lies. A relative path, also one written under Windows, is looked for in `folder`, and
    above it where `folder` is the Hub's data/; file:///... is a path. Any other path is returned unchanged.
    """
    if path and path.startswith("file://"):
        return url2pathname(urlsplit(path).path)
    if path and folder and not os.path.isabs(path):
        for place in [folder, *([folder.parent] if folder.name == "data" else [])]:
            for name in (path, path.replace("\\", "/")):
                if os.path.isfile(place / name):  # False for a name that is too long
                    return str(place / name)
    return path


class BadImages:
    """
    Unreadable images, each counted once over all passes and processes, and named when it is met first.

    Args:
        limit: --max_bad_images. known: keys of images met before. says: whether this process prints.
    """

    def __init__(self, limit: int, known: Iterable = (), says: bool = True):
        self.limit, self.known, self.says = limit, set(known), says

    def fresh(self, problems: dict) -> dict:
        """The problems that are not known yet, by the key of their image (a number or a text, as in JSON)."""
        return {key: problem for key, problem in problems.items() if key not in self.known}

    def add(self, problems: dict) -> None:
        """Raises BadImage: more than the limit."""
        for key, problem in self.fresh(problems).items():
            self.known.add(key)
            if self.says:
                print(f"bad image {len(self.known)} (limit {self.limit}): {problem}", file=sys.stderr)
        if len(self.known) > self.limit:
            raise BadImage(
                f"{len(self.known)} bad images are more than --max_bad_images {self.limit}; see the names above."
            )
