"""Tables of images: Parquet files, and data sets of the Hub."""

import re
from pathlib import Path

import numpy as np

from training.data.expressions import map_labels
from training.data.parquet_files import encoded_images, load_parquet, parquet_files
from training.data.splits import split_files
from training.runtime.errors import InputError


def looks_like_parquet(path: Path) -> bool:
    """Whether it is a Parquet file or a folder with Parquet files. Raises InputError: a file of another kind."""
    if path.is_file() and path.suffix != ".parquet":
        raise InputError(f"{path} is not a .parquet file; give a folder of images, Parquet, or a Hub id.")
    return path.is_file() or bool(parquet_files(path))


def looks_like_hub_id(name: str) -> bool:
    """Whether a name has the form owner/data_set."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None and not name.startswith(".")


def load_files(path: Path, split: str, image_column: str):
    """One split of a Parquet file or a folder of Parquet files as a `datasets.Dataset`, images not decoded."""
    files = [path] if path.is_file() else parquet_files(path)
    if not files:
        raise InputError(f"{path} holds no .parquet file.")
    return load_parquet(split_files(files, split) if path.is_dir() else files, image_column)


def load_hub(dataset: str, split: str, image_column: str):
    """One split of a data set of the Hub as a `datasets.Dataset`, images not decoded."""
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        rows = datasets.load_dataset(dataset, split=split)
    except (OSError, ValueError, DatasetsError) as error:  # no network, no such data set, no such split
        raise InputError(
            f"{dataset} is no local folder, and the Hub did not give split {split!r}: {error.__cause__ or error}"
        ) from error
    return encoded_images(rows, image_column) if image_column in rows.column_names else rows


def check_columns(rows, columns: dict[str, str]) -> None:
    """Raises InputError naming a missing column. columns: name by flag, as in {"image_column": "image"}."""
    for flag, column in columns.items():
        if column not in rows.column_names:
            present = ", ".join(rows.column_names)
            raise InputError(f"There is no column {column!r}; found {present}; name one by --{flag}.")


def labelled_rows(rows, column: str) -> np.ndarray:
    """The numbers of the rows that have a label."""
    return np.flatnonzero([not lacks_label(value) for value in check_labels(rows, column)])


def check_labels(rows, column: str) -> list:
    """The values of a column of names, numbers or class labels. Raises InputError: a column of something else."""
    values = rows[column][:]
    if not all(isinstance(value, str | int | float | None) for value in values):
        raise InputError(
            f"Column {column!r} holds {rows.features[column]}, which is not one class per row; name another by"
            " --label_column."
        )
    return values


def read_labels(rows, column: str) -> tuple[tuple[str, ...], np.ndarray]:
    """
    Class names and labels (N,) int64 of a column of names, numbers or class labels.

    Raises:
        InputError: a column of something else, or a row without a label.
    """
    values, names = check_labels(rows, column), getattr(rows.features[column], "names", None)
    missing = sum(map(lacks_label, values))
    if missing:
        raise InputError(f"{missing:,} of the {len(values):,} rows have no {column!r} (none, or -1); leave them out.")
    if names:
        labels = [names[value] for value in values]
    else:  # numbers read from a .csv are often floats
        labels = [str(int(v) if isinstance(v, float) and v.is_integer() else v) for v in values]
    return map_labels(labels, names or sorted(set(labels), key=natural_key))


def lacks_label(value: str | float | None) -> bool:
    """None, NaN, a number below 0, an empty text, or "-1"."""
    if isinstance(value, str):
        return value.strip() in ("", "-1")
    return value is None or not value >= 0


def natural_key(name: str) -> tuple[int, str]:
    """Sorts "2" before "10"."""
    return (int(name), "") if name.isdecimal() else (10**9, name)
