"""
Faces from wherever they lie: a folder of images, Parquet, an expression data set as its owners pack it, or a data set
of the Hub, behind one small class.

An image stays encoded until it is asked for; one that cannot be decoded raises `BadImage`, which names it.
"""

import functools
import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from training.data.expressions import map_labels
from training.data.face_squares import crop_box
from training.data.fer_datasets import (
    load_affectnet,
    load_class_folders,
    load_ferplus,
    load_rafdb,
    load_sfew,
)
from training.data.formats import guess_format, load_parquet, parquet_files
from training.data.images import BadImage, read_image
from training.data.layouts import SPLITS, list_images
from training.data.splits import split_files, split_folder, split_folders, split_of, split_of_file
from training.runtime.arguments import check_range
from training.runtime.errors import InputError

FINGERPRINTED = 1000  # pictures of a data set
NOWHERE = {"bytes": None, "path": None}  # the cell of a picture that is missing


@dataclass
class DatasetArguments:
    """Where the faces are."""

    dataset: str = field(
        default="", metadata={"help": "folder of images (nested or flat), folder or file of Parquet, or a Hub id"}
    )
    data_format: Literal[
        "auto", "imagefolder", "parquet", "ferplus", "affectnet8", "affectnet7", "rafdb", "sfew", "hub"
    ] = field(default="auto", metadata={"help": "guessed when it is plain; AffectNet is then affectnet8"})
    ferplus_protocol: Literal["majority", "probability"] = field(
        default="majority", metadata={"help": "which of FER+'s training pictures, with what labels"}
    )
    train_split: str = field(default="train", metadata={"help": "split to train on"})
    image_column: str = field(default="image", metadata={"help": "column of the pictures (Parquet, Hub)"})
    label_column: str = field(default="label", metadata={"help": "column of the labels (Parquet, Hub)"})
    max_bad_images: int = field(
        default=0, metadata={"help": "pictures that may fail to decode (each is named) before the run stops"}
    )
    streaming: bool = field(
        default=False, metadata={"help": "pretraining: read Parquet or WebDataset shards as a stream, never as a whole"}
    )
    shuffle_buffer: int = field(default=10000, metadata={"help": "pictures among which a stream draws its next"})
    num_images: int | None = field(default=None, metadata={"help": "of an epoch, for a stream that does not say"})
    num_workers: int = field(default=2, metadata={"help": "processes that decode and augment"})

    def __post_init__(self):
        for name in ("max_bad_images", "num_workers"):
            check_range(name, getattr(self, name), 0)


@dataclass(eq=False)
class Faces:
    """
    One split: pictures, and labels where there are any.

    Args:
        rows: a `datasets.Dataset`, images not decoded. image_column: its column of pictures.
        class_names: names in label order, or None. labels: (N,) int64 or None. soft_labels: (N, classes) or None.
        repeats_training: (N,) bool, whether the picture is one of training's too; None where that is not known.
        box_column: of the face's [left, top, right, bottom] in the upright picture, pixels, which it is cropped to.
        source: what it was read from, for run.json. split: its name.
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
    row_numbers: np.ndarray | None = None  # of a selection, in what was read

    @functools.cached_property
    def pictures(self):
        """The rows without other columns, which would be read, and decoded, with each picture."""
        return self.rows.select_columns([self.image_column, *filter(None, [self.box_column])])

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: np.ndarray) -> "Faces":
        """Some of them, in the order given."""
        columns = {name: getattr(self, name) for name in ("labels", "soft_labels", "repeats_training")}
        chosen = {name: None if column is None else column[indices] for name, column in columns.items()}
        numbers = np.asarray(indices) if self.row_numbers is None else self.row_numbers[indices]
        return replace(self, rows=self.rows.select(indices), row_numbers=numbers, **chosen)

    def row(self, index: int) -> int:
        """The number of picture `index` in what was read, of which these may be a selection."""
        return index if self.row_numbers is None else int(self.row_numbers[index])

    def cell(self, index) -> dict:
        """Where picture `index` is: {"bytes", "path"}, neither where a table has none."""
        return self.pictures[index][self.image_column] or NOWHERE

    def name(self, index) -> str:
        """The file's path, or the row's number where the picture has none."""
        return self.cell(index)["path"] or f"row {self.row(index)} of {self.source}, split {self.split!r}"

    def image(self, index):
        """Picture `index` as an upright 8-bit RGB PIL image, cropped to its box if it has one. Raises BadImage."""
        image = read_image(self.cell(index), self.name(index))
        if self.box_column is None:
            return image
        try:
            return crop_box(image, self.pictures[index][self.box_column])
        except ValueError as error:
            raise BadImage(f"{self.name(index)}: {error}") from error

    def pixels(self, index, longest_side: int) -> np.ndarray:
        """Picture `index` as (h, w, 3) uint8; one with a longer side is shrunk to it, antialiased. Raises BadImage."""
        image = self.image(index)
        if max(image.size) > longest_side:
            scale = longest_side / max(image.size)
            image = image.resize([max(1, round(side * scale)) for side in image.size], 2)  # bilinear
        return np.asarray(image)

    def sample(self, count: int) -> list:
        """Up to `count` pictures, evenly spaced; unreadable ones are left out (they are named where they are used)."""
        images = []
        for index in evenly(len(self), count):
            try:
                images.append(self.image(index))
            except BadImage:
                continue
        return images

    def fingerprint(self) -> str:
        """A hash of the number of pictures and of up to 1,000 of them: tells whether a run resumes on its own data."""
        digest = hashlib.sha256(str(len(self)).encode())
        for index in evenly(len(self), FINGERPRINTED):
            cell = self.cell(index)
            digest.update(cell["bytes"] if cell["bytes"] is not None else os.path.basename(cell["path"] or "").encode())
            if self.box_column is not None:
                digest.update(str(self.pictures[index][self.box_column]).encode())
        return digest.hexdigest()[:16]

    def picture_sizes(self) -> list[int]:
        """Bytes of those files that the fingerprint knows by their names alone, -1 where missing; [] for a table's."""
        cells = (self.cell(index) for index in evenly(len(self), FINGERPRINTED))
        paths = [cell["path"] for cell in cells if cell["bytes"] is None and cell["path"]]
        return [os.path.getsize(path) if os.path.exists(path) else -1 for path in paths]


def evenly(length: int, count: int) -> list[int]:
    """Up to `count` of range(length), evenly spaced."""
    return np.unique(np.linspace(0, length - 1, min(length, count)).astype(int)).tolist()


def open_faces(arguments: DatasetArguments, dataset: str, split: str, with_labels: bool, whole: bool = False) -> Faces:
    """
    Opens one split of a data set.

    Args:
        dataset: folder, file or Hub id. split: its split. with_labels: whether labels are needed.
        whole: whether class folders without splits are taken whole, as split "all", and not by the fixed tenth.
    Raises:
        ValueError, FileNotFoundError: one sentence saying what was expected and what was found.
    """
    if not dataset:
        raise InputError("--dataset is missing; give a folder of images, Parquet, or a Hub id.")
    if arguments.streaming or arguments.num_images is not None:
        raise InputError("--streaming and --num_images are of pretraining from a stream; leave them out here.")
    path = Path(dataset).expanduser()
    data_format = guess_format(path, dataset) if arguments.data_format == "auto" else arguments.data_format
    if data_format != "hub" and not path.exists():
        raise FileNotFoundError(f"{dataset} does not exist; --dataset takes a folder, a Parquet file or a Hub id.")
    if path.is_file():  # it is what its name says
        split = split_of_file(path) or split
    if data_format == "imagefolder":
        if whole and with_labels and path.is_dir() and not split_folders(path):
            split = "all"
        faces = folder_faces(path, split, with_labels)
    elif data_format in ("parquet", "hub"):
        faces = table_faces(read_table(path, dataset, data_format, split), arguments, with_labels)
    else:
        faces = owners_faces(path, data_format, split, with_labels, arguments.ferplus_protocol)
    faces.source, faces.split = dataset, split
    if not len(faces):
        raise InputError(f"{dataset} has no image in split {split!r}; a folder of images or Parquet was expected.")
    return faces


def owners_faces(path: Path, data_format: str, split: str, with_labels: bool, ferplus_protocol: str) -> Faces:
    """One split of an expression set as its owners pack it. Without labels train is the owners' whole train part."""
    name = split_of(split)
    if name is None:
        raise InputError(f"{path} has no split {split!r}; found {', '.join(SPLITS)}.")
    if data_format == "ferplus":
        found = load_ferplus(path, ferplus_protocol, [name], with_labels)
    elif data_format == "rafdb":
        found = load_rafdb(path, [name], with_labels)
    elif data_format == "sfew":
        found = load_sfew(path, [name], with_labels)
    else:
        found = load_affectnet(path, int(data_format.removeprefix("affectnet")), [name], with_labels, details=False)
    return row_faces(found[name], with_labels)


def row_faces(rows, with_labels: bool) -> Faces:
    """A split that a function of `fer_datasets` gave."""
    import datasets

    rows = rows.with_format(None)
    box_column = "box" if "box" in rows.column_names else None
    pictures = rows.select_columns(["image", *filter(None, [box_column])])
    pictures = pictures.cast_column("image", datasets.Image(decode=False))
    if not with_labels:
        return Faces(pictures, "image", box_column=box_column)
    labels, soft_labels, repeats = (
        np.array(rows[name][:], kind) if name in rows.column_names else None
        for name, kind in (("label", np.int64), ("soft_label", np.float32), ("repeats_training", np.bool_))
    )
    return Faces(pictures, "image", tuple(rows.features["label"].names), labels, soft_labels, repeats, box_column)


def folder_faces(folder: Path, split: str, with_labels: bool) -> Faces:
    """A folder of images; with labels, its first level of folders are the classes (empty ones count)."""
    if with_labels:
        return row_faces(load_class_folders(folder, [split])[split], with_labels)
    return Faces(rows_of_paths(list_images(split_folder(folder, split))), "image")


def rows_of_paths(paths: list[Path]):
    import datasets

    cells = [{"bytes": None, "path": str(p)} for p in paths]
    return datasets.Dataset.from_dict(
        {"image": cells}, features=datasets.Features({"image": datasets.Image(decode=False)})
    )


def picture_faces(paths: list[Path]) -> Faces:
    """Single pictures, and every picture below the folders among the paths. No labels."""
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} does not exist; give pictures or folders of them.")
    found = [file for path in paths for file in (list_images(path) if path.is_dir() else [path])]
    if not found:
        raise InputError(f"{', '.join(map(str, paths))} holds no image file.")
    faces = Faces(rows_of_paths(found), "image")
    faces.source = ", ".join(map(str, paths))
    return faces


def read_table(path: Path, dataset: str, data_format: str, split: str):
    """Parquet (a file, or a folder with files named after their splits) or a Hub data set."""
    import datasets
    from datasets.exceptions import DatasetsError

    if data_format == "hub":
        try:
            return datasets.load_dataset(dataset, split=split)
        except (OSError, ValueError, DatasetsError) as error:  # no network, no such data set, no such split
            raise InputError(
                f"{dataset} is no folder here, and the Hub did not give split {split!r}: {error.__cause__ or error}"
            ) from error
    files = [path] if path.is_file() else parquet_files(path)
    if not files:
        raise InputError(f"{path} holds no .parquet file.")
    return load_parquet(split_files(files, split) if path.is_dir() else files)


def table_faces(rows, arguments: DatasetArguments, with_labels: bool) -> Faces:
    """Rows of a table, by `--image_column` and `--label_column`."""
    import datasets
    import pyarrow

    for flag, column in (("image", arguments.image_column), ("label", arguments.label_column))[: 1 + with_labels]:
        if column not in rows.column_names:
            found = ", ".join(rows.column_names)
            raise InputError(f"There is no column {column!r}; found {found}; name one by --{flag}_column.")
    feature = rows.features[arguments.image_column]
    try:
        rows = rows.cast_column(arguments.image_column, datasets.Image(decode=False))
    except pyarrow.ArrowNotImplementedError as error:
        column = arguments.image_column
        raise InputError(f"Column {column!r} holds {feature}, no pictures; name another by --image_column.") from error
    if not with_labels:
        return Faces(rows, arguments.image_column)
    feature, values = rows.features[arguments.label_column], rows[arguments.label_column][:]
    names = getattr(feature, "names", None)
    if not all(isinstance(value, str | int | float | None) for value in values):
        column = arguments.label_column
        raise InputError(f"Column {column!r} holds {feature}, not a class a row; name another by --label_column.")
    missing = sum(map(lacks_label, values))
    if missing:
        raise InputError(
            f"{missing:,} of the {len(values):,} rows have no {arguments.label_column!r} (none, or -1); leave them out."
        )
    if names:
        given = [names[value] for value in values]
    else:  # numbers read from a .csv are often floats
        given = [str(int(v) if isinstance(v, float) and v.is_integer() else v) for v in values]
    class_names, labels = map_labels(given, names or sorted(set(given), key=natural_key))
    return Faces(rows, arguments.image_column, class_names, labels)


def lacks_label(value: str | float | None) -> bool:
    """None, NaN, a number below 0, an empty text, or "-1"."""
    if isinstance(value, str):
        return value.strip() in ("", "-1")
    return value is None or not value >= 0


def natural_key(name: str) -> tuple[int, str]:
    """Sorts "2" before "10"."""
    return (int(name), "") if name.isdecimal() else (10**9, name)
