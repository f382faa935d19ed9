"""Parquet files of a folder, their columns, and their rows with images that stay encoded."""

import glob
from pathlib import Path

from training.data.images import located
from training.runtime.errors import InputError

LOCATED = "located image"  # a column's name for a moment


def parquet_files(folder: Path) -> list[Path]:
    """The files right in the folder and in its data/, where the Hub keeps them."""
    return sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")])


def has_struct(file: Path, column: str, fields) -> bool:
    """Whether a Parquet file has a column of structs with these fields. Raises InputError: a file of another kind."""
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(file)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{file} is not a Parquet file ({error}); get it again.") from error
    kind = schema.field(column).type if column in schema.names else None
    return kind is not None and pyarrow.types.is_struct(kind) and set(fields) <= {field.name for field in kind}


def load_parquet(files: list[Path], image_column: str):
    """
    The rows of Parquet files of one folder as a `datasets.Dataset` whose images are not decoded.

    A relative path of an image file is looked for from the folder of the Parquet files first, then from the working
    folder. A table without the column comes as it is.

    Raises:
        InputError: damaged files, files without a row, or a column that holds no images.
    """
    import datasets
    from datasets.exceptions import DatasetGenerationError

    try:
        patterns = [glob.escape(str(file)) for file in files]
        rows = datasets.load_dataset("parquet", data_files={"rows": patterns}, split="rows")
    except DatasetGenerationError as error:
        names = ", ".join(map(str, files))
        raise InputError(f"{names} cannot be read, or holds no row ({error.__cause__ or error}).") from error
    if image_column not in rows.column_names:
        return rows
    return locate_images(encoded_images(rows, image_column), image_column, files[0].parent)


def encoded_images(rows, column: str):
    """The rows with a column of images that are not decoded. Raises InputError: a column of something else."""
    import datasets
    import pyarrow

    feature = rows.features[column]
    try:
        return rows.cast_column(column, datasets.Image(decode=False))
    except pyarrow.ArrowNotImplementedError as error:
        raise InputError(f"Column {column!r} holds {feature}, no images; name another by --image_column.") from error


def locate_images(rows, column: str, folder: Path):
    """The rows with relative paths of image files replaced by those below `folder` where such files exist."""
    import pyarrow
    import pyarrow.compute

    cells = rows.data.column(column).combine_chunks()
    outside = pyarrow.compute.is_null(cells.field("bytes")).to_pylist()
    paths = cells.field("path").to_pylist()
    found = [located(path, folder) if is_file else path for path, is_file in zip(paths, outside, strict=True)]
    if found == paths:
        return rows
    arrays = [cells.field("bytes"), pyarrow.array(found, pyarrow.string())]
    feature = rows.features[column]
    located_cells = pyarrow.StructArray.from_arrays(arrays, ["bytes", "path"])
    rows = rows.add_column(LOCATED, located_cells, feature=feature).remove_columns(column)
    return rows.rename_column(LOCATED, column)
