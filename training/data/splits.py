"""Which folder a split of a folder of images is, by its usual spellings; a fixed tenth of train where it has none."""

import functools
import re
import sys
from pathlib import Path

from training.data.layouts import SPLITS, held_out
from training.runtime.errors import InputError

# Spellings of splits, in lower case; FER2013Train and its like are what FER+'s own script writes.
SPLIT_SYNONYMS = {
    "validation": ("validation", "val", "valid", "dev", "fer2013valid", "publictest"),
    "train": ("train", "training", "fer2013train"),
    "test": ("test", "testing", "fer2013test", "privatetest"),
}
SHARD = r"([-_]?\d+([-_]of[-_]\d+)?)?"  # what may follow a split in a file's name
WHOLE = "test"  # how `split_rows` takes every picture


def split_of(name: str) -> str | None:
    """Our name of the split that goes by a name, in any case; None where none does."""
    return next((split for split, names in SPLIT_SYNONYMS.items() if name.lower() in names), None)


def split_of_file(path: Path, loosely: bool = False) -> str | None:
    """
    The split that a file's name says: test.parquet, Train_0.tar, val-00000-of-00002.parquet.

    Args:
        loosely: whether it may say more: train_faces_0.tar.
    """
    word, rest = re.fullmatch(r"((?:fer2013)?[a-z]*)(.*)", path.name.split(".")[0].lower()).groups()
    return split_of(word) if loosely or re.fullmatch(SHARD, rest) else None


def split_files(files: list[Path], split: str) -> list[Path]:
    """
    The files of a split by their names, of two folders the upper one's. Where no name says a split, one file is any
    split, and several are train.

    Raises:
        ValueError: there is none.
    """
    wanted = split_of(split)
    names = [split_of_file(file) for file in files]
    if not any(names):
        names = [split_of_file(file, loosely=True) for file in files]
    if wanted:
        found = [file for file, name in zip(files, names) if name == wanted]
    else:
        found = [file for file in files if re.fullmatch(re.escape(split) + SHARD, file.name.split(".")[0])]
    if not found and (any(names) or (len(files) > 1 and wanted != "train")):
        shown = ", ".join(file.name for file in files[:5])
        raise InputError(f"{files[0].parent} has no file of split {split!r}; found {shown}.")
    found = found or files
    return [file for file in found if len(file.parts) == min(len(other.parts) for other in found)]


def split_folders(folder: Path) -> dict[str, Path]:
    """The splits that a folder has folders for, in our names and order; of two spellings the more usual one."""
    there = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}
    return {
        split: there[next(filter(there.__contains__, SPLIT_SYNONYMS[split]))]
        for split in SPLITS
        if not there.keys().isdisjoint(SPLIT_SYNONYMS[split])
    }


def split_folder(folder: Path, split: str) -> Path:
    """folder/split under any usual spelling; the folder itself where it has no splits at all."""
    if folder.is_file():
        raise InputError(f"{folder} is a file; a folder of images was expected.")
    if (folder / split).is_dir():
        return folder / split
    found = split_folders(folder)
    if found and split_of(split) not in found:
        raise InputError(f"{folder} has no split {split!r}; found {', '.join(path.name for path in found.values())}.")
    return found.get(split_of(split), folder)


def lacks_validation(folder: Path) -> bool:
    """Whether validation is a tenth of train: a folder of class folders without splits, or with train and no other."""
    there = split_folders(folder)
    return "validation" not in there and ("train" in there or not there)


def labelled_part(folder: Path, split: str) -> tuple[Path, str]:
    """
    Where the class folders of a split lie, and which of their pictures it has: "train" (nine tenths), "validation"
    (the tenth), or WHOLE.

    Raises:
        ValueError: a set without this split. Of one without any, "all" is every picture, for an evaluation.
    """
    name = split_of(split)
    if lacks_validation(folder) and name in ("train", "validation"):
        return split_folder(folder, "train"), name
    if (folder / split).is_dir() or split_folders(folder) or folder.is_file() or split == "all":
        return split_folder(folder, split), WHOLE
    raise InputError(
        f"{folder} has no split {split!r}: it has no folder train, validation or test, so its splits are train,"
        f" validation (a fixed tenth) and, for an evaluation of every image, all; put others into {folder / split}."
    )


def say_tenth(place: Path, names: list[str], labels, class_names, needed: bool) -> None:
    """
    Prints, once, how a folder's pictures are divided; nothing where the tenth is empty.

    Args:
        names: their files'. labels: (N,). needed: whether the tenth is asked for.
    Raises:
        ValueError: it is, and it is empty.
    """
    held = {int(label) for name, label in zip(names, labels) if held_out(name)}
    count = sum(map(held_out, names))
    if needed and not count:
        raise InputError(
            f"{place} has no validation split, and the fixed tenth of its {len(names)} images (by a hash of the"
            " name below its class folder) is empty; give a folder with train/<class>/ and validation/<class>/."
        )
    if not count:
        return
    lacking = [class_names[label] for label in sorted(set(map(int, labels)) - held)]
    clause = f"; warning: the tenth has none of {', '.join(lacking)}" if lacking else ""
    say_once(
        f"{place} has no validation split: {count} of its {len(names)} images, a fixed tenth by file name, are"
        f" validation, the other {len(names) - count} train{clause}"
    )


@functools.cache
def say_once(sentence: str) -> None:
    """On stderr; a second time is none."""
    print(sentence, file=sys.stderr)
