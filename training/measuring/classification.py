"""The keys of metrics.json, the columns of predictions.csv, and the measures of a classifier."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.runtime.errors import InputError
from training.runtime.run_folder import replaced, versions, write_json

# The keys of every metrics.json; a script may add its own.
KEYS = (
    *("accuracy", "mean_class_accuracy", "macro_f1", "per_class", "confusion_matrix", "num_images"),
    *("split", "protocol", "preprocessing", "model", "seed", "versions"),
)
# What every metrics.json says beside the measures; see `write_metrics`.
ABOUT = ("split", "protocol", "model", "seed", "method", "label_percent", "dataset", "choices", "num_bad_images")

PROCESSOR_SETTINGS = (
    *("do_resize", "size", "resample", "default_to_square", "crop_pct", "do_center_crop", "crop_size"),
    *("do_pad", "pad_size", "do_grayscale", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
)
PREDICTION_COLUMNS = {"index": "int64", "label": "int64", "prediction": "int64"}


def classification_measures(labels, predictions, class_names, probabilities=None) -> dict:
    """The measures of a classifier, as training/fer_metrics describes them."""
    from training.fer_metrics import fer_metrics

    return fer_metrics.classification_measures(labels, predictions, class_names, probabilities)


def fit_temperature(logits, labels) -> float:
    """
    The temperature T > 0 with the least cross-entropy of softmax(logits / T) (Guo et al. 2017, arXiv 1706.04599).

    Args:
        logits: (N, classes). labels: (N,) integers.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits, rows = np.asarray(logits, np.float64), np.arange(len(labels))
    loss = lambda exponent: -log_softmax(logits / np.exp(exponent), axis=1)[rows, labels].mean()  # noqa: E731
    return round(float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x)), 4)


def measures_without_repeats(labels, predictions, repeats_training, rows) -> dict:
    """
    The accuracy without the images that repeat training images, with its interval. {} where repeats are not known.

    repeats_training: bool, of every row of the split, or None. rows: (N,), those of labels and predictions (N,).
    """
    from training.fer_metrics.fer_metrics import bootstrap_interval

    if repeats_training is None:
        return {}
    fresh = ~repeats_training[rows]
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
    settings: dict = {"image_processor": type(processor).__name__}
    for name in PROCESSOR_SETTINGS:
        value = getattr(processor, name, None)
        if name in ("size", "crop_size", "pad_size") and value is not None and not isinstance(value, int):
            value = {side: length for side, length in dict(value).items() if length is not None}
        if value is not None:
            settings[name] = int(value) if name == "resample" else value
    return settings


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
    if missing := [name for name in ABOUT if name not in about]:
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


def write_predictions(path: Path, rows, labels, predictions) -> None:
    """A csv with one line an image, with which report.py compares runs. rows: (N,), of the split."""
    write_table(path, tuple(PREDICTION_COLUMNS), rows, labels, predictions)


def read_table(path: Path, columns: dict[str, str]):
    """
    A csv of `write_table` as a pandas.DataFrame, sorted and indexed by its column "index".

    Args:
        columns: the names in the header, and pandas' types.
    Raises:
        InputError: the file is missing, has other columns, a value of another type, no line, or an index twice.
    """
    import pandas

    if not path.is_file():
        raise InputError(f"{path} does not exist; measure the run again with this version, which writes it.")
    try:
        table = pandas.read_csv(path, dtype=columns, keep_default_na=False)
    except ValueError as error:  # pandas' errors of parsing are ValueErrors
        raise InputError(f"{path} is not a table of {', '.join(columns)} with one line an image ({error}).") from error
    if list(table) != list(columns) or table.empty or table.isna().any(axis=None) or table["index"].duplicated().any():
        found = f"it has the columns {', '.join(table)}, {len(table)} lines, and perhaps an index twice or a gap"
        raise InputError(f"{path} is not a table of {', '.join(columns)} with one line an image: {found}.")
    return table.set_index("index").sort_index()


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
