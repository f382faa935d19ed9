"""Checked reading of the lists, numbers and labels in official layouts: a wrong file becomes one sentence naming it."""

import csv
import math
from contextlib import contextmanager
from pathlib import Path

from training.runtime.errors import InputError


def expect(is_there: bool, folder: Path, what: str) -> None:
    """Raises FileNotFoundError saying what was expected and what the folder holds."""
    if not is_there:
        holds = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else []
        raise FileNotFoundError(f"{folder}: {what} was expected; found {', '.join(holds) or 'nothing'}.")


def check_files(paths: list[str], listed_in: Path) -> None:
    """Raises FileNotFoundError saying how many of the listed files are missing, and the first."""
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing):,} of the {len(paths):,} files that {listed_in} asks for are missing, the first"
            f" {missing[0]}; unpack the set again."
        )


@contextmanager
def values_of(file: Path):
    """Errors of reading a damaged list inside this context become an InputError that names the file."""
    try:
        yield
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}); take the list as its owners gave it.") from error


def read_number(value: str, where: str) -> float:
    """Raises InputError naming the place where the text is not a finite number."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where}: {value!r} is not a number.")
    return number


def owners_places(numbering: dict[str, str], class_names: tuple[str, ...]) -> dict[str, int]:
    """
    Owners' numbers to label numbers.

    Args:
        numbering: an owner's number, as it is written, to its name. class_names: in label order.
    Returns:
        Number to place in `class_names`; -1 for a number of the owners whose name is none of the classes.
    """
    return {number: class_names.index(name) if name in class_names else -1 for number, name in numbering.items()}


def place_of(value: str, numbering: dict[str, str], places: dict[str, int], where: str) -> int:
    """The label of an owner's number. Raises InputError naming the file and a number that the owners do not have."""
    place = places.get(value.strip())
    if place is None:
        known = ", ".join(f"{number} ({name})" for number, name in numbering.items())
        raise InputError(f"{where}: the label {value!r} is none of {known}; take the list as its owners gave it.")
    return place
