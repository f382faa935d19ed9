"""SFEW 2.0, aligned faces, from its owners' folders: Train/ and Val/ with one folder per class."""

from pathlib import Path

from training.data.expressions import EXPRESSIONS, canonical_expression
from training.data.image_files import class_folders, list_images
from training.data.rows import expect, rows_of_splits
from training.runtime.errors import InputError

FOLDERS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def looks_like(path: Path) -> bool:
    """Whether a folder holds Train and Val, and Train a folder of one of SFEW's classes."""
    has_parts = (path / "Train").is_dir() and (path / "Val").is_dir()
    return has_parts and not set(FOLDERS).isdisjoint(class_folders(path / "Train"))


def load(folder: Path, splits=None, with_labels: bool = True):
    """
    SFEW 2.0. An empty or missing class folder in Val is a class without images.

    Args:
        splits: names, None for all. with_labels: false takes the owners' whole Train as train.
    Returns:
        `DatasetDict` of image, name, label.
    Raises:
        InputError: what was expected and what was found.
    """
    class_names = EXPRESSIONS[:7]

    def read_part(is_test: bool) -> dict[str, list]:
        part = folder / ("Val" if is_test else "Train")
        expect(part.is_dir(), folder, f"SFEW's {part.name}")
        present = class_folders(part)
        if not set(present) <= set(FOLDERS) or (set(FOLDERS) - set(present) and not is_test):
            raise InputError(
                f"{part}: the folders {', '.join(FOLDERS)} were expected; found {', '.join(present) or 'none'}."
            )
        paths = list_images(part)
        classes = [path.relative_to(part).parts[0] for path in paths]
        strays = [path.name for path, name in zip(paths, classes) if name not in present]
        if strays and with_labels:
            raise InputError(f"{part}: {len(strays)} images lie in no class folder, the first {strays[0]}.")
        labels = [class_names.index(canonical_expression(name)) if name in present else -1 for name in classes]
        return {"path": paths, "name": [path.name for path in paths], "label": labels}

    return rows_of_splits(read_part, splits, class_names, with_labels)
