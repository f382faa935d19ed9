"""The keys of metrics.json, the columns of predictions.csv, and the measures of a classifier."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.runtime.errors import InputError
from training.runtime.run_folder import replaced, versions, write_json

# The keys of every metrics.json; a script may add its own.
KEYS = (
    "accuracy",
    "mean_class_accuracy",
    "macro_f1",
    "per_class",
    "confusion_matrix",
    "num_images",
    "split",
    "protocol",
    "preprocessing",
    "model",
    "seed",
    "versions",
)
# What every metrics.json says beside the measures; see `write_metrics`.
ABOUT = ("split", "protocol", "model", "seed", "method", "label_percent", "dataset", "choices", "num_bad_images")

PROCESSOR_SETTINGS = (
    *("do_resize", "size", "resample", "default_to_square", "crop_pct", "do_center_crop", "crop_size"),
    *("do_pad", "pad_size", "do_grayscale", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
)
PREDICTION_COLUMNS = ("index", "label", "prediction")


def classification_measures(labels, predictions, class_names, probabilities=None) -> dict:
    """The measures of a classifier, as training/fer_metrics describes them."""
    from training.fer_metrics import fer_metrics

    return fer_metrics.classification_measures(labels, predictions, class_names, probabilities)


def measures_without_repeats(labels, predictions, repeats_training, kept) -> dict:
    """
    The accuracy, and its interval, without the images that repeat training images, where these are known.

    Args:
        labels, predictions: (N,), of the images `kept` (N,). repeats_training: (all,) bool, or None.
    """
    from training.fer_metrics.fer_metrics import bootstrap_interval

    if repeats_training is None:
        return {}
    fresh = ~repeats_training[kept]
    if not fresh.any():
        return {"num_images_without_repeats": 0}
    correct = (predictions == labels)[fresh]
    return {
        "accuracy_without_repeats": float(correct.mean()),
        "accuracy_without_repeats_interval": bootstrap_interval(correct),
        "num_images_without_repeats": int(fresh.sum()),
    }


def describe_preprocessing(processor) -> dict:
    """The class of an image processor, and the settings that it has."""
    found: dict = {"image_processor": type(processor).__name__}
    for name in PROCESSOR_SETTINGS:
        value = getattr(processor, name, None)
        if name in ("size", "crop_size", "pad_size") and value is not None and not isinstance(value, int):
            value = {side: length for side, length in dict(value).items() if length is not None}
        if value is not None:
            found[name] = int(value) if name == "resample" else value
    return found


def write_metrics(path: Path, measures: dict, *, processor, **about) -> dict:
    """
    Writes metrics.json and returns its content. With a classifier's measures it has all of KEYS.

    Args:
        measures: see `classification_measures`. processor: the image processor that was used.
        about: every one of ABOUT, and a script's own keys. method: "linear probe", "k-NN", "fine-tuning", "supervised
            from scratch", "evaluation" or "landmark probe". label_percent: share of the training labels that was used.
            dataset: {"source", "fingerprint"}. choices: how many epochs or settings were compared on the split.
            num_bad_images: images left out because they cannot be read.
    """
    missing = [name for name in ABOUT if name not in about]
    if missing:
        raise TypeError(f"write_metrics needs {', '.join(missing)}")
    metrics = {
        **measures,
        "split": about["split"],
        "protocol": about["protocol"],
        "preprocessing": describe_preprocessing(processor),
        "model": about["model"],
        "seed": about["seed"],
        "versions": versions(),
        **{name: value for name, value in about.items() if name not in KEYS},
    }
    write_json(path, metrics)
    return metrics


def write_table(path: Path, header: Sequence[str], *columns) -> None:
    """A csv. columns: (N,) each."""
    with replaced(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(zip(*(np.asarray(column).tolist() for column in columns), strict=True))


def write_predictions(path: Path, indices, labels, predictions) -> None:
    """
    A csv of `index,label,prediction`, one line per image, from which runs on one split are compared pairwise.

    Args:
        indices, labels, predictions: (N,) integers: rows of the split, true classes, predicted classes.
    """
    write_table(path, PREDICTION_COLUMNS, indices, labels, predictions)


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """
    The columns of a predictions.csv, (N,) int64 each, by name, sorted by index.

    Raises:
        InputError: the file is missing, has another header, a value that is not an integer, an index twice, or no line.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; evaluate the run again with this version, which writes it.")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows or tuple(rows[0]) != PREDICTION_COLUMNS:
        found = ",".join(rows[0]) if rows else ""
        raise InputError(f"{path} has the header {found!r}; {','.join(PREDICTION_COLUMNS)} was expected.")
    try:
        table = np.array([[int(value) for value in row] for row in rows[1:]], dtype=np.int64).reshape(-1, 3)
    except ValueError as error:
        raise InputError(f"{path} has a line that is not three integers ({error}).") from error
    if not len(table) or len(np.unique(table[:, 0])) != len(table):
        raise InputError(f"{path} has {len(table)} lines, or an index twice; one line per image was expected.")
    return dict(zip(PREDICTION_COLUMNS, table[np.argsort(table[:, 0])].T, strict=True))


def draw_confusion_matrix(path: Path, matrix, class_names, title: str = "") -> None:
    """A .png of the matrix: rows are true classes, coloured by the share of the row, with numbers of images."""
    from matplotlib.figure import Figure  # drawn by Agg: no display is asked for

    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2 + 0.7 * len(counts)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot(xlabel="predicted", ylabel="true", title=title)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(counts)), class_names, rotation=45, ha="right")
    axes.set_yticks(range(len(counts)), class_names)
    for row, column in np.ndindex(*counts.shape):
        color = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color)
    with replaced(path) as temporary:
        figure.savefig(temporary, format="png")


def print_measures(metrics: dict) -> None:
    """Prints the measures in one line."""
    print(
        f"accuracy {100 * metrics['accuracy']:.2f} %, mean class accuracy {100 * metrics['mean_class_accuracy']:.2f} %,"
        f" macro F1 {100 * metrics['macro_f1']:.2f} % on {metrics['num_images']} images of split {metrics['split']}"
    )
