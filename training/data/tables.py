"""Tables of images: Parquet files, and data sets of the Hub. Images stay encoded."""

import glob
from pathlib import Path

import numpy as np

from simfle.housekeeping import is_housekeeping
from training.data.expressions import map_labels
from training.data.images import located
from training.data.splits import split_files
from training.runtime.errors import InputError

LOCATED = "located image"  # a column's name for a moment


def parquet_files(folder: Path) -> list[Path]:
    """The files right in the folder and in its data/, where the Hub keeps them."""
    files = [*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]
    return sorted(file for file in files if not is_housekeeping(file.name))


def looks_like_parquet(path: Path) -> bool:
    """Whether it is a Parquet file or a folder with Parquet files. Raises InputError: a file of another kind."""
    if path.is_file() and path.suffix != ".parquet":
        raise InputError(f"{path} is not a .parquet file; give a folder of images, Parquet, or a Hub id.")
    return path.is_file() or bool(parquet_files(path))


def has_struct(file: Path, column: str, fields) -> bool:
    """Whether a Parquet file has a column of structs with these fields. Raises InputError: a file of another kind."""
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(file)
    except (OSError, pyarrow.ArrowException) as error:  # pyarrow 25: OSError on a damaged footer
        raise InputError(f"{file} is not a Parquet file ({error}); get it again.") from error
    kind = schema.field(column).type if column in schema.names else None
    return kind is not None and pyarrow.types.is_struct(kind) and set(fields) <= {field.name for field in kind}


def load_files(path: Path, split: str, image_column: str):
    """One split of a Parquet file or a folder of Parquet files as a `datasets.Dataset`."""
    if not (files := [path] if path.is_file() else parquet_files(path)):
        raise InputError(f"{path} holds no .parquet file.")
    files = split_files(files, split) if path.is_dir() else files
    return encoded_images(load_shards(files), image_column, files[0].parent)


def load_shards(files: list[Path]):
    """The rows of files, as they are. Raises InputError: damaged files, or files without a row."""
    import datasets
    import pyarrow
    from datasets.exceptions import DatasetsError

    patterns = [glob.escape(str(file)) for file in files]
    try:
        return datasets.load_dataset("parquet", data_files={"rows": patterns}, split="rows")
    except (DatasetsError, OSError, ValueError, pyarrow.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk; pyarrow's own have no number
            raise
        names, why = ", ".join(map(str, files)), error.__cause__ or error
        raise InputError(f"{names} cannot be read, or holds no row ({why}); get the damaged file again.") from error


def load_hub(dataset: str, split: str):
    """One split of a data set of the Hub, as it is."""
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        return datasets.load_dataset(dataset, split=split)
    except (OSError, ValueError, DatasetsError) as error:  # no network, no such data set, no such split
        raise InputError(
            f"{dataset} is no local folder, and the Hub gave no split {split!r}: {error.__cause__ or error}"
        ) from error


def encoded_images(rows, column: str, folder: Path | None = None):
    """
    The rows with a column of images that are not decoded; a table without the column as it is. A relative path of an
    image file is looked for in `folder` first, then from the working folder; see `located`.

    Raises:
        InputError: a column of something else.
    """
    import datasets
    import pyarrow
    import pyarrow.compute

    if column not in rows.column_names:
        return rows
    feature = datasets.Image(decode=False)
    try:
        rows = rows.cast_column(column, feature)
    except pyarrow.ArrowNotImplementedError as error:
        kind = rows.features[column]
        raise InputError(f"Column {column!r} holds {kind}, no images; name another by --image_column.") from error
    cells = rows.data.column(column).combine_chunks()
    lengths = pyarrow.compute.binary_length(cells.field("bytes")).to_pylist()
    is_file, paths = [not length for length in lengths], cells.field("path").to_pylist()
    located_paths = [located(path, folder) if outside else path for path, outside in zip(paths, is_file)]
    if located_paths == paths:
        return rows
    arrays = [cells.field("bytes"), pyarrow.array(located_paths, pyarrow.string())]
    cells = pyarrow.StructArray.from_arrays(arrays, ["bytes", "path"])
    rows = rows.add_column(LOCATED, cells, feature=feature).remove_columns(column)
    return rows.rename_column(LOCATED, column)


def check_column(rows, flag: str, column: str) -> None:
    """Raises InputError: a table without the column that a flag names."""
    if column not in rows.column_names:
        found = ", ".join(rows.column_names)
        raise InputError(f"The table has no column {column!r}; found {found}; name one by --{flag}.")


def check_labels(rows, column: str) -> list:
    """The values of a column of names, numbers or class labels. Raises InputError: a column of something else."""
    check_column(rows, "label_column", column)
    values = rows[column][:]
    if not all(isinstance(value, str | int | float | None) for value in values):
        raise InputError(
            f"Column {column!r} holds {rows.features[column]}, which is not one class per row; name another by"
            " --label_column."
        )
    return values


def read_labels(rows, column: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names and labels (N,) int64 of a column. Raises InputError: no classes, or a row without a label."""
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
