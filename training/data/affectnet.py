"""
AffectNet, from either of its owners' layouts.

Images labelled none, uncertain and no-face are left out; seven classes leave contempt out too.
"""

import csv
import math
from pathlib import Path

import numpy as np

from training.data.expressions import EXPRESSIONS
from training.data.facts import DatasetFacts
from training.data.rows import check_files, expect, label_of, rows_of_splits, values_of
from training.runtime.errors import InputError

FACTS = DatasetFacts(
    name="AffectNet",
    homepage="http://mohammadmahoor.com/affectnet/",
    terms="AffectNet's images are given for non-commercial research under an agreement with its owners.",
    research_only=True,
    citation="""\
@article{mollahosseini2019affectnet,
  title   = {AffectNet: A Database for Facial Expression, Valence, and Arousal Computing in the Wild},
  author  = {Mollahosseini, Ali and Hasani, Behzad and Mahoor, Mohammad H.},
  journal = {IEEE Transactions on Affective Computing},
  volume  = {10},
  number  = {1},
  pages   = {18--31},
  year    = {2019}
}""",
)
# By the owners' numbers.
NAMES = (
    *("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"),
    *("none", "uncertain", "no-face"),
)
NUMBERING = {str(number): name for number, name in enumerate(NAMES)}
LISTS, IMAGES = "Manually_Annotated_file_lists", "Manually_Annotated_Images"
SETS = ("train_set", "val_set")
COLUMNS = (
    *("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks"),
    *("expression", "valence", "arousal"),
)


def looks_like(path: Path) -> bool:
    """Whether a folder holds AffectNet's lists and images, or its later sets."""
    return path.is_dir() and any((path / name).exists() for name in (LISTS, IMAGES, *SETS))


def load(folder: Path, splits=None, with_labels: bool = True, num_classes: int = 8, details: bool = True):
    """
    AffectNet from its lists (Manually_Annotated_file_lists/{training,validation}.csv with Manually_Annotated_Images/
    and the owners' face boxes) or from its later {train,val}_set/{images,annotations}.

    Args:
        splits: names, None for all. with_labels: false takes the owners' whole train part as train.
        num_classes: 8, or 7 without contempt.
        details: read the landmarks (68, 2; pixels of the image file) too, which is slow.
    Returns:
        `DatasetDict` of image, name, label, box (lists only), and landmarks.
    Raises:
        InputError: what was expected and what was found.
    """
    class_names = EXPRESSIONS[:num_classes]
    has_lists = (folder / LISTS).is_dir()
    has_sets = any((folder / part).is_dir() for part in SETS)
    expect(has_lists or has_sets, folder, "AffectNet's Manually_Annotated_file_lists, or train_set and val_set,")

    def read_part(is_test: bool) -> dict[str, list]:
        if has_lists:
            return list_columns(folder, "validation.csv" if is_test else "training.csv", class_names, details)
        return set_columns(folder / SETS[is_test], class_names, with_labels, details)

    return rows_of_splits(read_part, splits, class_names, with_labels)


def list_columns(folder: Path, name: str, class_names, details: bool) -> dict[str, list]:
    """The columns of one of the lists, for `split_rows`; see `load`."""
    file, images = folder / LISTS / name, folder / IMAGES
    expect(file.is_file(), folder, f"{LISTS}/{name}")
    expect(images.is_dir(), folder, IMAGES)
    columns: dict[str, list] = {key: [] for key in ("path", "name", "label", "box")}
    columns |= {"landmarks": []} if details else {}
    with open(file, newline="", encoding="utf-8-sig") as lines, values_of(file):
        for number, row in enumerate(csv.reader(lines), 1):
            if not row or row[0] == COLUMNS[0]:  # some lists have a header, others none
                continue
            where = f"{file} line {number}"
            if len(row) != len(COLUMNS):
                raise InputError(f"{where} has {len(row)} columns; {', '.join(COLUMNS)} were expected.")
            columns["label"].append(label_of(row[6], NUMBERING, class_names, where))
            columns["name"].append(row[0])
            columns["path"].append(str(images / row[0]))
            left, top, width, height = (round(value) for value in read_numbers(row[1:5], where))
            columns["box"].append([left, top, left + width, top + height])
            if details:
                columns["landmarks"].append(landmark_points(read_numbers(row[5].split(";"), where), where))
    check_files(columns["path"], file)
    return columns


def set_columns(part: Path, class_names, with_labels: bool, details: bool) -> dict[str, list]:
    """
    Columns of <part>/images with <part>/annotations/N_exp.npy and N_lnd.npy, for `split_rows`.

    Args:
        with_labels: false reads no annotation. details: see `load`.
    """
    images, annotations = part / "images", part / "annotations"
    expect(images.is_dir(), part.parent, f"{part.name}/images")
    paths = [path for path in images.iterdir() if path.is_file() and not path.name.startswith(".")]
    paths.sort(key=lambda path: (len(path.stem), path.stem))
    columns: dict[str, list] = {
        "path": [str(path) for path in paths],
        "name": [path.name for path in paths],
        "label": [-1] * len(paths),
    }
    if not with_labels:
        return columns
    expect(annotations.is_dir(), part, "annotations")
    labels = [str(annotations / f"{path.stem}_exp.npy") for path in paths]
    check_files(labels, images)
    annotated = sorted(annotations.glob("*_exp.npy"))
    lost = [path.name for path in annotated if str(path) not in set(labels)] if len(annotated) > len(labels) else []
    if lost:
        raise InputError(
            f"{len(lost):,} of the {len(annotated):,} images that {annotations} names are missing from {images}, the"
            f" first that of {lost[0]}; unpack the set again."
        )
    columns["label"] = [label_of(str(read_npy(file).item()), NUMBERING, class_names, file) for file in labels]
    if details:
        points = [file.replace("_exp.npy", "_lnd.npy") for file in labels]
        columns["landmarks"] = [landmark_points(read_npy(file).ravel(), file) for file in points]
    return columns


def read_npy(file: str) -> np.ndarray:
    """An array file. Raises InputError naming a damaged one."""
    try:
        return np.load(file)
    except (ValueError, EOFError) as error:
        raise InputError(f"{file} is not an array file ({error}); unpack the set again.") from error


def read_numbers(values: list[str], where: str) -> list[float]:
    """Raises InputError naming the place where a text is not a finite number."""
    for value in values:
        try:
            is_number = math.isfinite(float(value))
        except ValueError:
            is_number = False
        if not is_number:
            raise InputError(f"{where}: {value!r} is not a number.")
    return [float(value) for value in values]


def landmark_points(numbers, where: str) -> np.ndarray:
    """x, y, x, y ... of 68 points as (68, 2) float32."""
    if len(numbers) != 136:
        raise InputError(f"{where}: {len(numbers)} landmark numbers; x and y of 68 points were expected.")
    return np.asarray(numbers, np.float32).reshape(68, 2)
