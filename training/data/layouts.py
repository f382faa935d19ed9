"""
What the loaders of the expression sets share: which picture belongs to which split, rows from lists, the sentences for
a folder that is not as its owners packed it, and AffectNet's two layouts as lists.
"""

import csv
import functools
import hashlib
import math
import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from training.data.expressions import EXPRESSIONS, owners_places, place_of
from training.runtime.errors import InputError

SPLITS = ("train", "validation", "test")
AFFECTNET_NUMBERING = {
    "0": "neutral",
    "1": "happiness",
    "2": "sadness",
    "3": "surprise",
    "4": "fear",
    "5": "disgust",
    "6": "anger",
    "7": "contempt",
    "8": "none",
    "9": "uncertain",
    "10": "no-face",
}
AFFECTNET_COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)


def held_out(name: str) -> bool:
    """Whether a training picture of this file name is of the fixed tenth that is `validation`."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10 == 0


def in_split(name: str, split: str, with_labels: bool) -> bool:
    """Whether a picture of the owners' part that `split` comes from belongs to it; without labels, train is whole."""
    return split == "test" or (split == "train" and not with_labels) or held_out(name) == (split == "validation")


def split_rows(columns: dict[str, list], split: str, class_names, with_labels: bool, by_path: bool = False):
    """
    The rows of one split as a `datasets.Dataset`; a picture with a `box` comes cropped to it.

    Args:
        columns: lists of one owners' part: path, name, label (-1: none of the classes), and box, landmarks, valence,
            arousal where there are any. class_names: in label order.
        with_labels: false takes pictures without a label too, and gives no label column. by_path: the tenth goes by
            whole names, not by their part after the last slash, the file's.
    """
    import datasets

    names = [name if by_path else name.rsplit("/", 1)[-1] for name in columns["name"]]
    kept = [
        i
        for i, (name, label) in enumerate(zip(names, columns["label"], strict=True))
        if (label >= 0 or not with_labels) and in_split(name, split, with_labels)
    ]
    taken = {key: [values[i] for i in kept] for key, values in columns.items() if key != "label" or with_labels}
    taken = {"image": [{"bytes": None, "path": path} for path in taken.pop("path")]} | taken
    points = len(columns["landmarks"][0]) if columns.get("landmarks") else 0
    kinds = {
        "image": datasets.Image(),
        "name": datasets.Value("string"),
        "label": datasets.ClassLabel(names=list(class_names)),
        "box": datasets.Sequence(datasets.Value("int32"), length=4),
        "landmarks": datasets.Array2D((points, 2), "float32"),
        "valence": datasets.Value("float32"),
        "arousal": datasets.Value("float32"),
    }
    rows = datasets.Dataset.from_dict(taken, features=datasets.Features({key: kinds[key] for key in taken}))
    return rows.with_transform(crop_to_boxes) if "box" in taken else rows


def crop_to_boxes(batch: dict) -> dict:
    """Rows as they are read, each picture cropped to its box."""
    from training.data.face_squares import crop_box

    if "image" in batch and "box" in batch:
        batch["image"] = [crop_box(image, box) for image, box in zip(batch["image"], batch["box"])]
    return batch


def expect(found: bool, folder: Path, what: str) -> None:
    """Raises FileNotFoundError saying what was expected and what the folder holds."""
    if not found:
        holds = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else []
        raise FileNotFoundError(f"{folder}: {what} was expected; found {', '.join(holds) or 'nothing'}.")


def check_files(paths: list[str], listed_in: Path) -> None:
    """Raises FileNotFoundError saying how many of the listed files are missing, and the first."""
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing):,} of the {len(paths):,} files that {listed_in} asks for are missing, the first"
            f" {missing[0]}; unpack the set again."
        )


def affectnet_list(folder: Path, owners_part: str, class_names, details: bool) -> dict[str, list]:
    """
    Columns of Manually_Annotated_file_lists/<owners_part>.csv, for `split_rows`.

    Args:
        owners_part: "training" or "validation". details: landmarks (68, 2), valence and arousal too.
    """
    file, images = folder / "Manually_Annotated_file_lists" / f"{owners_part}.csv", folder / "Manually_Annotated_Images"
    expect(file.is_file(), folder, f"Manually_Annotated_file_lists/{file.name}")
    expect(images.is_dir(), folder, "Manually_Annotated_Images")
    places = owners_places(AFFECTNET_NUMBERING, class_names)
    columns: dict[str, list] = {key: [] for key in ("path", "name", "label", "box")}
    columns |= {key: [] for key in ("landmarks", "valence", "arousal") if details}
    with open(file, newline="", encoding="utf-8-sig") as lines, values_of(file):
        for number, row in enumerate(csv.reader(lines), 1):
            if not row or row[0] == AFFECTNET_COLUMNS[0]:  # a list has its header or not
                continue
            where = f"{file} line {number}"
            if len(row) != len(AFFECTNET_COLUMNS):
                raise InputError(f"{where} has {len(row)} columns; {', '.join(AFFECTNET_COLUMNS)} were expected.")
            columns["label"].append(place_of(row[6], AFFECTNET_NUMBERING, places, where))
            columns["name"].append(row[0])
            columns["path"].append(str(images / row[0]))
            left, top, width, height = (round(read_number(value, where)) for value in row[1:5])
            columns["box"].append([left, top, left + width, top + height])
            if details:
                points = [read_number(value, where) for value in row[5].split(";")]
                columns["landmarks"].append(landmark_points(points, where))
                columns["valence"].append(read_number(row[7], where))
                columns["arousal"].append(read_number(row[8], where))
    check_files(columns["path"], file)
    return columns


def affectnet_set(folder: Path, owners_part: str, class_names, with_labels: bool, details: bool) -> dict[str, list]:
    """
    Columns of <owners_part>/images with <owners_part>/annotations/N_exp.npy, N_val.npy, N_aro.npy, N_lnd.npy.

    Args:
        owners_part: "train_set" or "val_set". with_labels: false reads no annotation; pictures need none then.
    """
    images, annotations = folder / owners_part / "images", folder / owners_part / "annotations"
    expect(images.is_dir(), folder, f"{owners_part}/images")
    paths = [path for path in images.iterdir() if path.is_file() and not path.name.startswith(".")]
    paths.sort(key=lambda path: (len(path.stem), path.stem))
    columns: dict[str, list] = {
        "path": [str(path) for path in paths],
        "name": [path.name for path in paths],
        "label": [-1] * len(paths),
    }
    if not with_labels:
        return columns
    expect(annotations.is_dir(), folder / owners_part, "annotations")
    check_files([str(annotations / f"{path.stem}_exp.npy") for path in paths], images)
    unpacked, annotated = {path.stem for path in paths}, sorted(annotations.glob("*_exp.npy"))
    lost = [path.name for path in annotated if path.name.removesuffix("_exp.npy") not in unpacked]
    if lost:
        raise FileNotFoundError(
            f"{len(lost):,} of the {len(annotated):,} pictures that {annotations} names are missing from {images}, the"
            f" first that of {lost[0]}; unpack the set again."
        )
    places = owners_places(AFFECTNET_NUMBERING, class_names)
    stems = [annotations / path.stem for path in paths]
    columns["label"] = [
        place_of(str(read_npy(f"{stem}_exp.npy").item()), AFFECTNET_NUMBERING, places, f"{stem}_exp.npy")
        for stem in stems
    ]
    if details:
        for key, ending in (("valence", "val"), ("arousal", "aro")):
            columns[key] = [float(read_npy(f"{stem}_{ending}.npy").item()) for stem in stems]
        columns["landmarks"] = [
            landmark_points(read_npy(f"{stem}_lnd.npy").ravel(), f"{stem}_lnd.npy") for stem in stems
        ]
    return columns


def read_npy(file: str) -> np.ndarray:
    """An array file. Raises ValueError naming it where it is damaged."""
    try:
        return np.load(file)
    except (ValueError, EOFError) as error:
        raise InputError(f"{file} is no array file ({error}); unpack the set again.") from error


@contextmanager
def values_of(file: Path):
    """What a damaged list raises, within which it is read, becomes a ValueError naming it."""
    try:
        yield
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}); take the list as its owners gave it.") from error


def read_number(value: str, where: str) -> float:
    """Raises ValueError naming the place: no number, or one that is not finite."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where}: {value!r} is not a number.")
    return number


def landmark_points(numbers, where: str) -> np.ndarray:
    """x, y, x, y ... of 68 points as (68, 2) float32."""
    if len(numbers) != 136:
        raise InputError(f"{where}: {len(numbers)} landmark numbers; x and y of 68 points were expected.")
    return np.asarray(numbers, np.float32).reshape(68, 2)


def list_images(folder: Path) -> list[Path]:
    """
    Every file below the folder that bears an image's ending, sorted, dangling links too: they are bad images. Linked
    folders are entered, but for a link to one that it lies in; hidden files and folders are left out.

    Raises:
        ValueError: a name that is no UTF-8, as a zip from elsewhere leaves it: no table can hold it.
    """
    extensions, found = image_endings(), []

    def enter(place: str, above: frozenset) -> None:
        within = above | {os.path.realpath(place)}
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    if not entry.is_symlink() or os.path.realpath(entry.path) not in within:
                        enter(entry.path, within)
                elif os.path.splitext(entry.name)[1].lower() in extensions and (entry.is_symlink() or entry.is_file()):
                    found.append(Path(entry.path))

    enter(str(folder), frozenset())
    if strange := [path for path in found if not is_unicode(str(path))]:
        raise InputError(f"{os.fsencode(strange[0])!r} is no name in UTF-8; rename {len(strange)} files like it.")
    return sorted(found)


def is_unicode(name: str) -> bool:
    """Whether every byte of a file's name was understood as UTF-8."""
    return name.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in name)


@functools.cache
def image_endings() -> frozenset[str]:
    """The endings, with a dot and in lower case, of what Pillow itself can open."""
    from PIL import Image

    endings = Image.registered_extensions()  # fills Image.OPEN too
    readable = (Image.OPEN.keys() | {"MPO"}) - {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}  # these are recognized alone
    return frozenset(ending for ending, kind in endings.items() if kind in readable)


def class_folders(folder: Path) -> list[str]:
    """The names of the folders right below, sorted; empty ones count, hidden ones and __MACOSX do not."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def affectnet_classes(num_classes: int) -> tuple[str, ...]:
    """The class names of AffectNet-8 or -7. Raises ValueError on another number."""
    if num_classes not in (7, 8):
        raise InputError(f"num_classes={num_classes} must be 8 or 7.")
    return EXPRESSIONS[:num_classes]
