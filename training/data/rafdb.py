"""
RAF-DB's basic set, from its owners' layout.

The owners' numbers: 1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral.
"""

from pathlib import Path

import numpy as np

from training.data.expressions import EXPRESSIONS
from training.data.facts import DatasetFacts
from training.data.owners_files import check_files, expect, owners_places, place_of, values_of
from training.data.rows import split_rows
from training.data.splits import SPLITS
from training.runtime.errors import InputError

FACTS = DatasetFacts(
    name="RAF-DB",
    homepage="http://www.whdeng.cn/raf/model1.html",
    terms="RAF-DB's images are given for non-commercial research under an agreement with its owners.",
    research_only=True,
    citation="""\
@inproceedings{li2017reliable,
  title     = {Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition in the Wild},
  author    = {Li, Shan and Deng, Weihong and Du, JunPing},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages     = {2852--2861},
  year      = {2017}
}""",
)
NUMBERING = {
    "1": "surprise",
    "2": "fear",
    "3": "disgust",
    "4": "happiness",
    "5": "sadness",
    "6": "anger",
    "7": "neutral",
}


def looks_like(path: Path) -> bool:
    """Whether a folder holds RAF-DB's folder of lists."""
    return path.is_dir() and (path / "EmoLabel").exists()


def load(folder: Path, splits=None, with_labels: bool = True, details: bool = False, images: str | None = None):
    """
    RAF-DB from EmoLabel/list_patition_label.txt (the owners' spelling) with Image/aligned, or with Image/original and
    Annotation/manual, images cropped to a square about the five landmarks.

    Args:
        splits: names, None for all. with_labels: false takes the owners' whole train part as train.
        details: prefer the original images, which have landmarks. images: "aligned" or "original"; None takes the
            aligned images if they are there, and with `details` the original ones if they and their landmarks are.
    Returns:
        `DatasetDict` of image, name, label, and of original images box and landmarks (5, 2).
    Raises:
        InputError, FileNotFoundError: what was expected and what was found.
    """
    import datasets

    folder, class_names = Path(folder), EXPRESSIONS[:7]
    file = folder / "EmoLabel" / "list_patition_label.txt"
    expect(file.is_file(), folder, "RAF-DB's EmoLabel/list_patition_label.txt")
    images = images or choose_images(folder, details)
    expect((folder / "Image" / images).is_dir(), folder, "RAF-DB's Image/aligned, or Image/original,")
    parts, wanted = read_list(file, class_names), splits or SPLITS
    for part in {owners_part(split) for split in wanted}:
        add_images(folder, file, parts[part], images)
    return datasets.DatasetDict(
        {split: split_rows(parts[owners_part(split)], split, class_names, with_labels) for split in wanted}
    )


def owners_part(split: str) -> str:
    """The owners' part that a split comes from."""
    return "test" if split == "test" else "train"


def choose_images(folder: Path, details: bool) -> str:
    """ "aligned" or "original"; see `load`."""
    has_landmarks = (folder / "Image" / "original").is_dir() and (folder / "Annotation" / "manual").is_dir()
    has_aligned = (folder / "Image" / "aligned").is_dir()
    return "aligned" if has_aligned and not (details and has_landmarks) else "original"


def read_list(file: Path, class_names) -> dict[str, dict[str, list]]:
    """Columns `name` and `label` of the owners' train and test parts."""
    places = owners_places(NUMBERING, class_names)
    parts: dict[str, dict[str, list]] = {name: {"name": [], "label": []} for name in ("train", "test")}
    with values_of(file):
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where, words = f"{file} line {number}", line.split()
        part = words[0].split("_")[0]
        if len(words) != 2 or part not in parts:
            raise InputError(f"{where}: {line!r} is not like 'train_00001.jpg 5' or 'test_0001.jpg 1'.")
        parts[part]["name"].append(words[0])
        parts[part]["label"].append(place_of(words[1], NUMBERING, places, where))
    return parts


def add_images(folder: Path, file: Path, columns: dict[str, list], images: str) -> None:
    """Adds path, and of original images landmarks and box, for the names of the list `file`."""
    from training.data.face_squares import square_of_landmarks

    stems = [name.rsplit(".", 1)[0] for name in columns["name"]]
    if images == "aligned":
        columns["path"] = [str(folder / "Image" / "aligned" / f"{stem}_aligned.jpg") for stem in stems]
        check_files(columns["path"], file)
        return
    columns["path"] = [str(folder / "Image" / "original" / name) for name in columns["name"]]
    attributes = [folder / "Annotation" / "manual" / f"{stem}_manu_attri.txt" for stem in stems]
    expect((folder / "Annotation" / "manual").is_dir(), folder, "RAF-DB's Annotation/manual (for Image/original)")
    check_files([*columns["path"], *map(str, attributes)], file)
    columns["landmarks"] = [read_five_points(path) for path in attributes]
    columns["box"] = []
    for points, path in zip(columns["landmarks"], attributes):
        try:
            columns["box"].append(square_of_landmarks(points).box())
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def read_five_points(path: Path) -> np.ndarray:
    """The first five lines, x and y each, as (5, 2) float32 pixels. Raises InputError naming the file."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()[:5]
        return np.array([[float(word) for word in line.split()] for line in lines], np.float32).reshape(5, 2)
    except ValueError as error:
        raise InputError(f"{path}: the first five lines are not x and y of five landmarks ({error}).") from error
