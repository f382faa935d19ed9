"""
The measures of an expression classifier, as an `evaluate` module; the scripts of training/ use the same functions.

    evaluate.load("training/fer_metrics").compute(references=labels, predictions=predictions)

One file without siblings, so that it loads by path with no network and from a metric Space. evaluate 0.4.6 reads the
imports line by line: no import here may span lines.
"""

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

CALIBRATION_BINS = 15
BOOTSTRAP_DRAWS = 10_000

DESCRIPTION = """
Measures of facial expression recognition, or of any classification into one of several classes: accuracy with its 95 %
bootstrap interval, mean class accuracy, macro F1, precision, recall, F1 and count of every class, the confusion matrix,
and, from probabilities, the expected calibration error.
"""

CITATION = """
@inproceedings{guo2017calibration,
  title={On Calibration of Modern Neural Networks},
  author={Guo, Chuan and Pleiss, Geoff and Sun, Yu and Weinberger, Kilian Q.},
  booktitle={International Conference on Machine Learning},
  year={2017}
}
"""

INPUTS = """
Args:
    predictions, references: (N,) integers in [0, classes): predicted and true classes.
    class_names: names in the order of the integers; default "0", "1", ... up to the highest integer that occurs.
    probabilities: (N, classes) predicted probabilities, rows in the order of predictions; for the calibration error.
Returns:
    accuracy; accuracy_interval [low, high], 95 %, over images; mean_class_accuracy (mean recall of the classes that
    occur); macro_f1 (over the same); per_class precision, recall, recall_interval (95 %, over the class's images, of
    classes that occur), f1 and count by name; class_names; confusion_matrix, rows the true class, both in that order;
    num_images; with probabilities, expected_calibration_error.
Raises:
    ValueError: no image, lengths that differ, an integer outside the classes, or probabilities that are none.
"""


def classification_measures(labels, predictions, class_names, probabilities=None) -> dict:
    """See INPUTS; labels are the references."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    check_classes(labels, predictions, len(class_names))
    ids = np.arange(len(class_names))
    precision, recall, f1, count = precision_recall_fscore_support(labels, predictions, labels=ids, zero_division=0)
    present = count > 0
    measures = {
        "accuracy": float(accuracy_score(labels, predictions)),
        "accuracy_interval": bootstrap_interval(labels == predictions),
        "mean_class_accuracy": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "count": int(n)}
            | ({"recall_interval": bootstrap_interval(predictions[labels == i] == i)} if n else {})
            for i, name, p, r, f, n in zip(ids, class_names, precision, recall, f1, count, strict=True)
        },
        "class_names": list(class_names),
        "confusion_matrix": confusion_matrix(labels, predictions, labels=ids).tolist(),
        "num_images": len(labels),
    }
    if probabilities is not None:
        probabilities = check_probabilities(probabilities, len(labels), len(class_names))
        measures["expected_calibration_error"] = expected_calibration_error(labels, predictions, probabilities)
    return measures


def check_classes(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> None:
    """Raises ValueError where there is nothing to measure, or an integer that is no class."""
    if labels.ndim != 1 or labels.shape != predictions.shape or not len(labels):
        shapes = f"labels of shape {labels.shape} and predictions of shape {predictions.shape}"
        raise ValueError(f"{shapes}: (N,) of both was expected, N at least 1.")
    for name, values in (("labels", labels), ("predictions", predictions)):
        if values.min() < 0 or values.max() >= num_classes:
            expected = f"with {num_classes} classes [0, {num_classes - 1}] was expected"
            raise ValueError(f"{name} lie in [{values.min()}, {values.max()}]; {expected}.")


def check_probabilities(probabilities, num_images: int, num_classes: int) -> np.ndarray:
    """(N, classes) float64. Raises ValueError on another shape, or rows that are no probabilities."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.shape != (num_images, num_classes):
        raise ValueError(f"probabilities of shape {probabilities.shape}; ({num_images}, {num_classes}) was expected.")
    if not (probabilities.min() >= 0 and np.abs(probabilities.sum(1) - 1).max() < 1e-3):
        raise ValueError("probabilities must be 0 or more and sum to 1 in every row; give the softmax of the logits.")
    return probabilities


def expected_calibration_error(labels, predictions, probabilities: np.ndarray) -> float:
    """
    Sum over 15 equal bins of confidence, each closed on its right, of (share of the images) * |accuracy - confidence|.
    The confidence is the predicted class's probability. Source: Guo, Pleiss, Sun, Weinberger, ICML 2017, equation 3.
    """
    confidence = probabilities[np.arange(len(labels)), predictions]
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    places = np.searchsorted(edges[1:-1], confidence)
    gaps = np.bincount(places, (labels == predictions) - confidence, CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def bootstrap_interval(values, groups=None, seed: int = 0) -> list[float]:
    """
    The 95 % percentile bootstrap interval of a mean, 10,000 draws.

    Args:
        values: (N,) numbers: whether each image is right, or a difference of two runs for each image.
        groups: (N,) of any kind, or None. With groups (persons) whole groups are drawn; without, single values.
    Returns:
        [low, high].
    """
    values, generator = np.asarray(values, dtype=np.float64), np.random.default_rng(seed)
    if groups is None:  # drawing N values is drawing how often each distinct one comes
        sums, times = np.unique(values, return_counts=True)
        counts: np.ndarray = np.ones(len(sums))
        step = BOOTSTRAP_DRAWS
    else:
        _, places = np.unique(np.asarray(groups), return_inverse=True)
        sums, counts = np.bincount(places, values), np.bincount(places)
        times, step = np.ones(len(sums), np.int64), 500  # all at once would hold draws x groups numbers
    means: list = []
    while len(means) < BOOTSTRAP_DRAWS:
        draws = generator.multinomial(times.sum(), times / times.sum(), step)
        means.extend((draws @ sums) / (draws @ counts))
    return [float(bound) for bound in np.percentile(means, [2.5, 97.5])]


class FERMetrics(evaluate.Metric):
    """The module that `evaluate.load` returns."""

    def _info(self):
        integers = datasets.Value("int64")
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": integers, "references": integers}),
        )

    def _compute(self, predictions, references, class_names=None, probabilities=None):
        if class_names is None:
            class_names = [str(i) for i in range(max([*predictions, *references], default=0) + 1)]
        return classification_measures(references, predictions, class_names, probabilities)
