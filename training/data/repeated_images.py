"""Images that are equal pixel by pixel, found by hashes."""

import hashlib
import io

import numpy as np


def image_hash(cell: dict | None) -> str | None:
    """
    A hash of the decoded gray pixels: equal images have equal hashes, whatever their encoding. None for an
    unreadable image, which is named where it is used.

    Args:
        cell: {"bytes", "path"}.
    """
    from PIL import Image

    from modeling_simfle.image_processing_simfle import BROKEN

    if cell is None or (cell["bytes"] is None and cell["path"] is None):
        return None
    try:
        with Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else cell["path"]) as image:
            return hashlib.sha256(np.asarray(image.convert("L")).tobytes()).hexdigest()
    except (*BROKEN, ValueError):  # as in images.read_image
        return None


def is_among(hashes: list, others: list) -> np.ndarray:
    """(N,) bool: whether each hash is one of the others'; None, of an unreadable image, is not."""
    known = set(others) - {None}
    return np.array([value in known for value in hashes], np.bool_)
