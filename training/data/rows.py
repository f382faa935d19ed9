"""Rows of images as a `datasets.Dataset`, and the checked reading of the lists and labels in official layouts."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

from training.data.splits import SPLITS, held_out
from training.runtime.errors import InputError


def rows_of_paths(paths: list[Path]):
    """A `datasets.Dataset` with one column, `image`, that is not decoded."""
    import datasets

    cells = [{"bytes": None, "path": str(path)} for path in paths]
    features = datasets.Features({"image": datasets.Image(decode=False)})
    return datasets.Dataset.from_dict({"image": cells}, features=features)


def rows_of_splits(read_part: Callable[[bool], dict[str, list]], splits, class_names, with_labels: bool):
    """
    A `datasets.DatasetDict` of an official layout, of which `read_part` reads the columns of the test part (True) or of
    the training part. splits: names, None for all.
    """
    import datasets

    read_part = functools.cache(read_part)
    rows = {s: split_rows(read_part(s == "test"), s, class_names, with_labels) for s in splits or SPLITS}
    return datasets.DatasetDict(rows)


def split_rows(columns: dict[str, list], split: str, class_names, with_labels: bool, by_path: bool = False):
    """
    The rows of one split as a `datasets.Dataset`.

    Args:
        columns: lists of one part: path, name, label (-1: none of the classes), and, where the owners give them,
            landmarks and box: [left, top, right, bottom] of the face in the image, pixels. class_names: in label order.
        with_labels: false takes images without a label and the whole training part, and gives no label column.
        by_path: whether the fixed tenth goes by the whole name, and not by the file's name after the last slash.
    """
    import datasets

    whole = split == "test" or (split == "train" and not with_labels)
    names = columns["name"] if by_path else [name.rsplit("/", 1)[-1] for name in columns["name"]]
    indices = [
        i
        for i, (name, label) in enumerate(zip(names, columns["label"], strict=True))
        if (label >= 0 or not with_labels) and (whole or held_out(name) == (split == "validation"))
    ]
    taken = {key: [values[i] for i in indices] for key, values in columns.items() if key != "label" or with_labels}
    taken = {"image": [{"bytes": None, "path": str(path)} for path in taken.pop("path")]} | taken
    points = len(columns["landmarks"][0]) if columns.get("landmarks") else 0
    kinds = {
        "image": datasets.Image(),
        "name": datasets.Value("string"),
        "label": datasets.ClassLabel(names=list(class_names)),
        "box": datasets.Sequence(datasets.Value("int32"), length=4),
        "landmarks": datasets.Array2D((points, 2), "float32"),
    }
    return datasets.Dataset.from_dict(taken, features=datasets.Features({key: kinds[key] for key in taken}))


def expect(is_there: bool, folder: Path, what: str) -> None:
    """Raises InputError saying what was expected and what the folder holds."""
    if not is_there:
        holds = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else []
        raise InputError(f"{folder}: {what} was expected; found {', '.join(holds) or 'nothing'}.")


def check_files(paths: list[Path], listed_in: Path) -> None:
    """Raises InputError saying how many of the listed files are missing, and the first."""
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise InputError(
            f"{len(missing):,} of the {len(paths):,} files that {listed_in} asks for are missing, the first"
            f" {missing[0]}; unpack the set again."
        )


def read_list(file: Path, **options):
    """
    A list of the owners as a `pandas.DataFrame` of texts, "" where a line has too few. Its index is the line's number.
    The options are those of `pandas.read_csv`, with `names` for a list without a header.
    """
    import pandas

    options |= {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig", "skipinitialspace": True}
    try:
        table = pandas.read_csv(file, **options).reset_index(drop=True)
    except ValueError as error:  # of pandas' parser, or not UTF-8
        raise InputError(f"{file} cannot be read ({error}); take the list as its owners gave it.") from error
    table.index += 1 if "names" in options else 2
    return table


def label_of(value: str, numbering: dict[str, str], class_names: tuple[str, ...], where: str) -> int:
    """
    The label of an owner's number: its place in `class_names`, -1 where it is none of the classes.

    Args:
        numbering: each of the owners' numbers, as it is written, to its name. where: the file and line, for the error.
    """
    if (name := numbering.get(value.strip())) is None:
        known = ", ".join(f"{number} ({name})" for number, name in numbering.items())
        raise InputError(f"{where}: the label {value!r} is none of {known}; take the list as its owners gave it.")
    return class_names.index(name) if name in class_names else -1
