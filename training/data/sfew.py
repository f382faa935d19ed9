"""SFEW 2.0, aligned faces, from its owners' folders: Train/ and Val/ with one folder per class."""

from pathlib import Path

from training.data.expressions import EXPRESSIONS, canonical_expression
from training.data.facts import DatasetFacts
from training.data.image_files import class_folders, list_images
from training.data.owners_files import expect
from training.data.rows import split_rows
from training.data.splits import SPLITS
from training.runtime.errors import InputError

FACTS = DatasetFacts(
    name="SFEW 2.0",
    homepage="https://cs.anu.edu.au/few/AFEW.html",
    terms="SFEW's images are frames of films, given for non-commercial research under an agreement with its owners.",
    research_only=True,
    citation="""\
@inproceedings{dhall2011static,
  title     = {Static Facial Expression Analysis in Tough Conditions: Data, Evaluation Protocol and Benchmark},
  author    = {Dhall, Abhinav and Goecke, Roland and Lucey, Simon and Gedeon, Tom},
  booktitle = {IEEE International Conference on Computer Vision Workshops (ICCV Workshops)},
  pages     = {2106--2112},
  year      = {2011}
}""",
)
FOLDERS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def looks_like(path: Path) -> bool:
    """Whether a folder holds Train and Val, and Train a folder of one of SFEW's classes."""
    if not (path / "Train").is_dir() or not (path / "Val").is_dir():
        return False
    return not set(FOLDERS).isdisjoint(class_folders(path / "Train"))


def load(folder: Path, splits=None, with_labels: bool = True):
    """
    SFEW 2.0. An empty or missing class folder in Val is a class without images.

    Args:
        splits: names, None for all. with_labels: false takes the owners' whole Train as train.
    Returns:
        `DatasetDict` of image, name, label.
    Raises:
        InputError, FileNotFoundError: what was expected and what was found.
    """
    import datasets

    folder, class_names, rows = Path(folder), EXPRESSIONS[:7], datasets.DatasetDict()
    for split in splits or SPLITS:
        part = folder / ("Val" if split == "test" else "Train")
        expect(part.is_dir(), folder, f"SFEW's {part.name}")
        present = class_folders(part)
        missing = [name for name in FOLDERS if name not in present and part.name == "Train"]
        if missing or not set(present) <= set(FOLDERS):
            raise InputError(
                f"{part}: the folders {', '.join(FOLDERS)} were expected; found {', '.join(present) or 'none'}."
            )
        paths = list_images(part)
        classes = [path.relative_to(part).parts[0] for path in paths]
        strays = [path.name for path, name in zip(paths, classes) if name not in present]
        if strays and with_labels:
            raise InputError(f"{part}: {len(strays)} images lie in no class folder, the first {strays[0]}.")
        labels = [-1 if name not in present else class_names.index(canonical_expression(name)) for name in classes]
        columns: dict[str, list] = {
            "path": list(map(str, paths)),
            "name": [path.name for path in paths],
            "label": labels,
        }
        rows[split] = split_rows(columns, split, class_names, with_labels)
    return rows
