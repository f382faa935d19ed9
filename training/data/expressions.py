"""
Expression names and their order, and how other people's names come to them.

Names are lower case, in this order for eight classes; seven leave contempt out.
"""

import numpy as np

from training.runtime.errors import InputError

EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
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


def map_labels(given: list[str], names: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names and (N,) int64 labels; expressions come in our order, anything else in the given order."""
    ours = expression_names(list(names))
    if ours is not None:
        return ours, np.array([ours.index(canonical_expression(name)) for name in given], dtype=np.int64)
    return tuple(names), np.array([list(names).index(name) for name in given], dtype=np.int64)


def find_class(name: str, class_names) -> str | None:
    """The class of this name, since classes may differ in case alone, else the first of the same meaning, else None."""
    if name in class_names:
        return name
    wanted = canonical_expression(name)
    return next((ours for ours in class_names if canonical_expression(ours) == wanted), None)


def match_labels(class_names, labels: np.ndarray, wanted) -> np.ndarray:
    """
    Labels in the order of another list of classes.

    Args:
        class_names: names of `labels` (N,), in their order. wanted: the other list.
    Raises:
        ValueError: an occurring class that `wanted` has not.
    """
    found = [find_class(name, wanted) for name in class_names]
    place = [-1 if name is None else list(wanted).index(name) for name in found]
    missing = [class_names[i] for i in np.unique(labels) if place[i] < 0]
    if missing:
        raise InputError(
            f"the images have classes {', '.join(missing)}, which are none of {', '.join(wanted)}; use images of the"
            " same classes."
        )
    return np.array(place)[labels]


def owners_places(numbering: dict[str, str], class_names: tuple[str, ...]) -> dict[str, int]:
    """
    Owners' numbers to label numbers.

    Args:
        numbering: an owner's number, as it is written, to its name. class_names: in label order.
    Returns:
        Number to place in `class_names`; -1 for a number that the owners have and the classes have not.
    """
    return {number: class_names.index(name) if name in class_names else -1 for number, name in numbering.items()}


def place_of(value: str, numbering: dict[str, str], places: dict[str, int], where: str) -> int:
    """The label of an owner's number. Raises ValueError naming the file and the value where there is no such number."""
    place = places.get(value.strip())
    if place is None:
        known = ", ".join(f"{number} ({name})" for number, name in numbering.items())
        raise InputError(f"{where}: the label {value!r} is none of {known}; take the list as its owners gave it.")
    return place
