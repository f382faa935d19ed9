"""
AffectNet, from either of its owners' layouts.

The owners' numbers: 0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt. 8 none, 9
uncertain and 10 no-face are left out, and 7 contempt too for seven classes.
"""

import csv
from pathlib import Path

import numpy as np

from training.data.expressions import EXPRESSIONS
from training.data.facts import DatasetFacts
from training.data.owners_files import check_files, expect, owners_places, place_of, read_number, values_of
from training.data.rows import split_rows
from training.data.splits import SPLITS
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
NUMBERING = {
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
    AffectNet from its lists (Manually_Annotated_file_lists/{training,validation}.csv with Manually_Annotated_Images/,
    images cropped to the owners' face boxes) or from its later {train,val}_set/{images,annotations}.

    Args:
        splits: names, None for all. with_labels: false takes the owners' whole train part as train.
        num_classes: 8, or 7 without contempt.
        details: read landmarks (68, 2; pixels of the image file), valence and arousal too, which is slow.
    Returns:
        `DatasetDict` of image, name, label, box (lists only), and the details.
    Raises:
        InputError, FileNotFoundError: what was expected and what was found.
    """
    import datasets

    if num_classes not in (7, 8):
        raise InputError(f"num_classes={num_classes} must be 8 or 7.")
    folder, class_names = Path(folder), EXPRESSIONS[:num_classes]
    has_lists = (folder / LISTS).is_dir()
    has_sets = any((folder / part).is_dir() for part in SETS)
    expect(has_lists or has_sets, folder, "AffectNet's Manually_Annotated_file_lists, or train_set and val_set,")
    rows, columns = datasets.DatasetDict(), {}
    for split in splits or SPLITS:
        is_test = split == "test"
        if is_test not in columns:
            if has_lists:
                part = list_columns(folder, "validation" if is_test else "training", class_names, details)
            else:
                part = set_columns(folder / SETS[is_test], class_names, with_labels, details)
            columns[is_test] = part
        rows[split] = split_rows(columns[is_test], split, class_names, with_labels)
    return rows


def list_columns(folder: Path, owners_part: str, class_names, details: bool) -> dict[str, list]:
    """
    Columns of Manually_Annotated_file_lists/<owners_part>.csv, for `split_rows`.

    Args:
        owners_part: "training" or "validation". details: see `load`.
    """
    file, images = folder / LISTS / f"{owners_part}.csv", folder / IMAGES
    expect(file.is_file(), folder, f"{LISTS}/{file.name}")
    expect(images.is_dir(), folder, IMAGES)
    places = owners_places(NUMBERING, class_names)
    columns: dict[str, list] = {key: [] for key in ("path", "name", "label", "box")}
    columns |= {key: [] for key in ("landmarks", "valence", "arousal") if details}
    with open(file, newline="", encoding="utf-8-sig") as lines, values_of(file):
        for number, row in enumerate(csv.reader(lines), 1):
            if not row or row[0] == COLUMNS[0]:  # some lists have a header, others none
                continue
            where = f"{file} line {number}"
            if len(row) != len(COLUMNS):
                raise InputError(f"{where} has {len(row)} columns; {', '.join(COLUMNS)} were expected.")
            columns["label"].append(place_of(row[6], NUMBERING, places, where))
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


def set_columns(part: Path, class_names, with_labels: bool, details: bool) -> dict[str, list]:
    """
    Columns of <part>/images with <part>/annotations/N_exp.npy, N_val.npy, N_aro.npy, N_lnd.npy, for `split_rows`.

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
    check_annotations(paths, annotations)
    places = owners_places(NUMBERING, class_names)
    stems = [annotations / path.stem for path in paths]
    columns["label"] = [
        place_of(str(read_npy(f"{stem}_exp.npy").item()), NUMBERING, places, f"{stem}_exp.npy") for stem in stems
    ]
    if details:
        for key, ending in (("valence", "val"), ("arousal", "aro")):
            columns[key] = [float(read_npy(f"{stem}_{ending}.npy").item()) for stem in stems]
        columns["landmarks"] = [
            landmark_points(read_npy(f"{stem}_lnd.npy").ravel(), f"{stem}_lnd.npy") for stem in stems
        ]
    return columns


def check_annotations(paths: list[Path], annotations: Path) -> None:
    """Raises FileNotFoundError: an image without its annotation, or an annotation without its image."""
    images = annotations.with_name("images")
    check_files([str(annotations / f"{path.stem}_exp.npy") for path in paths], images)
    unpacked, annotated = {path.stem for path in paths}, sorted(annotations.glob("*_exp.npy"))
    lost = [path.name for path in annotated if path.name.removesuffix("_exp.npy") not in unpacked]
    if lost:
        raise FileNotFoundError(
            f"{len(lost):,} of the {len(annotated):,} images that {annotations} names are missing from {images}, the"
            f" first that of {lost[0]}; unpack the set again."
        )


def read_npy(file: str) -> np.ndarray:
    """An array file. Raises InputError naming a damaged one."""
    try:
        return np.load(file)
    except (ValueError, EOFError) as error:
        raise InputError(f"{file} is not an array file ({error}); unpack the set again.") from error


def landmark_points(numbers, where: str) -> np.ndarray:
    """x, y, x, y ... of 68 points as (68, 2) float32."""
    if len(numbers) != 136:
        raise InputError(f"{where}: {len(numbers)} landmark numbers; x and y of 68 points were expected.")
    return np.asarray(numbers, np.float32).reshape(68, 2)
