"""
The votes of FER+'s ten taggers, and its authors' two protocols that turn votes into labels.

Source: Barsoum, Zhang, Canton Ferrer, Zhang, ICMI 2016, arXiv 1608.01041, and the authors' published reader of the set.
"""

import numpy as np

from training.data.expressions import EXPRESSIONS

FERPLUS_TAGS = (*EXPRESSIONS, "unknown", "not_face")


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


def ferplus_probability(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    The probability protocol, which its authors train on: the leading expressions' shares (`leading_votes`).

    Args and returns as `ferplus_majority`; label is the largest share's, soft_label the shares.
    """
    leading = np.array([leading_votes(row) for row in np.where(votes > 1, votes, 0).tolist()], np.float32)
    leading = leading.reshape(-1, len(EXPRESSIONS))
    total = leading.sum(1, keepdims=True)
    return total[:, 0] > 0, leading.argmax(1), leading / np.maximum(total, 1)


def leading_votes(remaining: list[int]) -> list[int]:
    """
    One image's eight counts, without all but its leading expressions; zeros where it is left out.

    Counts are taken from the largest down, equal ones together, until three quarters of the votes or three expressions
    are reached; unknown or not_face end it when it is their turn. Left out: half of the votes or less, or more than
    three expressions.
    """
    left, taken = list(remaining), [0] * len(EXPRESSIONS)
    total = sum(remaining)
    while sum(taken) < 0.75 * total and sum(map(bool, taken)) < 3:
        top = max(left)
        winners = [tag for tag, count in enumerate(left) if count == top]
        for tag in (tag for tag in winners if tag < len(EXPRESSIONS)):
            taken[tag], left[tag] = top, 0
        if winners[-1] >= len(EXPRESSIONS):
            break
    too_few, too_many = 2 * sum(taken) <= total, sum(map(bool, taken)) > 3
    return [0] * len(EXPRESSIONS) if too_few or too_many else taken
