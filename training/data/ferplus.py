"""
FER+, from its owners' two .csv files or in Parquet form.

Train follows the majority or the probability protocol of its authors, which turn the votes of ten taggers into labels;
validation and test always follow the majority protocol.

Source: Barsoum, Zhang, Canton Ferrer, Zhang, ICMI 2016, arXiv 1608.01041, and the authors' published reader of the set.
"""

import math
import sys
from pathlib import Path

import numpy as np

from training.data.expressions import EXPRESSIONS
from training.data.facts import DatasetFacts
from training.data.images import image_hash, is_among
from training.data.tables import encoded_images, has_struct, load_shards, parquet_files
from training.runtime.errors import InputError

FERPLUS_TAGS = (*EXPRESSIONS, "unknown", "not_face")
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
        InputError: what was expected and what was found.
    """
    import datasets

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

    votes = np.array([[vote[tag] for tag in FERPLUS_TAGS] for vote in rows["votes"]], np.int64).reshape(-1, 10)
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
        file, folder = folder, folder.parent
        splits = splits or [file.stem]
        files = {split: folder / f"{split}.parquet" for split in USAGES} | {splits[0]: file}
    else:
        files = {split: folder / f"{split}.parquet" for split in USAGES}
    wanted = splits or [split for split, file in files.items() if file.exists()] or ["train"]
    wanted = {*wanted, *(split for split in ("train", "validation") if files[split].exists())}
    missing = [files[split] for split in wanted if not files[split].is_file()]
    if missing:
        raise InputError(
            f"{missing[0]} is missing; FER+ has {' and '.join(FILES)}, or in Parquet form train.parquet and"
            " validation.parquet."
        )
    return {split: encoded_images(load_shards([files[split]]), "image", folder) for split in wanted}


def read_csv_files(folder: Path, splits) -> dict:
    """
    The same from the owners' two files, whose rows line up. Images without a name are left out: the FER+ authors
    removed them because they show no face. An image becomes a PGM file in memory, its pixels as they are.
    """
    import datasets

    columns = [*FERPLUS_TAGS[:-1], "NF"]
    images, votes = read_csv(folder / FILES[0], ["pixels"]), read_csv(folder / FILES[1], ["Image name", *columns])
    if len(images) != len(votes):
        short, long = FILES if len(images) < len(votes) else FILES[::-1]
        raise InputError(
            f"{folder}: {short} ends before line {min(len(images), len(votes)) + 2}, which {long} has, and they line up"
            " row by row; unpack or download the shorter one again."
        )
    usage, names = images["Usage"], votes["Image name"].str.strip()
    for number in np.flatnonzero((usage != votes["Usage"]) | ~usage.isin(USAGES.values())):
        raise InputError(
            f"{folder / FILES[0]} line {number + 2}: Usage is {usage[number]!r}, and {votes['Usage'][number]!r} in"
            f" {FILES[1]}; both must be one of {', '.join(USAGES.values())}."
        )
    is_count = votes[columns].apply(lambda column: column.str.fullmatch(r" *\d+ *")).all(axis=1)
    for number in np.flatnonzero(~is_count):
        raise InputError(f"{folder / FILES[1]} line {number + 2}: the ten counts of votes are not all whole numbers.")
    counts = votes[columns].astype(int).set_axis(FERPLUS_TAGS, axis=1)
    features = datasets.Features(
        {
            "image": datasets.Image(decode=False),
            "votes": {tag: datasets.Value("int32") for tag in FERPLUS_TAGS},
            "name": datasets.Value("string"),
        }
    )
    parts = {}
    for split in {*(splits or USAGES), "train", "validation"}:
        chosen = np.flatnonzero((usage == USAGES[split]) & (names != ""))
        cells = [pgm(images["pixels"][i], f"{folder / FILES[0]} line {i + 2}") for i in chosen]
        part = {
            "image": [{"bytes": cell, "path": name} for cell, name in zip(cells, names[chosen])],
            "votes": counts.iloc[chosen].to_dict("records"),
            "name": names[chosen].tolist(),
        }
        parts[split] = datasets.Dataset.from_dict(part, features=features)
    return parts


def read_csv(path: Path, needed: list[str]):
    """One of the two files as a `pandas.DataFrame` of texts, with the columns `needed` and Usage."""
    import pandas

    if not path.is_file():
        other = FILES[1 - FILES.index(path.name)]
        raise InputError(f"{path} is missing; FER+ needs it beside {other}, whose rows line up with it.")
    try:
        table = pandas.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:  # of pandas' parser, or not UTF-8
        raise InputError(f"{path} cannot be read ({error}); take the list as its owners gave it.") from error
    table.columns = table.columns.str.strip()
    missing = sorted({"Usage", *needed} - set(table.columns))
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; found {', '.join(table.columns)}.")
    return table


def pgm(pixels: str, where: str) -> bytes:
    """Space-separated gray values of a square, 0 to 255, as a PGM file."""
    try:
        values = bytes(map(int, pixels.split()))
    except ValueError as error:
        raise InputError(f"{where}: the pixels are not numbers from 0 to 255 ({error}).") from error
    side = math.isqrt(len(values))
    if not values or side * side != len(values):
        raise InputError(f"{where}: {len(values)} pixels are no square; 48 x 48 = 2304 were expected.")
    return b"P5 %d %d 255\n" % (side, side) + values


def ferplus_majority(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    The majority protocol: votes of one are dropped; the largest remaining must exceed half of what remains; winners
    unknown and not_face are left out.

    Args:
        votes: (N, 10), FERPLUS_TAGS' order.
    Returns:
        keep (N,) bool; label (N,) int64 in EXPRESSIONS' order (only where kept); soft_label (N, 8) float32, the eight
        expressions' remaining votes, normalised.
    """
    remaining = np.where(votes > 1, votes, 0)
    label = remaining.argmax(1)
    keep = (remaining.max(1) * 2 > remaining.sum(1)) & (label < len(EXPRESSIONS))
    expressions = remaining[:, : len(EXPRESSIONS)].astype(np.float32)
    soft_label = expressions / np.maximum(expressions.sum(1, keepdims=True), 1)
    return keep, label, soft_label


def ferplus_probability(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    The probability protocol, which its authors train on: the leading expressions' shares (`leading_votes`).

    Args and returns as `ferplus_majority`; label is the largest share's, soft_label the shares.
    """
    leading = np.array([leading_votes(row) for row in np.where(votes > 1, votes, 0).tolist()], np.float32)
    leading = leading.reshape(-1, len(EXPRESSIONS))
    total = leading.sum(1, keepdims=True)
    return total[:, 0] > 0, leading.argmax(1), leading / np.maximum(total, 1)


def leading_votes(remaining: list[int]) -> list[int]:
    """
    One image's eight counts, without all but its leading expressions; zeros where it is left out.

    Counts are taken from the largest down, equal ones together, until three quarters of the votes or three expressions
    are reached; unknown or not_face end it when it is their turn. Left out: half of the votes or less, or more than
    three expressions.
    """
    left, taken = list(remaining), [0] * len(EXPRESSIONS)
    total = sum(remaining)
    while sum(taken) < 0.75 * total and sum(map(bool, taken)) < 3:
        top = max(left)
        winners = [tag for tag, count in enumerate(left) if count == top]
        for tag in (tag for tag in winners if tag < len(EXPRESSIONS)):
            taken[tag], left[tag] = top, 0
        if winners[-1] >= len(EXPRESSIONS):
            break
    too_few, too_many = 2 * sum(taken) <= total, sum(map(bool, taken)) > 3
    return [0] * len(EXPRESSIONS) if too_few or too_many else taken
