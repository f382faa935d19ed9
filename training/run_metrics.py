"""metrics.json of an evaluation: its keys, and the measures of a classifier. scikit-learn does the arithmetic."""

from pathlib import Path

import numpy as np

from training.run_state import versions, write_json

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


def classification_measures(labels: np.ndarray, predictions: np.ndarray, class_names) -> dict:
    """
    Args:
        labels, predictions: (N,) integers in [0, classes).
    Returns:
        accuracy; mean_class_accuracy (mean recall of the classes that occur); macro_f1 (over the same); per_class
        precision, recall, f1 and count by name; class_names; confusion_matrix, rows the true class, both in that order.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    ids = np.arange(len(class_names))
    precision, recall, f1, count = precision_recall_fscore_support(labels, predictions, labels=ids, zero_division=0)
    present = count > 0
    per_class = {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "count": int(n)}
        for name, p, r, f, n in zip(class_names, precision, recall, f1, count, strict=True)
    }
    return {
        "accuracy": float((labels == predictions).mean()),
        "mean_class_accuracy": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "per_class": per_class,
        "class_names": list(class_names),
        "confusion_matrix": confusion_matrix(labels, predictions, labels=ids).tolist(),
        "num_images": len(labels),
    }


def measures_without_repeats(labels, predictions, repeats_training, kept) -> dict:
    """
    The accuracy without the pictures that repeat training ones, where that is known.

    Args:
        labels, predictions: (N,), of the pictures `kept` (N,). repeats_training: (all,) bool, or None.
    """
    if repeats_training is None:
        return {}
    fresh = ~repeats_training[kept]
    return {
        "accuracy_without_repeats": float((predictions == labels)[fresh].mean()),
        "num_images_without_repeats": int(fresh.sum()),
    }


def describe_preprocessing(processor) -> dict:
    """What the image processor does, as numbers."""
    names = ("do_resize", "size", "resample", "do_grayscale", "do_normalize", "image_mean", "image_std")
    values = {name: getattr(processor, name, None) for name in names}
    values["size"] = dict(values["size"])
    values["resample"] = int(values["resample"])
    return values


def write_metrics(path: Path, measures: dict, *, split, protocol, processor, model, seed, **more) -> dict:
    """Writes metrics.json with all of KEYS, and returns it."""
    metrics = {
        **measures,
        "split": split,
        "protocol": protocol,
        "preprocessing": describe_preprocessing(processor),
        "model": model,
        "seed": seed,
        "versions": versions(),
        **more,
    }
    missing = [key for key in KEYS if key not in metrics]
    assert not missing, missing
    write_json(path, metrics)
    return metrics


def print_measures(metrics: dict) -> None:
    """One line for people."""
    print(
        f"accuracy {100 * metrics['accuracy']:.2f} %, mean class accuracy {100 * metrics['mean_class_accuracy']:.2f} %,"
        f" macro F1 {100 * metrics['macro_f1']:.2f} % on {metrics['num_images']} images of split {metrics['split']}"
    )
