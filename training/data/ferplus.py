"""
FER+, from its owners' two .csv files or in Parquet form.

Train follows the majority or the probability protocol (`training.data.ferplus_votes`); validation and test always
follow the majority protocol.
"""

import csv
import math
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np

from training.data.expressions import EXPRESSIONS
from training.data.facts import DatasetFacts
from training.data.ferplus_votes import FERPLUS_TAGS, ferplus_majority, ferplus_probability, ferplus_votes
from training.data.owners_files import values_of
from training.data.parquet_files import has_struct, load_parquet, parquet_files
from training.data.repeated_images import image_hash, is_among
from training.runtime.errors import InputError

FILES = ("fer2013.csv", "fer2013new.csv")
USAGES = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
# The images of the whole set, and those with a majority.
FULL_COUNTS = {"train": (28558, 25045), "validation": (3579, 3191), "test": (3573, 3137)}

FACTS = DatasetFacts(
    name="FER+",
    homepage="https://github.com/microsoft/FERPlus",
    terms="FER+'s images are given for research; its labels are under the MIT licence.",
    research_only=True,
    citation="""\
@inproceedings{barsoum2016training,
  title     = {Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution},
  author    = {Barsoum, Emad and Zhang, Cha and Canton Ferrer, Cristian and Zhang, Zhengyou},
  booktitle = {ACM International Conference on Multimodal Interaction (ICMI)},
  year      = {2016},
  note      = {arXiv:1608.01041}
}""",
    description="""\
FER+ (Barsoum, Zhang, Canton Ferrer, Zhang, ICMI 2016) holds gray images of 48 x 48 pixels, labelled anew by ten
taggers each. The images are for research; the labels are under the MIT licence. The splits are the owners'. The labels
follow the majority protocol: votes of one are dropped, and the largest remaining count must exceed half of the
remaining votes. Images that unknown or not-a-face wins are left out. This leaves 25,045 training, 3,191 validation and
3,137 test images. Soft labels are the remaining votes for the eight expressions, normalised.

FER+ repeats itself: its 28,558 training rows are 27,334 distinct images, and 279 of the 3,579 validation images equal a
training image pixel by pixel. Every training leaves out the training images that equal a validation image. Accuracy is
also given without the validation images that repeat a training image.""",
    pixels=(
        "The training images are gray and 48 pixels wide (seen at {side}). They do not show wrinkles, small movements"
        " or colour, and the model cannot use the finer detail of larger images."
    ),
    posing="Many training faces are posed. Expect lower accuracy on spontaneous, faint and mixed expressions.",
    people=(
        "FER+ does not list the persons, ages, genders or origins in its images. Differences in accuracy between groups"
        " of people were not measured and must be expected."
    ),
)


def looks_like(path: Path) -> bool:
    """Whether a folder holds one of the owners' two files, or Parquet files have FER+'s column of votes."""
    if path.is_dir() and any((path / name).exists() for name in FILES):
        return True
    files = [path] if path.suffix == ".parquet" and path.is_file() else parquet_files(path)
    return bool(files) and has_struct(files[0], "votes", FERPLUS_TAGS)


def load(folder: Path, splits=None, with_labels: bool = True, protocol: str = "majority"):
    """
    FER+ from its owners' fer2013.csv with fer2013new.csv, or in Parquet form.

    Train leaves out every image that equals a validation image pixel by pixel. Validation and test mark the images that
    equal a training image (`repeats_training`; the column is missing where the train split is).

    Args:
        folder: with the two .csv files, or <split>.parquet; or one .parquet file, which is the one split asked for.
        splits: names, None for all that the folder has. with_labels: false gives every image, without labels.
        protocol: of train, "majority" or "probability".
    Returns:
        `DatasetDict` of image, name, votes, label (ClassLabel), soft_label (8,).
    Raises:
        InputError, FileNotFoundError: what was expected and what was found.
    """
    import datasets

    folder = Path(folder)
    if protocol not in ("majority", "probability"):
        raise InputError(f"protocol={protocol!r} is not known; use majority or probability.")
    if any((folder / name).is_file() for name in FILES):
        parts = read_csv_files(folder, splits)
    else:
        parts = read_parquet_files(folder, splits)
    loaded, hashes = datasets.DatasetDict(), dict[str, list[str | None]]()
    for split in splits or [split for split in USAGES if split in parts]:
        rows = parts[split]
        kept = np.ones(len(rows), np.bool_)
        if with_labels:
            rows, kept = add_labels(rows, split, protocol if split == "train" else "majority")
        other = "validation" if split == "train" else "train"
        if other in parts and (with_labels or split == "train"):
            for name in {split, other} - set(hashes):
                hashes[name] = [image_hash(cell) for cell in parts[name]["image"]]
            repeats = is_among(hashes[split], hashes[other])
            kept &= ~repeats | (split != "train")
            if split != "train":
                rows = rows.add_column("repeats_training", repeats)
        loaded[split] = rows.select(np.flatnonzero(kept)).cast_column("image", datasets.Image())
    return loaded


def add_labels(rows, split: str, protocol: str):
    """The rows with label and soft_label, and which of them the protocol keeps (N,); checks a whole set's count."""
    import datasets

    votes = ferplus_votes(rows)
    keep, label, soft_label = (ferplus_majority if protocol == "majority" else ferplus_probability)(votes)
    size, majority = FULL_COUNTS[split]
    if len(rows) == size:
        count = int(ferplus_majority(votes)[0].sum())
        if count != majority:
            raise InputError(
                f"FER+ {split}: {count:,} of the {size:,} images have a majority, and its authors' {majority:,} were"
                " expected; these are not the owners' votes."
            )
        print(f"FER+ {split}: {count:,} of {size:,} images have a majority, as its authors count", file=sys.stderr)
    names = datasets.ClassLabel(names=list(EXPRESSIONS))
    shares = datasets.Sequence(datasets.Value("float32"), length=len(EXPRESSIONS))
    rows = rows.add_column("label", np.where(keep, label, -1), feature=names)
    return rows.add_column("soft_label", list(soft_label), feature=shares), keep


def read_parquet_files(folder: Path, splits) -> dict:
    """Rows with image (not decoded) and votes by split: the splits asked for, and train and validation beside them."""
    if folder.is_file():
        split = splits[0] if splits else folder.stem
        found = {split: read_parquet(folder)}
        folder, splits = folder.parent, [split]
    else:
        wanted = splits or [split for split in USAGES if (folder / f"{split}.parquet").exists()] or ["train"]
        found = {split: read_parquet(folder / f"{split}.parquet") for split in wanted}
    for split in ("train", "validation"):
        if split not in found and (folder / f"{split}.parquet").exists():
            found[split] = read_parquet(folder / f"{split}.parquet")
    return found


def read_parquet(path: Path):
    """One Parquet file as a `datasets.Dataset` whose images stay encoded."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; FER+ has {' and '.join(FILES)}, or in Parquet form train.parquet and"
            " validation.parquet."
        )
    return load_parquet([path], "image")


def read_csv_files(folder: Path, splits) -> dict:
    """
    The same from the owners' two files, whose rows line up. Images without a name are left out: the FER+ authors
    removed them because they show no face. An image becomes a PGM file in memory, its pixels as they are.
    """
    import datasets

    wanted = {*(splits or USAGES), "train", "validation"}
    split_of = {usage: split for split, usage in USAGES.items() if split in wanted}
    columns: dict = {split: {"image": [], "votes": [], "name": []} for split in wanted}
    images, votes = (read_csv(folder / name) for name in FILES)
    for number, (image, vote) in enumerate(zip_longest(images, votes), 2):
        if image is None or vote is None:
            short, long = FILES if image is None else FILES[::-1]
            raise InputError(
                f"{folder}: {short} ends before line {number}, which {long} has, and they line up row by row; unpack or"
                " download the shorter one again."
            )
        where, usage = f"{folder / FILES[0]} line {number}", image["Usage"]
        if usage not in USAGES.values() or vote["Usage"] != usage:
            raise InputError(
                f"{where}: Usage is {usage!r}, and {vote['Usage']!r} in {FILES[1]}; both must be one of"
                f" {', '.join(USAGES.values())}."
            )
        if usage in split_of and vote["Image name"].strip():
            name = vote["Image name"].strip()
            part = columns[split_of[usage]]
            part["image"].append({"bytes": pgm(image["pixels"], where), "path": name})
            part["votes"].append(read_votes(vote, f"{folder / FILES[1]} line {number}"))
            part["name"].append(name)
    features = datasets.Features(
        {
            "image": datasets.Image(decode=False),
            "votes": {tag: datasets.Value("int32") for tag in FERPLUS_TAGS},
            "name": datasets.Value("string"),
        }
    )
    return {split: datasets.Dataset.from_dict(part, features=features) for split, part in columns.items()}


def read_csv(path: Path) -> Iterator[dict[str, str]]:
    """The rows of one of the two files, by column name."""
    if not path.is_file():
        other = FILES[1 - FILES.index(path.name)]
        raise FileNotFoundError(f"{path} is missing; FER+ needs it beside {other}, whose rows line up with it.")
    with open(path, newline="", encoding="utf-8-sig") as file, values_of(path):
        reader = csv.DictReader(file)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        needed = (
            {"Usage", "pixels"} if path.name == FILES[0] else {"Usage", "Image name", *EXPRESSIONS, "unknown", "NF"}
        )
        missing = sorted(needed - set(reader.fieldnames))
        if missing:
            raise InputError(f"{path} has no column {', '.join(missing)}; found {', '.join(reader.fieldnames)}.")
        for row in reader:
            if any(row[name] is None for name in needed):
                raise InputError(f"{path} line {reader.line_num} ends early; unpack or download it again.")
            yield row


def read_votes(row: dict[str, str], where: str) -> dict[str, int]:
    try:
        return {tag: int(row["NF" if tag == "not_face" else tag]) for tag in FERPLUS_TAGS}
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: the ten counts of votes are not all whole numbers ({error}).") from error


def pgm(pixels: str, where: str) -> bytes:
    """Space-separated gray values of a square, 0 to 255, as a PGM file."""
    try:
        values = bytes(map(int, pixels.split()))
    except (AttributeError, ValueError) as error:
        raise InputError(f"{where}: the pixels are not numbers from 0 to 255 ({error}).") from error
    side = math.isqrt(len(values))
    if not values or side * side != len(values):
        raise InputError(f"{where}: {len(values)} pixels are no square; 48 x 48 = 2304 were expected.")
    return b"P5 %d %d 255\n" % (side, side) + values
