"""
Errors of predicted facial landmarks (the 68 points in iBUG's order), and the files that hold them.

Legend: N images. points (N, 68, 2): x and y as fractions of the upright image's width and height. sizes (N, 2): the
image's width and height in pixels. Distances are measured in pixels: fractions would distort an image that is not
square.
"""

from pathlib import Path

import numpy as np

from training.fer_metrics.fer_metrics import bootstrap_interval
from training.runtime.errors import InputError
from training.runtime.run_folder import replaced

# Of errors.csv, one line an image, with which report.py compares runs image by image.
ERROR_COLUMNS = {"index": "int64", "person": "str", "normalized_mean_error": "float64"}
REGIONS = {
    "brows": slice(17, 27),
    "eyes": slice(36, 48),
    "nose": slice(27, 36),
    "mouth": slice(48, 68),
    "jaw": slice(0, 17),
}
OUTER_EYE_CORNERS = (36, 45)  # their distance is the unit of the errors
ERROR_LIMIT = 0.1  # end of the area under the curve; an image with a larger error counts as failed
CURVE = np.linspace(0, 0.2, 201)  # errors at which the cumulative curve is written


def check_eye_distances(points: np.ndarray, where: str) -> None:
    """Raises InputError naming a row whose unit of the errors, the distance between the eyes' corners, is zero."""
    left, right = OUTER_EYE_CORNERS
    rows = np.flatnonzero(np.abs(points[:, left] - points[:, right]).max(1) < 1e-6)
    if len(rows):
        raise InputError(
            f"row {rows[0]} of {where} has points {left} and {right}, the outer corners of the eyes, in one place;"
            " their distance is the unit of the errors: leave the row out."
        )


def normalized_distances(predicted: np.ndarray, points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Distances of predicted from true points, over the distance of the true points 36 and 45: (N, 68)."""
    distances = np.linalg.norm((predicted - points) * sizes[:, None], axis=2)
    left, right = OUTER_EYE_CORNERS
    return distances / np.linalg.norm((points[:, left] - points[:, right]) * sizes, axis=1)[:, None]


def area_shares(errors: np.ndarray, limit: float = ERROR_LIMIT) -> np.ndarray:
    """
    The contribution of each image to the area under the cumulative error curve from 0 to the limit, over the limit.

    An image counts from its own error on: the area is the mean of max(0, 1 - error / limit).
    """
    return np.clip(1 - errors / limit, 0, 1)


def landmark_measures(distances: np.ndarray, people: np.ndarray) -> dict:
    """
    Args:
        distances: (N, 68), see `normalized_distances`. people: (N,).
    Returns:
        normalized_mean_error (mean over images of the mean over points), auc_at_0.1 (see `area_shares`), failure_rate
        (share of the images with an error above 0.1), each with its 95 % _interval [low, high], drawn by person;
        by_region: the error of each region's points; cumulative_curve: errors, and the share of images up to each;
        num_images; num_persons.
    """

    def with_interval(name: str, values: np.ndarray) -> dict:
        return {name: float(values.mean()), f"{name}_interval": bootstrap_interval(values, people)}

    errors = distances.mean(1)
    return {
        **with_interval("normalized_mean_error", errors),
        **with_interval(f"auc_at_{ERROR_LIMIT}", area_shares(errors)),
        **with_interval("failure_rate", errors > ERROR_LIMIT),
        "by_region": {
            name: with_interval("normalized_mean_error", distances[:, where].mean(1)) for name, where in REGIONS.items()
        },
        "cumulative_curve": {"error": CURVE.round(6).tolist(), "share": cumulative_curve(errors).tolist()},
        "num_images": len(errors),
        "num_persons": len(np.unique(people)),
    }


def cumulative_curve(errors: np.ndarray) -> np.ndarray:
    """The share of the images (N,) with an error up to each of CURVE."""
    return (errors[:, None] <= CURVE).mean(0)


def draw_cumulative_curves(path: Path, curves: dict[str, np.ndarray], title: str) -> None:
    """A .png of cumulative error curves. curves: errors (N,) by name, the first as a full line, others dashed."""
    from matplotlib.figure import Figure  # drawn by Agg: no display is asked for

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="normalised mean error of an image", ylabel="share of the images")
    axes.set(xlim=(0, CURVE[-1]), ylim=(0, 1))
    axes.set_title(title, fontsize=9)
    for number, (name, errors) in enumerate(curves.items()):
        axes.plot(CURVE, cumulative_curve(errors), "--" if number else "-", label=name)
    axes.axvline(ERROR_LIMIT, color="gray", linewidth=0.8)
    axes.legend(loc="lower right")
    with replaced(path) as temporary:
        figure.savefig(temporary, format="png")
