"""RAF-DB's basic set, from its owners' layout."""

from pathlib import Path

import numpy as np

from training.data.expressions import EXPRESSIONS
from training.data.face_squares import square_of_landmarks
from training.data.facts import DatasetFacts
from training.data.rows import check_files, expect, label_of, rows_of_splits, values_of
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
NAMES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")  # the owners' 1 to 7
NUMBERING = {str(number): name for number, name in enumerate(NAMES, 1)}


def looks_like(path: Path) -> bool:
    """Whether a folder holds RAF-DB's folder of lists."""
    return path.is_dir() and (path / "EmoLabel").exists()


def load(folder: Path, splits=None, with_labels: bool = True, details: bool = False):
    """
    RAF-DB from EmoLabel/list_patition_label.txt (the owners' spelling) with Image/aligned, or with Image/original and
    Annotation/manual, whose five landmarks give the face's box.

    Args:
        splits: names, None for all. with_labels: false takes the owners' whole train part as train.
        details: prefer the original images with their landmarks to the aligned images, if both are there.
    Returns:
        `DatasetDict` of image, name, label, and of original images box and landmarks (5, 2).
    Raises:
        InputError: what was expected and what was found.
    """
    class_names = EXPRESSIONS[:7]
    file = folder / "EmoLabel" / "list_patition_label.txt"
    expect(file.is_file(), folder, "RAF-DB's EmoLabel/list_patition_label.txt")
    aligned, original, landmarks = (folder / name for name in ("Image/aligned", "Image/original", "Annotation/manual"))
    is_aligned = aligned.is_dir() and not (details and original.is_dir() and landmarks.is_dir())
    expect(is_aligned or original.is_dir(), folder, "RAF-DB's Image/aligned, or Image/original,")
    expect(is_aligned or landmarks.is_dir(), folder, "RAF-DB's Annotation/manual (for Image/original)")

    def read_part(is_test: bool) -> dict[str, list]:
        columns = read_list(file, "test" if is_test else "train", class_names)
        stems = [name.rsplit(".", 1)[0] for name in columns["name"]]
        if is_aligned:
            columns["path"] = [str(aligned / f"{stem}_aligned.jpg") for stem in stems]
            check_files(columns["path"], file)
            return columns
        columns["path"] = [str(original / name) for name in columns["name"]]
        attributes = [landmarks / f"{stem}_manu_attri.txt" for stem in stems]
        check_files([*columns["path"], *map(str, attributes)], file)
        columns["landmarks"], columns["box"] = map(list, zip(*map(read_five_points, attributes), strict=True))
        return columns

    return rows_of_splits(read_part, splits, class_names, with_labels)


def read_list(file: Path, wanted: str, class_names) -> dict[str, list]:
    """Columns `name` and `label` of the owners' part "train" or "test"."""
    columns: dict[str, list] = {"name": [], "label": []}
    with values_of(file):
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where, words = f"{file} line {number}", line.split()
        part = words[0].split("_")[0]
        if len(words) != 2 or part not in ("train", "test"):
            raise InputError(f"{where}: {line!r} is not like 'train_00001.jpg 5' or 'test_0001.jpg 1'.")
        if part == wanted:
            columns["name"].append(words[0])
            columns["label"].append(label_of(words[1], NUMBERING, class_names, where))
    return columns


def read_five_points(path: Path) -> tuple[np.ndarray, list[int]]:
    """The first five lines, x and y each, as (5, 2) float32 pixels, and the box of their face's square."""
    try:
        points = np.loadtxt(path, np.float32, max_rows=5, encoding="utf-8-sig").reshape(5, 2)
    except ValueError as error:
        raise InputError(f"{path}: the first five lines are not x and y of five landmarks ({error}).") from error
    try:
        return points, square_of_landmarks(points).box()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
