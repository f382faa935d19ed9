"""
Any folder of images whose folders are the classes: folder/<split>/<class>/..., or without splits folder/<class>/...

Without a validation split, validation is a fixed tenth of train (of all images, without splits), and a line on stderr
says so. Without labels the folder may be nested or flat in any way.
"""

from pathlib import Path

from training.data.expressions import map_labels
from training.data.image_files import class_folders, list_images, say_once
from training.data.rows import rows_of_paths, split_rows
from training.data.splits import SPLITS, held_out, split_folder, split_folders, split_of
from training.runtime.errors import InputError

WHOLE = "test"  # the split of which `split_rows` takes every image


def load(folder: Path, splits=None, with_labels: bool = True):
    """
    Args:
        splits: names, under any usual spelling; None for all that the folder has, with the tenth if it is not empty.
        with_labels: false takes every image of a split's folder, however it is nested.
    Returns:
        `DatasetDict` of image, name, label; without labels of image alone. The classes are the folders that hold an
        image in any of these splits (expressions in our order, others sorted).
    Raises:
        InputError: images outside of class folders, or a split that the folder does not have.
    """
    import datasets

    if not with_labels:
        return datasets.DatasetDict({s: rows_of_paths(list_images(split_folder(folder, s))) for s in splits or SPLITS})
    has_tenth = lacks_validation(folder)
    wanted = splits or [name for name in SPLITS if name in split_folders(folder) or (has_tenth and name != "test")]
    parts = {split: labelled_part(folder, split) for split in wanted}
    images = {place: images_by_class(place) for place, _ in parts.values()}
    names = sorted({path.parts[0] for paths in images.values() for path in paths})
    rows = datasets.DatasetDict()
    for split, (place, part) in parts.items():
        class_names, labels = map_labels([path.parts[0] for path in images[place]], names)
        columns = {
            "path": [place / path for path in images[place]],
            "name": ["/".join(path.parts[1:]) for path in images[place]],
            "label": labels.tolist(),
        }
        if part != WHOLE:
            say_tenth(place, columns, class_names, needed=part == "validation" and splits is not None)
        chosen = split_rows(columns, part, class_names, True, by_path=True)
        if len(chosen) or splits is not None or part == WHOLE:
            rows[split] = chosen
    return rows


def images_by_class(place: Path) -> list[Path]:
    """Images as <class>/...; raises InputError: no image, or an image outside of the class folders."""
    images = [path.relative_to(place) for path in list_images(place)]
    strays = [path for path in images if len(path.parts) == 1]
    if strays or not images:
        raise InputError(
            f"{place} is not a folder of class folders: found {len(class_folders(place))} folders and"
            f" {len(strays)} loose images; put each image into a folder named after its class."
        )
    return images


def lacks_validation(folder: Path) -> bool:
    """Whether validation is a tenth of train: a folder of class folders without splits, or with train and no other."""
    splits = split_folders(folder)
    return "validation" not in splits and ("train" in splits or not splits)


def labelled_part(folder: Path, split: str) -> tuple[Path, str]:
    """
    Returns:
        The folder of the class folders, and which of their images belong to the split: "train" (nine tenths),
        "validation" (the tenth), or WHOLE.
    Raises:
        InputError: a set without this split. Split "all" of a set without splits is every image, for an evaluation.
    """
    name = split_of(split)
    if lacks_validation(folder) and name in ("train", "validation"):
        return split_folder(folder, "train"), name
    if (folder / split).is_dir() or split_folders(folder) or folder.is_file() or split == "all":
        return split_folder(folder, split), WHOLE
    raise InputError(
        f"{folder} has no split {split!r}: without folders train, validation and test its splits are train, validation"
        " (a fixed tenth) and, for an evaluation of every image, all."
    )


def say_tenth(place: Path, columns: dict[str, list], class_names, needed: bool) -> None:
    """Prints, once, how a folder's images are divided. Raises InputError: an empty tenth that is `needed`."""
    count = len(columns["name"])
    tenth = [label for name, label in zip(columns["name"], columns["label"]) if held_out(name)]
    if needed and not tenth:
        raise InputError(
            f"{place} has no validation split, and the fixed tenth of its {count} images (by a hash of the name below"
            " its class folder) is empty; give a folder with train/<class>/ and validation/<class>/."
        )
    lacking = [class_names[label] for label in sorted(set(columns["label"]) - set(tenth))]
    clause = f"; warning: the tenth has none of {', '.join(lacking)}" if lacking else ""
    if tenth:
        say_once(
            f"{place} has no validation split: {len(tenth)} of its {count} images, a fixed tenth by file name, are"
            f" validation, the other {count - len(tenth)} train{clause}"
        )
