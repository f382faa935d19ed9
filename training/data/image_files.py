"""Image files below a folder, and the folders of classes. Leftovers of file systems and archives are skipped."""

import functools
import os
import re
import sys
from pathlib import Path

from simfle.housekeeping import is_housekeeping
from training.runtime.errors import InputError


def list_images(folder: Path) -> list[Path]:
    """
    Every file below the folder with the ending of an image, sorted. Dangling links count: they are bad images. Linked
    folders are entered, except a link to a folder that contains the link. Skipped folders are named once on stderr.

    Raises:
        InputError: a file name that is not UTF-8, as an archive from another system leaves it: no table can hold it.
    """
    images: list[Path] = []
    skipped: set[str] = set()

    def raise_again(error: OSError):  # os.walk leaves out a folder that it may not read
        raise error

    for place, folders, files in os.walk(folder, onerror=raise_again, followlinks=True):
        skipped.update(filter(is_housekeeping, folders))
        folders[:] = [name for name in folders if not is_housekeeping(name) and not is_circle(Path(place, name))]
        names = [name for name in files if not is_housekeeping(name)]
        images += [Path(place, name) for name in names if os.path.splitext(name)[1].lower() in image_endings()]
    if skipped:
        say_once(f"{folder}: images below {', '.join(sorted(skipped))} are skipped")
    if strange := [path for path in images if re.search("[\udc80-\udcff]", str(path))]:  # bytes that are not UTF-8
        raise InputError(f"{os.fsencode(strange[0])!r} is not a name in UTF-8; rename {len(strange)} files like it.")
    return sorted(images)


def is_circle(path: Path) -> bool:
    """Whether a path is a link to a folder that contains it."""
    return path.is_symlink() and os.path.realpath(path) in {os.path.realpath(parent) for parent in path.parents}


@functools.cache
def image_endings() -> frozenset[str]:
    """The endings, with a dot and in lower case, of the files that Pillow itself can open."""
    from PIL import Image

    endings = Image.registered_extensions()  # fills Image.OPEN too
    readable = (Image.OPEN.keys() | {"MPO"}) - {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}  # Pillow only recognizes these
    readable -= {"EPS"}  # not read; see open_image
    return frozenset(ending for ending, kind in endings.items() if kind in readable)


def class_folders(folder: Path) -> list[str]:
    """The names of the folders right below, sorted, without housekeeping folders."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not is_housekeeping(path.name))


@functools.cache
def say_once(sentence: str) -> None:
    """Prints a sentence on stderr, once in a process."""
    print(sentence, file=sys.stderr)
