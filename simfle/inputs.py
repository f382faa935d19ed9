# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""From the inputs of the command to a stream of image and video files, in a natural and stable order."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from simfle.errors import InputError
from simfle.housekeeping import is_housekeeping

VIDEO_SUFFIXES = frozenset(".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm .wmv".split())
# Camera files: Pillow would take some of them for TIFF, and read the thumbnail.
RAW_SUFFIXES = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dng .erf .kdc .mrw .nef .nrw .orf .pef .raf .raw .rw2 .srw .x3f".split()
)
IMAGE_SUFFIXES = RAW_SUFFIXES | frozenset(
    ".avif .bmp .dib .gif .heic .heics .heif .hif .j2k .jfif .jp2 .jpe .jpeg .jpg .jpx .jxl .pbm .pgm .png .pnm .ppm"
    " .psd .tga .tif .tiff .webp".split()
)


@dataclass(frozen=True)
class Source:
    """
    One file to read. path: as the rows name it. place: the path below the given folder, or the file's name. is_video.
    size: bytes. modified: nanoseconds.
    """

    path: Path
    place: Path
    is_video: bool
    size: int
    modified: int

    @property
    def name(self) -> str:
        return str(self.path)


@dataclass
class Inputs:
    """
    The files of the given paths; iterating walks the folders anew, so that memory does not grow with their number.

    Args:
        paths: files and folders that exist. excluded: files and folders that the command writes.
    """

    paths: list[Path]
    excluded: list[Path] = field(default_factory=list)
    images: int = field(default=0, init=False)  # these are set by `count`
    videos: int = field(default=0, init=False)
    others: int = field(default=0, init=False)
    unlisted: list[str] = field(default_factory=list, init=False)  # sentences about folders that cannot be listed

    def __post_init__(self):
        self._excluded = {os.path.realpath(path) for path in self.excluded}

    def count(self) -> "Inputs":
        """Counts images, videos and other files in one walk. Raises InputError: a given folder cannot be listed."""
        self.images = self.videos = self.others = 0
        self.unlisted.clear()
        for path, _ in self._files():
            kind = kind_of(path)
            self.videos += kind == "video"
            self.images += kind == "image"
            self.others += kind is None
        for path in self.paths:
            if any(line.startswith(f"{path} cannot be listed") for line in self.unlisted):
                raise InputError(f"{path} cannot be listed; give a folder that may be read.")
        return self

    def __iter__(self) -> Iterator[Source]:
        for path, place in self._files():
            kind = kind_of(path)
            if kind is None:
                continue
            try:
                about = path.stat()
                size, modified = about.st_size, about.st_mtime_ns
            except OSError:  # a link to nothing, or deleted since: reading will say so
                size, modified = -1, -1
            yield Source(path, place, kind == "video", size, modified)

    def _files(self) -> Iterator[tuple[Path, Path]]:
        seen: set[int] = set()  # hashes of given paths, so that a file named twice is read once
        several = sum(path.is_dir() for path in self.paths) > 1
        for path in self.paths:
            if not path.is_dir():
                files = iter([(path, Path(path.name))])
            else:
                root = Path(path.resolve().name) if several else Path()
                files = ((file, root / file.relative_to(path)) for file in walk(path, self._excluded, self.unlisted))
            for file, place in files:
                key = hash(os.path.abspath(file))
                if key not in seen and os.path.realpath(file) not in self._excluded:
                    seen.add(key)
                    yield file, place


def kind_of(path: Path) -> str | None:
    suffix = path.suffix.lower()
    return "image" if suffix in IMAGE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else None


def walk(folder: Path, excluded: set[str], unlisted: list[str], parents: tuple[str, ...] = ()) -> Iterator[Path]:
    """
    The files of a folder, then those of its folders, each in natural order. Hidden ones, the housekeeping of systems
    and folders that contain themselves by a link are left out.

    Args:
        excluded: real paths of folders to leave out. unlisted: takes a sentence for a folder that cannot be listed.
        parents: real paths of the folders above.
    """
    real = os.path.realpath(folder)
    if real in parents or real in excluded:
        return
    try:
        with os.scandir(folder) as scanned:
            entries = sorted((e for e in scanned if not is_housekeeping(e.name)), key=lambda entry: natural(entry.name))
    except OSError as error:
        unlisted.append(f"{folder} cannot be listed ({error.strerror}).")
        return
    folders = []
    for entry in entries:
        if entry.is_dir():
            folders.append(entry.name)
        else:
            yield folder / entry.name
    for name in folders:
        yield from walk(folder / name, excluded, unlisted, (*parents, real))


def natural(name: str) -> tuple:
    """A sorting key: numbers by their value, letters without case, the name itself where these are equal."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name
