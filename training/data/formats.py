"""Which format a data set has, by its looks."""

import glob
import re
from pathlib import Path

from training.data import ferplus
from training.data.facts import DatasetFacts
from training.data.fer_datasets import SFEW_FOLDERS
from training.data.ferplus import FERPLUS_TAGS
from training.data.layouts import class_folders
from training.runtime.errors import InputError

FACTS = {"ferplus": ferplus.FACTS}


def facts_of(data_format: str) -> DatasetFacts | None:
    """The facts of a --data_format. None for folders, tables and Hub data sets of anybody."""
    return FACTS.get(data_format)


def guess_format(path: Path, dataset: str) -> str:
    """The format of a path by its looks; see DatasetArguments."""
    if path.is_dir() and (found := guess_owners_format(path)):
        return found
    if path.is_file() or (path.is_dir() and parquet_files(path)):
        first = path if path.is_file() else parquet_files(path)[0]
        if first.suffix != ".parquet":
            raise InputError(f"{dataset} is a file but no .parquet; give a folder of images, Parquet, or a Hub id.")
        return "ferplus" if has_votes(first) else "parquet"
    if path.is_dir():
        return "imagefolder"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", dataset) and not dataset.startswith("."):
        return "hub"
    raise FileNotFoundError(f"{dataset} does not exist; --dataset takes a folder, a Parquet file or a Hub id.")


def guess_owners_format(folder: Path) -> str | None:
    """The expression set that a folder holds as its owners pack it; None where it is none."""
    names = {path.name for path in folder.iterdir()}
    if names & {"fer2013.csv", "fer2013new.csv"}:
        return "ferplus"
    if names & {"Manually_Annotated_file_lists", "Manually_Annotated_Images", "train_set", "val_set"}:
        return "affectnet8"
    if "EmoLabel" in names:
        return "rafdb"
    if "Train" in names and "Val" in names and set(SFEW_FOLDERS) & set(class_folders(folder / "Train")):
        return "sfew"
    return None


def parquet_files(folder: Path) -> list[Path]:
    """Those right in the folder, and those in its data/, as the Hub has them."""
    return sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")])


def has_votes(file: Path) -> bool:
    """Whether a Parquet file has FER+'s column of votes. Raises ValueError: a file that is no Parquet."""
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(file)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{file} is no Parquet file ({error}); get it again.") from error
    kind = schema.field("votes").type if "votes" in schema.names else None
    return kind is not None and pyarrow.types.is_struct(kind) and set(FERPLUS_TAGS) <= {field.name for field in kind}


def load_parquet(files: list[Path]):
    """The rows of Parquet files as a `datasets.Dataset`. Raises ValueError: damaged ones, or ones without a row."""
    import datasets
    from datasets.exceptions import DatasetGenerationError

    try:
        patterns = [glob.escape(str(file)) for file in files]
        return datasets.load_dataset("parquet", data_files={"rows": patterns}, split="rows")
    except DatasetGenerationError as error:
        names = ", ".join(map(str, files))
        raise InputError(f"{names} cannot be read, or holds no row ({error.__cause__ or error}).") from error
