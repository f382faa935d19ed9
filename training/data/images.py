"""Images read from a cell of a table; unreadable images are counted, named and limited."""

import io
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from training.runtime.errors import InputError


class BadImage(InputError):
    """An image that cannot be decoded. The message names it and says why."""


def read_image(cell: dict, name: str):
    """A cell of an image column, {"bytes", "path"}, as an upright 8-bit RGB PIL image. Raises BadImage."""
    from PIL import Image

    from modeling_simfle.image_processing_simfle import BROKEN, to_rgb

    if cell["bytes"] is None and cell["path"] is None:
        raise BadImage(f"{name} has no image")
    try:
        with Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else cell["path"]) as image:
            return to_rgb(image)
    except (*BROKEN, ValueError) as error:
        why = re.sub(r" at 0x[0-9a-f]+", "", str(error))  # the buffer's address: another one at every reading
        raise BadImage(f"{name} is not a readable image ({why})") from error


def located(path: str | None, folder: Path) -> str | None:
    """A relative path below `folder` where such a file exists; any other path unchanged."""
    if path and not os.path.isabs(path) and (folder / path).is_file():
        return str(folder / path)
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
