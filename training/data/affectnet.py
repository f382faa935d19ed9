"""
AffectNet, from either of its owners' layouts.

Images labelled none, uncertain and no-face are left out. With seven classes, contempt is left out too.
"""

import tokenize
from pathlib import Path

import numpy as np

from training.data.expressions import EXPRESSIONS
from training.data.rows import check_files, expect, label_of, read_list, rows_of_splits
from training.runtime.errors import InputError

NAMES = "neutral happiness sadness surprise fear disgust anger contempt none uncertain no-face"  # 0 to 10
NUMBERING = {str(number): name for number, name in enumerate(NAMES.split())}
LISTS, IMAGES = "Manually_Annotated_file_lists", "Manually_Annotated_Images"
SETS = ("train_set", "val_set")
BOX = ["face_x", "face_y", "face_width", "face_height"]
COLUMNS = ["subDirectory_filePath", *BOX, "facial_landmarks", "expression", "valence", "arousal"]


def looks_like(path: Path) -> bool:
    """Whether a folder holds AffectNet's lists and images, or its later sets."""
    return any((path / name).exists() for name in (LISTS, IMAGES, *SETS))


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
    import pandas

    file, images = folder / LISTS / name, folder / IMAGES
    expect(file.is_file(), folder, f"{LISTS}/{name}")
    expect(images.is_dir(), folder, IMAGES)
    table = read_list(file, names=COLUMNS)
    table = table[table[COLUMNS[0]] != COLUMNS[0]]  # some lists have a header, others none
    for line in table.index[(table == "").any(axis=1)]:
        raise InputError(f"{file} line {line} has too few columns; {', '.join(COLUMNS)} were expected.")
    boxes = table[BOX].apply(pandas.to_numeric, errors="coerce").to_numpy(float)
    for row, column in np.argwhere(~(np.abs(boxes) < 2**30)):  # NaN too
        raise InputError(f"{file} line {table.index[row]}: {table[BOX[column]].iloc[row]!r} is no number of pixels.")
    boxes = boxes.round().astype(int)
    boxes[:, 2:] += boxes[:, :2]  # left, top, right, bottom
    places = [f"{file} line {line}" for line in table.index]
    columns = {
        "path": [images / name for name in table["subDirectory_filePath"]],
        "name": table["subDirectory_filePath"].tolist(),
        "label": [label_of(v, NUMBERING, class_names, place) for v, place in zip(table["expression"], places)],
        "box": boxes.tolist(),
    }
    if details:
        texts = table["facial_landmarks"].str.split(";")
        columns["landmarks"] = [landmark_points(text, place) for text, place in zip(texts, places)]
    check_files(columns["path"], file)
    return columns


def set_columns(part: Path, class_names, with_labels: bool, details: bool) -> dict[str, list]:
    """Columns of <part>/images with <part>/annotations/N_exp.npy and N_lnd.npy, which are read for labels alone."""
    images, annotations = part / "images", part / "annotations"
    expect(images.is_dir(), part.parent, f"{part.name}/images")
    paths = [path for path in images.iterdir() if path.is_file() and not path.name.startswith(".")]
    paths.sort(key=lambda path: (len(path.stem), path.stem))
    columns: dict[str, list] = {"path": paths, "name": [path.name for path in paths], "label": [-1] * len(paths)}
    if not with_labels:
        return columns
    expect(annotations.is_dir(), part, "annotations")
    files = [annotations / f"{path.stem}_exp.npy" for path in paths]
    check_files(files, images)
    if lost := sorted(set(annotations.glob("*_exp.npy")) - set(files)):
        raise InputError(
            f"{len(lost):,} images that {annotations} names are missing from {images}, the first that of"
            f" {lost[0].name}; unpack the set again."
        )
    columns["label"] = [label_of(read_label(file), NUMBERING, class_names, str(file)) for file in files]
    if details:
        points = [file.with_name(file.name.replace("_exp", "_lnd")) for file in files]
        columns["landmarks"] = [landmark_points(read_npy(file).ravel(), str(file)) for file in points]
    return columns


def read_npy(file: Path) -> np.ndarray:
    """An array file. Raises InputError naming a damaged one."""
    try:
        return np.load(file)
    # numpy 2.4 takes the header for Python code, and its shape for 64-bit numbers.
    except (ValueError, OverflowError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise InputError(f"{file} is not an array file ({error}); unpack the set again.") from error


def read_label(file: Path) -> str:
    """The one value of an array file, as a text. Raises InputError naming a damaged one."""
    array = read_npy(file)
    try:
        return str(array.item())
    except (ValueError, SystemError) as error:  # several values; numpy 2.4 on a text that is no Unicode
        raise InputError(f"{file} holds no label ({error}); unpack the set again.") from error


def landmark_points(numbers, where: str) -> np.ndarray:
    """x, y, x, y ... of 68 points, as numbers or texts, as (68, 2) float32."""
    try:
        points = np.array(numbers, np.float32)
    except ValueError as error:
        raise InputError(f"{where}: a landmark is not a number ({error}).") from error
    if points.size != 136 or not np.isfinite(points).all():
        raise InputError(f"{where}: finite x and y of 68 landmarks were expected; found {points.size} numbers.")
    return points.reshape(68, 2)
