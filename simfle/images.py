# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""An image file to upright RGB pixels, or one sentence that says why not."""

import warnings
from pathlib import Path

from PIL import Image

from modeling_simfle.image_processing_simfle import open_image, to_rgb
from simfle.inputs import RAW_SUFFIXES

warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow refuses the really large ones by itself


class ImageError(ValueError):
    """An image that cannot be read. The message says why, without the path."""


def read_image(path: Path) -> Image.Image:
    """
    Returns:
        RGB, its EXIF orientation applied.
    Raises:
        ImageError: whatever is wrong with the file.
    """
    suffix = path.suffix.lower()
    if suffix in RAW_SUFFIXES:
        raise ImageError(f"cannot be read: {suffix} is a camera's raw format; export it as JPEG")
    try:
        with open_image(path) as image:
            return to_rgb(image)
    except Image.UnidentifiedImageError as error:
        if not path.stat().st_size:
            raise ImageError("cannot be read: the file is empty") from error
        hint = (
            f"; if it is a {suffix[1:].upper()} picture, save it as JPEG"
            if suffix in (".heic", ".heif", ".avif")
            else ""
        )
        raise ImageError(f"cannot be read: Pillow does not know the format of its content{hint}") from error
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or ' '.join(str(error).split())}") from error
    except Exception as error:  # Pillow's decoders raise IndexError, struct.error and others on broken files
        raise ImageError(f"cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error
