"""Which format a data set has, by its looks."""

import re
from pathlib import Path

from training.fer_datasets import SFEW_FOLDERS
from training.fer_layouts import class_folders


def guess_format(path: Path, dataset: str) -> str:
    """The format of a path by its looks; see DatasetArguments."""
    if path.is_dir() and (found := guess_owners_format(path)):
        return found
    if path.is_file() or (path.is_dir() and parquet_files(path)):
        import pyarrow.parquet

        first = path if path.is_file() else parquet_files(path)[0]
        if first.suffix != ".parquet":
            raise ValueError(f"{dataset} is a file but no .parquet; give a folder of images, Parquet, or a Hub id.")
        return "ferplus" if "votes" in pyarrow.parquet.read_schema(first).names else "parquet"
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
    return sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")])
