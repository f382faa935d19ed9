"""
The expression data sets, one function a set: from the folder as its owners pack it to a `datasets.DatasetDict` with
`image`, `name`, `label` (ClassLabel in our names and order), and what else the owners give.

Splits are train, validation and test; test is always the split that the field reports, and no choice is made on it:

    set            train                             validation (choices)                 test (reported)
    AffectNet      the rest of the training list     a fixed tenth of the training list   the owners' validation
    RAF-DB         the rest of train                 a fixed tenth of train               test
    SFEW 2.0       the rest of Train                 a fixed tenth of Train               Val (Test has no labels)
    FER+           Training, without repeats         PublicTest                           PrivateTest
    class folders  train                             validation (or val, valid, dev)      test
      without one  the rest of train, or of all      a fixed tenth of train, or of all    test, if there is one

The tenth: the pictures for which the SHA-256 of the file's name (of its path below a class folder), as a number,
divides by ten. Unlabelled (`with_labels=False`, for pretraining) train is the owners' whole train part, the tenth and
pictures of no class too. By file name: frames of one film may lie on both sides in SFEW, so its validation is easier
than its test.

The owners' numbering, to our order (neutral, happiness, surprise, sadness, anger, disgust, fear, contempt):

    AffectNet      0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt; 8 none,
                   9 uncertain, 10 no-face are left out; with 7 classes 7 contempt too
    RAF-DB         1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral
    SFEW 2.0       folders Angry, Disgust, Fear, Happy, Neutral, Sad, Surprise
    FER+           ten columns of votes by name (`training.data.ferplus`)
"""

from pathlib import Path

import numpy as np

from training.data.expressions import (
    EXPRESSION_SYNONYMS,
    EXPRESSIONS,
    canonical_expression,
    expression_names,
    map_labels,
    match_labels,
    owners_places,
    place_of,
)
from training.data.ferplus import FERPLUS_TAGS, ferplus_majority, ferplus_probability, ferplus_votes, load_ferplus
from training.data.layouts import (
    SPLITS,
    affectnet_classes,
    affectnet_list,
    affectnet_set,
    check_files,
    class_folders,
    expect,
    list_images,
    split_rows,
    values_of,
)
from training.data.splits import (
    SPLIT_SYNONYMS,
    WHOLE,
    labelled_part,
    lacks_validation,
    say_tenth,
    split_folders,
)
from training.runtime.errors import InputError

__all__ = [
    "EXPRESSIONS",
    "EXPRESSION_SYNONYMS",
    "FERPLUS_TAGS",
    "SPLIT_SYNONYMS",
    "canonical_expression",
    "expression_names",
    "ferplus_majority",
    "ferplus_probability",
    "ferplus_votes",
    "load_affectnet",
    "load_class_folders",
    "load_ferplus",
    "load_rafdb",
    "load_sfew",
    "match_labels",
]

RAFDB_NUMBERING = {
    "1": "surprise",
    "2": "fear",
    "3": "disgust",
    "4": "happiness",
    "5": "sadness",
    "6": "anger",
    "7": "neutral",
}
SFEW_FOLDERS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def load_affectnet(
    folder: str | Path, num_classes: int = 8, splits=None, with_labels: bool = True, details: bool = True
):
    """
    AffectNet, from its lists (Manually_Annotated_file_lists/{training,validation}.csv with
    Manually_Annotated_Images/, pictures cropped to the owners' face boxes) or from its later
    {train,val}_set/{images,annotations}.

    Args:
        num_classes: 8, or 7 without contempt. splits: names, None for all. with_labels: see the top.
        details: landmarks (68, 2; pixels of the picture as it is stored), valence and arousal too; slow to read.
    Returns:
        `DatasetDict` of image, name, label, box (lists only), and the details.
    Raises:
        ValueError, FileNotFoundError: what was expected and what was found.
    """
    import datasets

    folder, class_names = Path(folder), affectnet_classes(num_classes)
    has_lists = (folder / "Manually_Annotated_file_lists").is_dir()
    has_sets = any((folder / part).is_dir() for part in ("train_set", "val_set"))
    expect(has_lists or has_sets, folder, "AffectNet's Manually_Annotated_file_lists, or train_set and val_set,")
    found, columns = datasets.DatasetDict(), {}
    for split in splits or SPLITS:
        is_test = split == "test"
        if is_test not in columns:
            if has_lists:
                part = affectnet_list(folder, "validation" if is_test else "training", class_names, details)
            else:
                part = affectnet_set(folder, "val_set" if is_test else "train_set", class_names, with_labels, details)
            columns[is_test] = part
        found[split] = split_rows(columns[is_test], split, class_names, with_labels)
    return found


def load_rafdb(folder: str | Path, splits=None, with_labels: bool = True, images: str | None = None):
    """
    RAF-DB's basic set: EmoLabel/list_patition_label.txt (the owners' spelling) with Image/aligned, or with
    Image/original and Annotation/manual, pictures cropped to a square about the five landmarks.

    Args:
        splits, with_labels: as in `load_affectnet`. images: "aligned" or "original"; None takes aligned if it is there.
    Returns:
        `DatasetDict` of image, name, label, and of original images box and landmarks (5, 2).
    """
    import datasets

    folder, class_names = Path(folder), EXPRESSIONS[:7]
    file = folder / "EmoLabel" / "list_patition_label.txt"
    expect(file.is_file(), folder, "RAF-DB's EmoLabel/list_patition_label.txt")
    images = images or ("aligned" if (folder / "Image" / "aligned").is_dir() else "original")
    expect((folder / "Image" / images).is_dir(), folder, "RAF-DB's Image/aligned, or Image/original,")
    places = owners_places(RAFDB_NUMBERING, class_names)
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
        parts[part]["label"].append(place_of(words[1], RAFDB_NUMBERING, places, where))
    wanted = splits or SPLITS
    for part in {"test" if split == "test" else "train" for split in wanted}:
        add_rafdb_images(folder, file, parts[part], images)
    columns = {split: parts["test" if split == "test" else "train"] for split in wanted}
    return datasets.DatasetDict(
        {split: split_rows(columns[split], split, class_names, with_labels) for split in wanted}
    )


def add_rafdb_images(folder: Path, file: Path, columns: dict[str, list], images: str) -> None:
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
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error


def read_five_points(path: Path) -> np.ndarray:
    """The first five lines, x and y each, as (5, 2) float32 pixels. Raises ValueError naming the file."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()[:5]
        return np.array([[float(word) for word in line.split()] for line in lines], np.float32).reshape(5, 2)
    except ValueError as error:
        raise InputError(f"{path}: the first five lines are not x and y of five landmarks ({error}).") from error


def load_sfew(folder: str | Path, splits=None, with_labels: bool = True):
    """
    SFEW 2.0, aligned faces: Train/ and Val/ with a folder a class (an empty or missing one in Val is a class without
    pictures).

    Args and returns as `load_affectnet`: image, name, label.
    """
    import datasets

    folder, class_names, found = Path(folder), EXPRESSIONS[:7], datasets.DatasetDict()
    for split in splits or SPLITS:
        part = folder / ("Val" if split == "test" else "Train")
        expect(part.is_dir(), folder, f"SFEW's {part.name}")
        there = class_folders(part)
        missing = [name for name in SFEW_FOLDERS if name not in there and part.name == "Train"]
        if missing or not set(there) <= set(SFEW_FOLDERS):
            raise InputError(
                f"{part}: the folders {', '.join(SFEW_FOLDERS)} were expected; found {', '.join(there) or 'none'}."
            )
        paths = list_images(part)
        classes = [path.relative_to(part).parts[0] for path in paths]
        strays = [path.name for path, name in zip(paths, classes) if name not in there]
        if strays and with_labels:
            raise InputError(f"{part}: {len(strays)} images lie in no class folder, the first {strays[0]}.")
        labels = [-1 if c not in there else class_names.index(canonical_expression(c)) for c in classes]
        names = [path.name for path in paths]
        columns: dict[str, list] = {"path": list(map(str, paths)), "name": names, "label": labels}
        found[split] = split_rows(columns, split, class_names, with_labels)
    return found


def load_class_folders(folder: str | Path, splits=None):
    """
    Any folder of class folders, folder/<split>/<class>/..., or without splits folder/<class>/...; where it has no
    validation, that is a fixed tenth of train (of all, without splits), and one printed line says so.

    Args:
        splits: names, under any usual spelling; None for all that are there, with the tenth if it is not empty.
    Returns:
        `DatasetDict` of image, name, label. The classes are all of these splits' (expressions in our order, others
        sorted): one may be missing from a split.
    """
    import datasets

    folder = Path(folder)
    has_tenth = lacks_validation(folder)
    wanted = splits or [name for name in SPLITS if name in split_folders(folder) or (has_tenth and name != "test")]
    parts = {split: labelled_part(folder, split) for split in wanted}
    names = sorted({name for place, _ in parts.values() for name in class_folders(place)})
    found = datasets.DatasetDict()
    for split, (place, part) in parts.items():
        paths = list_images(place)
        strays = [path for path in paths if path.parent == place]
        if not names or strays:
            raise InputError(
                f"{place} is not a folder of class folders: found {len(class_folders(place))} folders and"
                f" {len(strays)} loose images; put each image into a folder named after its class."
            )
        class_names, labels = map_labels([path.relative_to(place).parts[0] for path in paths], names)
        columns = {
            "path": [str(path) for path in paths],
            "name": ["/".join(path.relative_to(place).parts[1:]) for path in paths],
            "label": labels.tolist(),
        }
        if part != WHOLE:
            say_tenth(place, columns["name"], labels, class_names, needed=part == "validation" and splits is not None)
        rows = split_rows(columns, part, class_names, True, by_path=True)
        if len(rows) or splits is not None or part == WHOLE:
            found[split] = rows
    return found
