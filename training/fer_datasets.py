"""
The expression data sets: names, order, and FER+ from its Parquet form.

Expression names are lower case, in this order for eight classes; seven leave contempt out. Owners' own names and
numbers are mapped to these.

Source of the FER+ protocols: Barsoum, Zhang, Canton Ferrer, Zhang, ICMI 2016, arXiv 1608.01041.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
FERPLUS_TAGS = (*EXPRESSIONS, "unknown", "not_face")
# Other spellings in use, to ours.
EXPRESSION_SYNONYMS = {
    "happy": "happiness",
    "joy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "contemptuous": "contempt",
}


def expression_names(names: list[str]) -> tuple[str, ...] | None:
    """The expressions in our order if every name is one (in any spelling), else None: then they are not expressions."""
    ours = {canonical_expression(name) for name in names}
    if not ours or not ours <= set(EXPRESSIONS):
        return None
    return EXPRESSIONS if "contempt" in ours else EXPRESSIONS[:7]


def canonical_expression(name: str) -> str:
    """One class name in our spelling; a name that is no expression comes back in lower case."""
    name = name.strip().lower()
    return EXPRESSION_SYNONYMS.get(name, name)


def match_labels(class_names, labels: np.ndarray, wanted) -> np.ndarray:
    """
    Labels in the order of another list of classes.

    Args:
        class_names: names of `labels` (N,), in their order. wanted: the other list.
    Raises:
        ValueError: an occurring class that `wanted` has not.
    """
    ours = [canonical_expression(name) for name in wanted]
    place = [ours.index(c) if (c := canonical_expression(name)) in ours else -1 for name in class_names]
    missing = [class_names[i] for i in np.unique(labels) if place[i] < 0]
    if missing:
        raise ValueError(
            f"the images have classes {', '.join(missing)}, which are none of {', '.join(wanted)}; use images of the"
            " same classes."
        )
    return np.array(place)[labels]


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


def picture_hash(encoded: bytes) -> str:
    """A hash of the decoded gray pixels: equal pictures have equal hashes, whatever their encoding."""
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        return hashlib.sha256(np.asarray(image.convert("L")).tobytes()).hexdigest()


@dataclass
class FERPlus:
    """
    rows: a `datasets.Dataset` with image, not decoded. Under the majority protocol label (N,) int64 and soft_label
    (N, 8) float32. repeats_training: (N,) bool, whether the picture equals one of train; None where that is not known.
    """

    rows: Any
    label: np.ndarray | None = None
    soft_label: np.ndarray | None = None
    repeats_training: np.ndarray | None = None

    def select(self, kept: np.ndarray) -> "FERPlus":
        columns = (self.label, self.soft_label, self.repeats_training)
        return FERPlus(self.rows.select(kept), *(None if c is None else c[kept] for c in columns))


def load_ferplus(path: Path, split: str, protocol: str = "majority") -> FERPlus:
    """
    FER+ in its Parquet form.

    From train, every picture that equals one of validation pixel by pixel is left out; in the other splits such
    pictures are marked.

    Args:
        path: the folder with <split>.parquet, or one such file. split: "train", "validation" or "test" (a file is
            taken as it is).
        protocol: "majority" (the images that have a majority) or "all" (every image, no labels: for pretraining).
    """
    rows = read_parquet(path / f"{split}.parquet" if path.is_dir() else path)
    ferplus = FERPlus(rows.remove_columns("votes"))
    if protocol == "majority":
        keep, label, soft_label = ferplus_majority(ferplus_votes(rows))
        ferplus = FERPlus(ferplus.rows, label, soft_label).select(np.flatnonzero(keep))
    folder = path if path.is_dir() else path.parent
    is_train = (path.stem if path.is_file() else split) == "train"
    other = folder / ("validation.parquet" if is_train else "train.parquet")
    if not other.exists() or (not is_train and protocol == "all"):
        return ferplus
    others = {picture_hash(image["bytes"]) for image in read_parquet(other)["image"]}
    repeats = np.array([picture_hash(image["bytes"]) in others for image in ferplus.rows["image"]], dtype=np.bool_)
    if is_train:
        return ferplus.select(np.flatnonzero(~repeats))
    ferplus.repeats_training = repeats
    return ferplus


def read_parquet(path: Path):
    """One Parquet file as a `datasets.Dataset` whose images stay encoded."""
    import datasets

    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; FER+ in Parquet form has train.parquet and validation.parquet.")
    rows = datasets.load_dataset("parquet", data_files={"rows": str(path)}, split="rows")
    return rows.cast_column("image", datasets.Image(decode=False))
