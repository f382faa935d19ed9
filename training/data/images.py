"""Pictures read from a cell of a table, and what is done with those that cannot be read."""

import io
import re
import sys
from collections.abc import Iterable

from training.runtime.errors import InputError


class BadImage(InputError):
    """A picture that cannot be decoded. The message names it and says why."""


def read_image(cell: dict, name: str):
    """A cell of a picture column, {"bytes", "path"}, as an upright 8-bit RGB PIL image. Raises BadImage."""
    from PIL import Image

    from modeling_simfle.image_processing_simfle import BROKEN, to_rgb

    if cell["bytes"] is None and cell["path"] is None:
        raise BadImage(f"{name} has no picture")
    try:
        with Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else cell["path"]) as image:
            return to_rgb(image)
    except (*BROKEN, ValueError) as error:
        why = re.sub(r" at 0x[0-9a-f]+", "", str(error))  # the buffer's address: another one at every reading
        raise BadImage(f"{name} is not a readable image ({why})") from error


class BadImages:
    """
    Unreadable pictures, each counted once over all passes and processes, and named when it is met first.

    Args:
        limit: --max_bad_images. known: keys of those met before. says: false but in the main process.
    """

    def __init__(self, limit: int, known: Iterable = (), says: bool = True):
        self.limit, self.known, self.says = limit, set(known), says

    def fresh(self, problems: dict) -> dict:
        """Those of {key of a picture: what is wrong} that are not known yet; keys are numbers or texts, as JSON's."""
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
