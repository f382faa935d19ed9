"""
The 68 facial landmarks in iBUG's order: reading them beside their faces, and the measures of predicted ones.

Legend: N images. points (N, 68, 2): x and y as fractions of the upright picture's width and height. sizes (N, 2): its
width and height in pixels. Distances are measured in the picture's pixels, so that a picture that is no square counts
as it looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from training.measuring.classification import write_table
from training.runtime.errors import InputError
from training.runtime.run_folder import replaced

NUM_POINTS = 68
REGIONS = {
    "brows": slice(17, 27),
    "eyes": slice(36, 48),
    "nose": slice(27, 36),
    "mouth": slice(48, 68),
    "jaw": slice(0, 17),
}
OUTER_EYE_CORNERS = (36, 45)  # whose distance is the unit of the errors
ERROR_LIMIT = 0.1  # of the area under the curve, and beyond which an image counts as failed
CURVE = np.linspace(0, 0.2, 201)  # errors at which the cumulative curve is written


@dataclass
class LandmarkArguments:
    """Where the landmarks are."""

    landmark_column: str = field(
        default="landmarks", metadata={"help": "column of the 68 points, x and y as fractions of the upright picture"}
    )
    person_column: str = field(default="person", metadata={"help": "column that says whose face it is"})


def read_landmarks(faces, columns: LandmarkArguments) -> tuple[np.ndarray, np.ndarray]:
    """
    Args:
        faces: training.data.faces.Faces whose rows hold both columns.
    Returns:
        points (N, 68, 2) float64, and people (N,), as text.
    Raises:
        ValueError: a column that is missing, or a row that cannot be used, named.
    """
    where = f"{faces.source}, split {faces.split!r}"
    for flag, column in (("landmark", columns.landmark_column), ("person", columns.person_column)):
        if column not in faces.rows.column_names:
            found = ", ".join(faces.rows.column_names)
            raise InputError(f"{where} has no column {column!r}; found {found}; name one by --{flag}_column.")
    points = [check_points(v, f"row {i} of {where}") for i, v in enumerate(faces.rows[columns.landmark_column])]
    people = list(faces.rows[columns.person_column])
    for index, person in enumerate(people):
        if person is None or person == "" or person != person:  # NaN
            raise InputError(f"row {index} of {where} has no person; every face must say whose it is.")
    return np.stack(points), np.array([str(person) for person in people])


def check_points(value, name: str) -> np.ndarray:
    """One row's points, (68, 2) float64. Raises ValueError naming the row."""
    try:
        points = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} has landmarks that are not ({NUM_POINTS}, 2) numbers ({error}).") from error
    if points.shape != (NUM_POINTS, 2):
        raise InputError(f"{name} has landmarks of shape {points.shape}; ({NUM_POINTS}, 2) was expected.")
    if not np.isfinite(points).all():
        raise InputError(f"{name} has a landmark that is not finite; leave the row out.")
    if np.abs(points - 0.5).max() > 1.5:  # a jaw may lie outside a tight crop, but not by a whole picture
        furthest = points.flat[np.abs(points - 0.5).argmax()]
        raise InputError(
            f"{name} has a landmark at {furthest:g}; x and y must be fractions of the picture's width and height, in"
            " [-1, 2]."
        )
    left, right = OUTER_EYE_CORNERS
    if np.abs(points[left] - points[right]).max() < 1e-6:
        raise InputError(
            f"{name} has points {left} and {right}, the outer corners of the eyes, in one place; their distance is the"
            " unit of the errors: leave the row out."
        )
    return points


def check_people_apart(train_people: np.ndarray, eval_people: np.ndarray) -> None:
    """Raises ValueError where a person is in both splits: the error would be that of faces seen before."""
    both = np.intersect1d(train_people, eval_people)
    if len(both):
        shown = ", ".join(both[:3]) + (", ..." if len(both) > 3 else "")
        raise InputError(
            f"{len(both)} of the evaluation split's {len(np.unique(eval_people))} persons are in the training split too"
            f" ({shown}); give splits of different people by --train_split, --eval_split or --eval_dataset."
        )


def picture_sizes(faces, indices) -> np.ndarray:
    """Width and height in pixels, (n, 2), of the upright pictures at `indices`."""
    return np.array([faces.image(int(index)).size for index in indices], dtype=np.float64).reshape(-1, 2)


def normalized_distances(predicted: np.ndarray, points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Distance of every predicted point from the true one, over that of the true points 36 and 45: (N, 68)."""
    distances = np.linalg.norm((predicted - points) * sizes[:, None], axis=2)
    left, right = OUTER_EYE_CORNERS
    return distances / np.linalg.norm((points[:, left] - points[:, right]) * sizes, axis=1)[:, None]


def area_shares(errors: np.ndarray, limit: float = ERROR_LIMIT) -> np.ndarray:
    """
    What each image adds to the area under the cumulative error curve from 0 to the limit, divided by the limit.

    The curve is the share of the images with an error of at most e. An image is under it from its own error on, so
    that the area is exactly the mean of max(0, 1 - error / limit); no grid is summed over.
    """
    return np.clip(1 - errors / limit, 0, 1)


def landmark_measures(distances: np.ndarray, people: np.ndarray) -> dict:
    """
    Args:
        distances: (N, 68), see `normalized_distances`. people: (N,).
    Returns:
        normalized_mean_error (mean over images of the mean over points), auc_at_0.1 (see `area_shares`), failure_rate
        (share of the images with an error above 0.1), each with its _interval [low, high], 95 %, drawn by person;
        by_region the same error of its points; cumulative_curve: errors, and shares of the images up to them;
        num_images; num_persons.
    """
    from training.fer_metrics.fer_metrics import bootstrap_interval

    errors = distances.mean(1)
    measures: dict = {}
    for name, values in (
        ("normalized_mean_error", errors),
        (f"auc_at_{ERROR_LIMIT}", area_shares(errors)),
        ("failure_rate", errors > ERROR_LIMIT),
    ):
        measures[name] = float(values.mean())
        measures[f"{name}_interval"] = bootstrap_interval(values, people)
    regions = {name: distances[:, where].mean(1) for name, where in REGIONS.items()}
    measures["by_region"] = {
        name: {
            "normalized_mean_error": float(values.mean()),
            "normalized_mean_error_interval": bootstrap_interval(values, people),
        }
        for name, values in regions.items()
    }
    shares = (errors[:, None] <= CURVE).mean(0)
    measures["cumulative_curve"] = {"error": CURVE.round(6).tolist(), "share": shares.tolist()}
    return {**measures, "num_images": len(errors), "num_persons": len(np.unique(people))}


def write_errors(path: Path, indices, people: np.ndarray, errors: np.ndarray) -> None:
    """A csv of `index,person,normalized_mean_error`, one image a line: with it runs are compared pairwise."""
    from training.measuring.paired_runs import ERROR_COLUMNS

    write_table(path, ERROR_COLUMNS, indices, people, errors)


def draw_cumulative_curves(path: Path, curves: Sequence[tuple[str, np.ndarray]], title: str = "") -> None:
    """A .png of cumulative error curves. curves: (name, errors (N,)), the first as a full line, others dashed."""
    from matplotlib.figure import Figure  # drawn by Agg: no display is asked for

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="normalised mean error of an image", ylabel="share of the images", ylim=(0, 1))
    axes.set_title(title, fontsize=9)
    for number, (name, errors) in enumerate(curves):
        axes.plot(CURVE, (errors[:, None] <= CURVE).mean(0), "--" if number else "-", label=name)
    axes.axvline(ERROR_LIMIT, color="gray", linewidth=0.8)
    axes.set_xlim(0, CURVE[-1])
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    with replaced(path) as temporary:
        figure.savefig(temporary, format="png")
