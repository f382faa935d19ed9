"""
FER+, from its owners' two .csv files or in Parquet form.

Train follows the majority or the probability protocol of its authors, which turn the votes of ten taggers into labels.
Validation and test always follow the majority protocol.

Source: Barsoum, Zhang, Canton Ferrer, Zhang, ICMI 2016, arXiv 1608.01041, and the authors' published reader of the set.
"""

import math
from pathlib import Path

import numpy as np

from training.data.expressions import EXPRESSIONS
from training.data.images import image_hash, is_among
from training.data.rows import expect, read_list
from training.data.tables import encoded_images, has_struct, load_shards, parquet_files
from training.runtime.errors import InputError

FERPLUS_TAGS = (*EXPRESSIONS, "unknown", "not_face")
FILES = ("fer2013.csv", "fer2013new.csv")
COUNTS = [*FERPLUS_TAGS[:-1], "NF"]  # the owners' columns of votes
USAGES = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
# The images of the whole set, and those with a majority.
FULL_COUNTS = {"train": (28558, 25045), "validation": (3579, 3191), "test": (3573, 3137)}


def looks_like(path: Path) -> bool:
    """Whether a folder holds one of the owners' two files, or Parquet files have FER+'s column of votes."""
    if path.is_dir() and any((path / name).exists() for name in FILES):
        return True
    files = [path] if path.suffix == ".parquet" and path.is_file() else parquet_files(path)
    return bool(files) and has_struct(files[0], "votes", FERPLUS_TAGS)


def load(folder: Path, splits=None, with_labels: bool = True, protocol: str = "majority"):
    """
    FER+. Train leaves out every image that equals a validation image pixel by pixel. Validation and test mark what
    equals a training image (`repeats_training`; the column is missing where the train split is).

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

    if missing := set(FERPLUS_TAGS) - {*rows.features["votes"]}:
        raise InputError(f"FER+ {split}: its votes lack {', '.join(sorted(missing))}; get the set again.")
    votes = np.array([[vote[tag] for tag in FERPLUS_TAGS] for vote in rows["votes"]], np.int64).reshape(-1, 10)
    keep, label, soft_label = (ferplus_majority if protocol == "majority" else ferplus_probability)(votes)
    size, majority = FULL_COUNTS[split]
    count = int(ferplus_majority(votes)[0].sum())
    if len(rows) == size and count != majority:
        raise InputError(
            f"FER+ {split}: {count:,} of the {size:,} images have a majority, and its authors' {majority:,} were"
            " expected; these are not the owners' votes."
        )
    names = datasets.ClassLabel(names=list(EXPRESSIONS))
    shares = datasets.Sequence(datasets.Value("float32"), length=len(EXPRESSIONS))
    rows = rows.add_column("label", np.where(keep, label, -1), feature=names)
    return rows.add_column("soft_label", list(soft_label), feature=shares), keep


def read_parquet_files(folder: Path, splits) -> dict:
    """Rows with image (not decoded) and votes by split: the splits asked for, and train and validation beside them."""
    file, folder = (folder, folder.parent) if folder.is_file() else (None, folder)
    files = {split: folder / f"{split}.parquet" for split in USAGES}
    if file:
        splits = splits or [file.stem]
        files[splits[0]] = file
    there = [split for split in USAGES if files[split].is_file()]
    wanted = {*(splits or there or ["train"]), *(split for split in there if split != "test")}
    for split in wanted - set(there):
        raise InputError(f"{files[split]} is missing; FER+ has {' and '.join(FILES)}, or one .parquet file per split.")
    return {split: encoded_images(load_shards([files[split]]), "image", folder) for split in wanted}


def read_csv_files(folder: Path, splits) -> dict:
    """
    The same from the owners' two files, whose rows line up. Images without a name are left out: the FER+ authors
    removed them because they show no face. An image becomes a PGM file in memory, its pixels as they are.
    """
    import datasets

    images, votes = read_csv(folder, FILES[0], ["pixels"]), read_csv(folder, FILES[1], ["Image name", *COUNTS])
    if len(images) != len(votes):
        short, long = FILES if len(images) < len(votes) else FILES[::-1]
        raise InputError(
            f"{folder}: {short} ends before line {min(len(images), len(votes)) + 2}, which {long} has, and they line up"
            " row by row; unpack or download the shorter one again."
        )
    usage, names = images["Usage"], votes["Image name"].str.strip()
    for line in usage.index[(usage != votes["Usage"]) | ~usage.isin(USAGES.values())]:
        raise InputError(
            f"{folder / FILES[0]} line {line}: Usage is {usage[line]!r}, and {votes['Usage'][line]!r} in {FILES[1]};"
            f" both must be one of {', '.join(USAGES.values())}."
        )
    is_count = votes[COUNTS].apply(lambda column: column.str.fullmatch(r" *\d{1,6} *")).all(axis=1)
    for line in votes.index[~is_count]:
        raise InputError(
            f"{folder / FILES[1]} line {line}: the ten counts of votes are not all whole numbers below a million."
        )
    counts = votes[COUNTS].astype(int).set_axis(FERPLUS_TAGS, axis=1)
    features = datasets.Features(
        {
            "image": datasets.Image(decode=False),
            "votes": {tag: datasets.Value("int32") for tag in FERPLUS_TAGS},
            "name": datasets.Value("string"),
        }
    )
    parts = {}
    for split in {*(splits or USAGES), "train", "validation"}:
        chosen = names[(usage == USAGES[split]) & (names != "")]
        cells = [
            {"bytes": pgm(images["pixels"][line], f"{folder / FILES[0]} line {line}"), "path": name}
            for line, name in chosen.items()
        ]
        part = {"image": cells, "votes": counts.loc[chosen.index].to_dict("records"), "name": chosen.tolist()}
        parts[split] = datasets.Dataset.from_dict(part, features=features)
    return parts


def read_csv(folder: Path, name: str, needed: list[str]):
    """One of the two files as a `pandas.DataFrame` of texts, with the columns `needed` and Usage."""
    expect((folder / name).is_file(), folder, f"FER+'s {name}")
    table = read_list(folder / name)
    missing = sorted({"Usage", *needed} - set(table.columns))
    if missing:
        raise InputError(f"{folder / name} has no column {', '.join(missing)}; found {', '.join(table.columns)}.")
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
        keep (N,) bool; label (N,) int64, where kept; soft_label (N, 8) float32, the remaining votes, normalised.
    """
    remaining = np.where(votes > 1, votes, 0)
    label = remaining.argmax(1)
    keep = (remaining.max(1) * 2 > remaining.sum(1)) & (label < len(EXPRESSIONS))
    expressions = remaining[:, : len(EXPRESSIONS)].astype(np.float32)
    soft_label = expressions / np.maximum(expressions.sum(1, keepdims=True), 1)
    return keep, label, soft_label


def ferplus_probability(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The probability protocol: as `ferplus_majority`, but label and soft_label are of `leading_votes` alone."""
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
