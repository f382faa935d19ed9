"""RAF-DB's basic set, from its owners' layout."""

from pathlib import Path

import numpy as np

from training.data.expressions import EXPRESSIONS
from training.data.face_squares import square_of_landmarks
from training.data.rows import check_files, expect, label_of, read_list, rows_of_splits
from training.runtime.errors import InputError

LIST = Path("EmoLabel/list_patition_label.txt")  # the owners' spelling
NAMES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")  # the owners' 1 to 7
NUMBERING = {str(number): name for number, name in enumerate(NAMES, 1)}


def looks_like(path: Path) -> bool:
    """Whether a folder holds RAF-DB's folder of lists."""
    return (path / LIST.parent).exists()


def load(folder: Path, splits=None, with_labels: bool = True, details: bool = False):
    """
    RAF-DB from its list with Image/aligned, or with Image/original and Annotation/manual, whose five landmarks give the
    face's box.

    Args:
        splits: names, None for all. with_labels: false takes the owners' whole train part as train.
        details: prefer the original images with their landmarks to the aligned images, if both are there.
    Returns:
        `DatasetDict` of image, name, label, and of original images box and landmarks (5, 2).
    Raises:
        InputError: what was expected and what was found.
    """
    class_names, file = EXPRESSIONS[:7], folder / LIST
    aligned, original, landmarks = (folder / name for name in ("Image/aligned", "Image/original", "Annotation/manual"))
    is_aligned = aligned.is_dir() and not (details and original.is_dir() and landmarks.is_dir())
    expect(file.is_file(), folder, f"RAF-DB's {LIST}")
    expect(is_aligned or original.is_dir(), folder, "RAF-DB's Image/aligned, or Image/original,")
    expect(is_aligned or landmarks.is_dir(), folder, "RAF-DB's Annotation/manual (for Image/original)")
    table = read_list(file, names=["name", "label"], sep=r"\s+")
    for line, name, label in table[~table["name"].str.match("(train|test)_") | (table["label"] == "")].itertuples():
        raise InputError(f"{file} line {line}: '{name} {label}' is not like 'train_00001.jpg 5' or 'test_0001.jpg 1'.")

    def read_part(is_test: bool) -> dict[str, list]:
        part = table[table["name"].str.startswith("test_") == is_test]
        columns: dict[str, list] = {
            "name": part["name"].tolist(),
            "label": [label_of(v, NUMBERING, class_names, f"{file} line {i}") for i, v in part["label"].items()],
        }
        stems = [name.rsplit(".", 1)[0] for name in columns["name"]]
        if is_aligned:
            columns["path"] = [aligned / f"{stem}_aligned.jpg" for stem in stems]
            check_files(columns["path"], file)
            return columns
        columns["path"] = [original / name for name in columns["name"]]
        attributes = [landmarks / f"{stem}_manu_attri.txt" for stem in stems]
        check_files([*columns["path"], *attributes], file)
        faces = [read_five_points(file) for file in attributes]
        columns["landmarks"], columns["box"] = [points for points, _ in faces], [box for _, box in faces]
        return columns

    return rows_of_splits(read_part, splits, class_names, with_labels)


def read_five_points(path: Path) -> tuple[np.ndarray, list[int]]:
    """The first five lines, x and y each, as (5, 2) float32 pixels, and the box of their face's square."""
    try:
        points = np.loadtxt(path, np.float32, max_rows=5, encoding="utf-8-sig").reshape(5, 2)
        if not (np.abs(points) < 2**24).all():  # NaN too
            raise ValueError(f"a coordinate is {np.abs(points).max():g}")
        return points, square_of_landmarks(points).box()
    except ValueError as error:
        raise InputError(f"{path}: the first five lines are not x and y of five landmarks ({error}).") from error
