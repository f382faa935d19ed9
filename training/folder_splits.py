"""Which folder a split of a folder of images is, by its usual spellings; a fixed tenth of train where it has none."""

import functools
import sys
from pathlib import Path

from training.fer_layouts import SPLITS, held_out

# Spellings of split folders.
SPLIT_SYNONYMS = {
    "validation": ("validation", "val", "valid", "dev"),
    "train": ("train", "training"),
    "test": ("test",),
}
WHOLE = "test"  # how `split_rows` takes every picture


def spellings(split: str) -> tuple[str, ...]:
    """The names that a split may have, the one given first."""
    return (split, *next((names for names in SPLIT_SYNONYMS.values() if split in names), ()))


def split_names(folder: Path) -> list[str]:
    """The splits that a folder has folders for, in our names."""
    return [split for split in SPLITS if any((folder / name).is_dir() for name in SPLIT_SYNONYMS[split])]


def split_folder(folder: Path, split: str) -> Path:
    """folder/split under any usual spelling; the folder itself where it has no splits at all."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file; a folder of images was expected.")
    for name in spellings(split):
        if (folder / name).is_dir():
            return folder / name
    found = [name for names in SPLIT_SYNONYMS.values() for name in names if (folder / name).is_dir()]
    if found:
        raise ValueError(f"{folder} has no split {split!r}; found {', '.join(found)}.")
    return folder


def lacks_validation(folder: Path) -> bool:
    """Whether validation is a tenth of train: a folder of class folders without splits, or with train and no other."""
    there = split_names(folder)
    return "validation" not in there and ("train" in there or not there)


def labelled_part(folder: Path, split: str) -> tuple[Path, str]:
    """
    Where the class folders of a split lie, and which of their pictures it has: "train" (nine tenths), "validation"
    (the tenth), or WHOLE.

    Raises:
        ValueError: a set without this split. Of one without any, "all" is every picture, for an evaluation.
    """
    name = next((name for name in SPLITS if name in spellings(split)), split)
    if lacks_validation(folder) and name in ("train", "validation"):
        return split_folder(folder, "train"), name
    has_it = any((folder / spelling).is_dir() for spelling in spellings(split))
    if has_it or split_names(folder) or folder.is_file() or split == "all":
        return split_folder(folder, split), WHOLE
    raise ValueError(
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
        raise ValueError(
            f"{place} has no validation split, and the fixed tenth of its {len(names)} images (by a hash of the file's"
            " name) is empty; give a folder with train/<class>/ and validation/<class>/."
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
