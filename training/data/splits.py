"""The names of splits, and which files, folders and images belong to a split."""

import hashlib
import re
from pathlib import Path

from training.runtime.errors import InputError

SPLITS = ("train", "validation", "test")
# Spellings of splits, in lower case; FER2013Train and its like are what FER+'s own script writes.
SPLIT_SYNONYMS = {
    "validation": ("validation", "val", "valid", "dev", "fer2013valid", "publictest"),
    "train": ("train", "training", "fer2013train"),
    "test": ("test", "testing", "fer2013test", "privatetest"),
}
SHARD = r"([-_]?\d+([-_]of[-_]\d+)?)?"  # what may follow a split in a file's name


def held_out(name: str) -> bool:
    """
    Whether a training image of this file name belongs to the fixed tenth that is `validation`. The frames of one film
    may lie on both sides, so that SFEW's validation is easier than its test.
    """
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10 == 0


def split_of(name: str) -> str | None:
    """Our name of the split with this name in any usual spelling; None where there is none."""
    return next((split for split, names in SPLIT_SYNONYMS.items() if name.lower() in names), None)


def split_of_file(path: Path, loosely: bool = False) -> str | None:
    """
    The split in a file's name: test.parquet, Train_0.tar, val-00000-of-00002.parquet; loosely train_faces_0.tar too.
    """
    word, rest = re.fullmatch(r"((?:fer2013)?[a-z]*)(.*)", path.name.split(".")[0].lower()).groups()
    return split_of(word) if loosely or re.fullmatch(SHARD, rest) else None


def split_files(files: list[Path], split: str) -> list[Path]:
    """
    The files of a split by their names. Of files in two folders, those of the upper folder are taken. Where no name
    contains a split, a single file is any split, and several files are train. Raises InputError: no file of the split.
    """
    wanted = split_of(split)
    names = [split_of_file(file) for file in files]
    if not any(names):
        names = [split_of_file(file, loosely=True) for file in files]
    if wanted:
        chosen = [file for file, name in zip(files, names) if name == wanted]
    else:
        chosen = [file for file in files if re.fullmatch(re.escape(split) + SHARD, file.name.split(".")[0])]
    if not chosen and (any(names) or (len(files) > 1 and wanted != "train")):
        shown = ", ".join(file.name for file in files[:5])
        raise InputError(f"{files[0].parent} has no file of split {split!r}; found {shown}.")
    chosen = chosen or files
    return [file for file in chosen if len(file.parts) == min(len(other.parts) for other in chosen)]


def split_folders(folder: Path) -> dict[str, Path]:
    """The splits that a folder has folders for, in our names and order; of two spellings the more usual one."""
    folders = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}
    return {
        split: folders[next(filter(folders.__contains__, SPLIT_SYNONYMS[split]))]
        for split in SPLITS
        if not folders.keys().isdisjoint(SPLIT_SYNONYMS[split])
    }


def split_folder(folder: Path, split: str) -> Path:
    """folder/split under any usual spelling; the folder itself where it has no splits at all."""
    if folder.is_file():
        raise InputError(f"{folder} is a file; a folder of images was expected.")
    if (folder / split).is_dir():
        return folder / split
    folders = split_folders(folder)
    if folders and split_of(split) not in folders:
        raise InputError(f"{folder} has no split {split!r}; found {', '.join(path.name for path in folders.values())}.")
    return folders.get(split_of(split), folder)
