"""
Faces of one split behind one small class, from a folder of images, Parquet, an official layout or the Hub.

An image stays encoded until it is asked for. An image that cannot be decoded raises `BadImage`, which names it.
"""

import functools
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from training.data import tables
from training.data.expressions import find_class
from training.data.face_squares import crop_box
from training.data.formats import guess_format, load_data_set
from training.data.image_files import list_images
from training.data.images import NOWHERE, BadImage, read_image
from training.data.rows import rows_of_paths
from training.data.splits import split_folders, split_of, split_of_file
from training.runtime.arguments import check_ranges, flag
from training.runtime.errors import InputError

FINGERPRINTED = 1000  # most images of a data set that its fingerprint reads
DETECTED = "Detected automatically when the layout is unambiguous; AffectNet is then affectnet8."


@dataclass
class DatasetArguments:
    """Where the faces are."""

    dataset: str = flag("", "Folder of images (nested or flat), folder or file of Parquet, or a Hub id.")
    data_format: Literal[
        "auto", "imagefolder", "parquet", "ferplus", "affectnet8", "affectnet7", "rafdb", "sfew", "hub"
    ] = flag("auto", DETECTED)
    ferplus_protocol: Literal["majority", "probability"] = flag(
        "majority", "Protocol that chooses FER+'s training images and their labels."
    )
    train_split: str = flag("train", "Split to train on.")
    image_column: str = flag("image", "Column of the images (Parquet, Hub).")
    label_column: str = flag("label", "Column of the labels (Parquet, Hub).")
    max_bad_images: int = flag(0, "Stop when more images than this cannot be decoded; each is named.", low=0)
    num_workers: int = flag(2, "Number of processes that decode and augment.", low=0)

    def __post_init__(self):
        check_ranges(self)


@dataclass(eq=False)
class Faces:
    """
    The faces of one split, with labels where there are any.

    Args:
        rows: a `datasets.Dataset`, images not decoded. image_column: its column of images.
        class_names: names in label order, or None. labels: (N,) int64 or None. soft_labels: (N, classes) or None.
        repeats_training: (N,) bool, whether the image equals a training image; None where that is not known.
        box_column: column of [left, top, right, bottom] in the upright image, pixels; a face is cropped to its box.
        source: --dataset, for run.json. split: its name. row_numbers: of a selection, (N,), in the whole split.
    """

    rows: Any
    image_column: str
    class_names: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    soft_labels: np.ndarray | None = None
    repeats_training: np.ndarray | None = None
    box_column: str | None = None
    source: str = ""
    split: str = ""
    row_numbers: np.ndarray | None = None

    @functools.cached_property
    def images(self):
        """The rows with the image and box columns alone: others would be read, and decoded, with each image."""
        return self.rows.select_columns([self.image_column, *filter(None, [self.box_column])])

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: np.ndarray) -> "Faces":
        """The faces at `indices`, in that order."""
        columns = {name: getattr(self, name) for name in ("labels", "soft_labels", "repeats_training")}
        chosen = {name: None if column is None else column[indices] for name, column in columns.items()}
        numbers = np.asarray(indices) if self.row_numbers is None else self.row_numbers[indices]
        return replace(self, rows=self.rows.select(indices), row_numbers=numbers, **chosen)

    def row(self, index: int) -> int:
        """The number of image `index` in the whole split."""
        return index if self.row_numbers is None else int(self.row_numbers[index])

    def cell(self, index) -> dict:
        """Image `index` as {"bytes", "path"}; both are None where a table has no image."""
        return self.images[index][self.image_column] or NOWHERE

    def name(self, index, cell: dict | None = None) -> str:
        """The file's path, or the row's number where there is no file. cell: of the image, if it is at hand."""
        return (cell or self.cell(index))["path"] or f"row {self.row(index)} of {self.source}, split {self.split!r}"

    def image(self, index):
        """Image `index` as an upright 8-bit RGB PIL image, cropped to its box if it has one. Raises BadImage."""
        row = self.images[index]
        cell = row[self.image_column] or NOWHERE
        image = read_image(cell, self.name(index, cell))
        if self.box_column is None:
            return image
        try:
            return crop_box(image, row[self.box_column])
        except InputError as error:
            raise BadImage(f"{self.name(index)}: {error}") from error

    def pixels(self, index, longest_side: int) -> np.ndarray:
        """Image `index` as (h, w, 3) uint8, shrunk to `longest_side` if it is larger, antialiased. Raises BadImage."""
        image = self.image(index)
        if max(image.size) > longest_side:
            scale = longest_side / max(image.size)
            image = image.resize([max(1, round(side * scale)) for side in image.size], 2)  # bilinear
        return np.asarray(image)

    def sample(self, count: int) -> list:
        """Up to `count` readable images, evenly spaced."""
        return list(self.readable(evenly(len(self), count)))

    def readable(self, indices: Iterable) -> Iterator:
        """The images at `indices` that can be read."""
        for index in indices:
            with suppress(BadImage):
                yield self.image(index)

    def fingerprint(self) -> str:
        """A hash of the number of images and of up to 1,000 of them: tells whether a run resumes on its own data."""
        digest = hashlib.sha256(str(len(self)).encode())
        for index in evenly(len(self), FINGERPRINTED):
            cell = self.cell(index)
            digest.update(cell["bytes"] if cell["bytes"] is not None else os.path.basename(cell["path"] or "").encode())
            if self.box_column is not None:
                digest.update(str(self.images[index][self.box_column]).encode())
        return digest.hexdigest()[:16]

    def content_hash(self) -> str:
        """A hash that changes with any file's size and time (folders), or with the table's content (Parquet, Hub)."""
        digest = hashlib.sha256(f"{self.rows._fingerprint} {len(self)}".encode())
        for cell in self.rows[self.image_column] if self.cell(0)["bytes"] is None else []:
            path = (cell or NOWHERE)["path"]
            status = os.stat(path) if path and os.path.exists(path) else None
            digest.update(f"{path} {status and (status.st_size, status.st_mtime_ns)}\n".encode())
        return digest.hexdigest()

    def image_sizes(self) -> list[int]:
        """Sizes in bytes of the files whose names the fingerprint reads, -1 for a missing file; [] for a table."""
        cells = (self.cell(index) for index in evenly(len(self), FINGERPRINTED))
        paths = [cell["path"] for cell in cells if cell["bytes"] is None and cell["path"]]
        return [os.path.getsize(path) if os.path.exists(path) else -1 for path in paths]


def evenly(length: int, count: int) -> list[int]:
    """Up to `count` numbers of range(length), evenly spaced."""
    return np.unique(np.linspace(0, length - 1, min(length, count)).astype(int)).tolist()


def open_faces(
    arguments: DatasetArguments,
    dataset: str,
    split: str,
    with_labels: bool,
    whole: bool = False,
    classes: list[str] | None = None,
) -> Faces:
    """
    Opens one split of a data set.

    Args:
        dataset: folder, file or Hub id. split: its split. with_labels: whether labels are needed.
        whole: take class folders without splits whole, as split "all", instead of dividing them by the fixed tenth.
        classes: with labels, keep the images of these classes alone. A table may then have rows without a label.
    Raises:
        InputError: one sentence saying what was expected and what was found.
    """
    if not dataset:
        raise InputError("--dataset is missing; give a folder of images, Parquet, or a Hub id.")
    path = Path(dataset).expanduser()
    data_format = guess_format(path, dataset) if arguments.data_format == "auto" else arguments.data_format
    if data_format != "hub" and not path.exists():
        raise InputError(f"{dataset} does not exist; --dataset takes a folder, a Parquet file or a Hub id.")
    if path.is_file():  # the file's name says its split
        split = split_of_file(path) or split
    if data_format in ("parquet", "hub"):
        if data_format == "hub":
            rows = tables.encoded_images(tables.load_hub(dataset, split), arguments.image_column)
        else:
            rows = tables.load_files(path, split, arguments.image_column)
        faces = table_faces(rows, arguments, with_labels, may_lack_labels=bool(classes))
    else:
        name = split_of(split) or split
        if data_format == "imagefolder":
            name = split = "all" if whole and with_labels and path.is_dir() and not split_folders(path) else split
        protocol = arguments.ferplus_protocol
        rows = load_data_set(data_format, path, [name], with_labels, protocol, details=False)[name]
        faces = row_faces(rows, with_labels)
    faces.source, faces.split = dataset, split
    if not len(faces):
        raise InputError(f"{dataset} has no image in split {split!r}; a folder of images or Parquet was expected.")
    return keep_classes(faces, classes) if classes else faces


def keep_classes(faces: Faces, classes: list[str]) -> Faces:
    """The faces of some classes, named in any spelling. Raises InputError: a name that is no class of an image."""
    names = [find_class(name, faces.class_names) for name in classes]
    present = [faces.class_names[i] for i in np.unique(faces.labels)]
    if missing := [asked for asked, name in zip(classes, names, strict=True) if name not in present]:
        raise InputError(
            f"no image of {faces.source} is of class {', '.join(missing)}; its classes are {', '.join(present)}."
        )
    return faces.select(np.flatnonzero(np.isin(faces.labels, [faces.class_names.index(name) for name in names])))


def row_faces(rows, with_labels: bool) -> Faces:
    """Rows of `load_data_set` as Faces."""
    import datasets

    box_column = "box" if "box" in rows.column_names else None
    images = rows.select_columns(["image", *filter(None, [box_column])])
    faces = Faces(images.cast_column("image", datasets.Image(decode=False)), "image", box_column=box_column)
    if with_labels:
        faces.class_names, faces.labels = tuple(rows.features["label"].names), np.array(rows["label"][:], np.int64)
        if "soft_label" in rows.column_names:
            faces.soft_labels = np.array(rows["soft_label"][:], np.float32)
        if "repeats_training" in rows.column_names:
            faces.repeats_training = np.array(rows["repeats_training"][:], np.bool_)
    return faces


def table_faces(rows, arguments: DatasetArguments, with_labels: bool, may_lack_labels: bool = False) -> Faces:
    """Rows of a table as Faces. Other columns stay in `rows`. A row may lack its label: it is left out, not refused."""
    tables.check_column(rows, "image_column", arguments.image_column)
    faces = Faces(rows, arguments.image_column)
    if with_labels:
        if may_lack_labels:
            values = tables.check_labels(rows, arguments.label_column)
            faces = faces.select(np.flatnonzero([not tables.lacks_label(value) for value in values]))
        faces.class_names, faces.labels = tables.read_labels(faces.rows, arguments.label_column)
    return faces


def image_faces(paths: list[Path]) -> Faces:
    """The images among the paths, and every image below the folders among them. No labels."""
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise InputError(f"{', '.join(missing)} does not exist; give images or folders of images.")
    files = [file for path in paths for file in (list_images(path) if path.is_dir() else [path])]
    if not files:
        raise InputError(f"{', '.join(map(str, paths))} holds no image file.")
    return Faces(rows_of_paths(files), "image", source=", ".join(map(str, paths)))
