"""
FER+: the votes of ten taggers, its authors' two protocols, and the data set in both of its forms.

Source of the protocols: Barsoum, Zhang, Canton Ferrer, Zhang, ICMI 2016, arXiv 1608.01041, and the authors' published
reader of the set. Validation and test follow the majority protocol under either.
"""

import csv
import hashlib
import io
import math
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np

from training.data.expressions import EXPRESSIONS
from training.data.facts import DatasetFacts
from training.data.layouts import values_of
from training.runtime.errors import InputError

FERPLUS_TAGS = (*EXPRESSIONS, "unknown", "not_face")
FILES = ("fer2013.csv", "fer2013new.csv")
USAGES = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
# Pictures of the whole set, and those with a majority.
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


def ferplus_votes(rows) -> np.ndarray:
    """The `votes` column as (N, 10) integers in FERPLUS_TAGS' order."""
    return np.array([[vote[tag] for tag in FERPLUS_TAGS] for vote in rows["votes"]], dtype=np.int64).reshape(-1, 10)


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
    One picture's eight counts, without all but its leading expressions; zeros where it is left out.

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


def picture_hash(cell: dict | None) -> str | None:
    """
    A hash of the decoded gray pixels: equal pictures have equal hashes, whatever their encoding. None for one that
    cannot be read, which is named where it is used.

    Args:
        cell: {"bytes", "path"}.
    """
    from PIL import Image

    from modeling_simfle.image_processing_simfle import BROKEN

    if cell is None or (cell["bytes"] is None and cell["path"] is None):
        return None
    try:
        with Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else cell["path"]) as image:
            return hashlib.sha256(np.asarray(image.convert("L")).tobytes()).hexdigest()
    except (*BROKEN, ValueError):  # as in read_images.read_image
        return None


def is_among(hashes: list, others: list) -> np.ndarray:
    """(N,) bool: whether each hash is one of the others'; None, of an unreadable picture, is not."""
    known = set(others) - {None}
    return np.array([value in known for value in hashes], np.bool_)


def load_ferplus(folder: str | Path, protocol: str = "majority", splits=None, with_labels: bool = True):
    """
    FER+, from its owners' fer2013.csv with fer2013new.csv, or in Parquet form.

    Train leaves out every picture that equals one of validation pixel by pixel; validation and test mark those that
    equal one of train (`repeats_training`; where train is not at hand there is no such column).

    Args:
        folder: with the two .csv files, or <split>.parquet; or one .parquet file, which is the one split asked for.
        protocol: of train, "majority" or "probability". splits: names, None for all that are there.
        with_labels: false gives every picture, without labels (for pretraining).
    Returns:
        `DatasetDict` of image, name, votes, label (ClassLabel), soft_label (8,).
    Raises:
        ValueError, FileNotFoundError: what was expected and what was found.
    """
    import datasets

    folder = Path(folder)
    if protocol not in ("majority", "probability"):
        raise InputError(f"protocol={protocol!r} is not known; use majority or probability.")
    if any((folder / name).is_file() for name in FILES):
        parts = read_csv_files(folder, splits)
    else:
        parts = read_parquet_files(folder, splits)
    wanted = splits or [split for split in USAGES if split in parts]
    found, hashes = datasets.DatasetDict(), dict[str, list[str | None]]()
    for split in wanted:
        rows = parts[split]
        kept = np.ones(len(rows), np.bool_)
        if with_labels:
            rows, kept = add_labels(rows, split, protocol if split == "train" else "majority")
        other = "validation" if split == "train" else "train"
        if other in parts and (with_labels or split == "train"):
            for name in {split, other} - set(hashes):
                hashes[name] = [picture_hash(cell) for cell in parts[name]["image"]]
            repeats = is_among(hashes[split], hashes[other])
            kept &= ~repeats | (split != "train")
            if split != "train":
                rows = rows.add_column("repeats_training", repeats)
        found[split] = rows.select(np.flatnonzero(kept)).cast_column("image", datasets.Image())
    return found


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
                f"FER+ {split}: {count:,} of the {size:,} pictures have a majority, and its authors' {majority:,} were"
                " expected; these are not the owners' votes."
            )
        print(f"FER+ {split}: {count:,} of {size:,} pictures have a majority, as its authors count", file=sys.stderr)
    names = datasets.ClassLabel(names=list(EXPRESSIONS))
    shares = datasets.Sequence(datasets.Value("float32"), length=len(EXPRESSIONS))
    rows = rows.add_column("label", np.where(keep, label, -1), feature=names)
    return rows.add_column("soft_label", list(soft_label), feature=shares), keep


def read_parquet_files(folder: Path, splits) -> dict:
    """Split to rows with image (not decoded) and votes, of those asked for and of train and validation beside them."""
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
    import datasets

    from training.data.formats import load_parquet

    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; FER+ has {' and '.join(FILES)}, or in Parquet form train.parquet and"
            " validation.parquet."
        )
    return load_parquet([path]).cast_column("image", datasets.Image(decode=False))


def read_csv_files(folder: Path, splits) -> dict:
    """
    The same from the owners' two files, whose rows line up. Pictures without a name, which the FER+ authors took out
    as no faces at all, are left out; a picture becomes a PGM file in memory: its pixels as they are.
    """
    import datasets

    wanted = {*(splits or USAGES), "train", "validation"}
    split_of = {usage: split for split, usage in USAGES.items() if split in wanted}
    columns: dict = {split: {"image": [], "votes": [], "name": []} for split in wanted}
    pictures, votes = (read_csv(folder / name) for name in FILES)
    for number, (picture, vote) in enumerate(zip_longest(pictures, votes), 2):
        if picture is None or vote is None:
            short, long = FILES if picture is None else FILES[::-1]
            raise InputError(
                f"{folder}: {short} ends before line {number}, which {long} has, and they line up row by row; unpack or"
                " download the shorter one again."
            )
        where, usage = f"{folder / FILES[0]} line {number}", picture["Usage"]
        if usage not in USAGES.values() or vote["Usage"] != usage:
            raise InputError(
                f"{where}: Usage is {usage!r}, and {vote['Usage']!r} in {FILES[1]}; both must be one of"
                f" {', '.join(USAGES.values())}."
            )
        if usage in split_of and vote["Image name"].strip():
            name = vote["Image name"].strip()
            part = columns[split_of[usage]]
            part["image"].append({"bytes": pgm(picture["pixels"], where), "path": name})
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
