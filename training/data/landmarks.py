"""The 68 facial landmarks in iBUG's order, read beside their faces."""

from dataclasses import dataclass

import numpy as np

from training.data.tables import check_column
from training.runtime.arguments import flag
from training.runtime.errors import InputError

NUM_POINTS = 68


@dataclass
class LandmarkArguments:
    """Where the landmarks are."""

    landmark_column: str = flag("landmarks", "Column of the 68 points, x and y as fractions of the upright image.")
    person_column: str = flag("person", "Column that names the person of each face.")


def read_landmarks(faces, columns: LandmarkArguments) -> tuple[np.ndarray, np.ndarray]:
    """
    Points (N, 68, 2) float64, fractions of the upright image, and people (N,), as text, of training.data.faces.Faces.
    Raises InputError: a missing column, or a row that cannot be used, by its number.
    """
    where = f"{faces.source}, split {faces.split!r}"
    for name in ("landmark_column", "person_column"):
        check_column(faces.rows, name, getattr(columns, name))
    points = [check_points(v, f"row {i} of {where}") for i, v in enumerate(faces.rows[columns.landmark_column])]
    people = list(faces.rows[columns.person_column])
    for index, person in enumerate(people):
        if person is None or person == "" or person != person:  # NaN
            raise InputError(f"row {index} of {where} has no person; every face must say whose it is.")
    return np.stack(points), np.array([str(person) for person in people])


def check_points(value, name: str) -> np.ndarray:
    """One row's points, (68, 2) float64. Raises InputError naming the row."""
    try:
        points = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} has landmarks that are not ({NUM_POINTS}, 2) numbers ({error}).") from error
    if points.shape != (NUM_POINTS, 2):
        raise InputError(f"{name} has landmarks of shape {points.shape}; ({NUM_POINTS}, 2) was expected.")
    # A jaw may lie outside a tight crop, but not by a whole image.
    if not (np.abs(points - 0.5) <= 1.5).all():
        raise InputError(
            f"{name} has a landmark at {points.min():g} or {points.max():g}; x and y must be fractions of the image's"
            " width and height, in [-1, 2]."
        )
    return points


def check_people_apart(train_people: np.ndarray, eval_people: np.ndarray) -> None:
    """Raises InputError where a person is in both splits: the error would be that of persons seen before."""
    both = np.intersect1d(train_people, eval_people)
    if len(both):
        shown = ", ".join(both[:3]) + (", ..." if len(both) > 3 else "")
        raise InputError(
            f"{len(both)} of the evaluation split's {len(np.unique(eval_people))} persons are in the training split too"
            f" ({shown}); give splits of different people by --train_split, --eval_split or --eval_dataset."
        )


def pixel_sizes(faces, indices) -> np.ndarray:
    """Width and height in pixels, (n, 2), of the upright images at `indices`."""
    return np.array([faces.image(int(index)).size for index in indices], dtype=np.float64).reshape(-1, 2)
