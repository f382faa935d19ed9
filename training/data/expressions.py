"""
Expression names, their order, and the mapping from other spellings.

Names are lower case, in the order of EXPRESSIONS for eight classes. Seven classes leave contempt out.
"""

import numpy as np

from training.runtime.errors import InputError

EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
# Other spellings in use.
EXPRESSION_SYNONYMS = {
    **dict.fromkeys(("happy", "joy"), "happiness"),
    **dict.fromkeys(("fearful", "afraid", "scared"), "fear"),
    **{"sad": "sadness", "surprised": "surprise", "angry": "anger", "disgusted": "disgust", "contemptuous": "contempt"},
}


def expression_names(names: list[str]) -> tuple[str, ...] | None:
    """The expressions in our order if every name is an expression in any spelling, else None."""
    ours = {canonical_expression(name) for name in names}
    if not ours or not ours <= set(EXPRESSIONS):
        return None
    return EXPRESSIONS if "contempt" in ours else EXPRESSIONS[:7]


def canonical_expression(name: str) -> str:
    """A class name in our spelling; a name that is not an expression comes back in lower case."""
    name = name.strip().lower()
    return EXPRESSION_SYNONYMS.get(name, name)


def map_labels(labels: list[str], names: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """
    Class names and labels (N,) int64 of N names of classes. Expressions come in our order, others in that of `names`.
    """
    if ours := expression_names(names):
        return ours, np.array([ours.index(canonical_expression(name)) for name in labels], dtype=np.int64)
    return tuple(names), np.array([names.index(name) for name in labels], dtype=np.int64)


def find_class(name: str, class_names) -> str | None:
    """The class with this name (classes may differ in case alone), else the first of the same meaning, else None."""
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
        InputError: a class that occurs and that `wanted` lacks.
    """
    names = [find_class(name, wanted) for name in class_names]
    place = [-1 if name is None else list(wanted).index(name) for name in names]
    missing = [class_names[i] for i in np.unique(labels) if place[i] < 0]
    if missing:
        raise InputError(
            f"the images have classes {', '.join(missing)}, which are none of {', '.join(wanted)}; use images of the"
            " same classes."
        )
    return np.array(place)[labels]
