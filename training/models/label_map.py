"""The outputs of any classifier as the classes of a data set: matched by name, by synonym, or by a file."""

import json
from pathlib import Path

import numpy as np

from training.data.expressions import EXPRESSIONS, canonical_expression, expression_names, find_class
from training.runtime.errors import NOT_JSON, InputError


def read_label_map(path: str | None) -> dict[str, str | None]:
    """
    A JSON file that maps a model's labels, or the numbers of its outputs, to class names or null. {} for None.

    Raises:
        InputError: the file is missing, is not JSON, or holds something else.
    """
    if path is None:
        return {}
    if not Path(path).is_file():
        raise InputError(f"--label_map {path} does not exist; give a JSON file of the model's labels to class names.")
    try:
        label_map = json.loads(Path(path).read_text(encoding="utf-8"))
    except NOT_JSON as error:
        raise InputError(f"--label_map {path} is not JSON: {error}") from error
    if not isinstance(label_map, dict) or not all(isinstance(v, str | None) for v in label_map.values()):
        raise InputError(f'--label_map {path} must be like {{"LABEL_0": "neutral", "1": "anger", "LABEL_2": null}}.')
    return label_map


def map_outputs(id2label: dict[int, str], class_names, label_map: dict[str, str | None]) -> list[str | None]:
    """
    The class of each output of a model; None for an output that `label_map` drops.

    Args:
        id2label: the model's labels. class_names: of the data. label_map: see `read_label_map`. Outputs that are not in
            it are matched by name and synonym.
    Returns:
        One name for each output. Expressions have our spelling, other classes that of the data.
    Raises:
        InputError: a key of `label_map` that is no label, a name that is no class, or no output with a class.
    """
    classes = [*[name for name in class_names if canonical_expression(name) not in EXPRESSIONS], *EXPRESSIONS]
    labels = [id2label[i] for i in range(len(id2label))]
    strangers = sorted(set(label_map) - set(labels) - set(map(str, range(len(labels)))))
    if strangers:
        raise InputError(f"--label_map names {', '.join(strangers)}; the model's labels are {', '.join(labels)}.")
    names = [label_map.get(label, label_map.get(str(i), label)) for i, label in enumerate(labels)]
    outputs = [None if name is None else find_class(name, classes) for name in names]
    unknown = [name for name, output in zip(names, outputs, strict=True) if name is not None and output is None]
    if unknown:
        raise InputError(
            f"{', '.join(unknown)} of the model or of --label_map is none of the classes {', '.join(classes)};"
            " give a --label_map with a class, or null, for each."
        )
    if not any(outputs):
        raise InputError("--label_map drops every output of the model; map at least one to a class.")
    return outputs


def measured_classes(outputs: list[str | None], class_names) -> list[str]:
    """The classes of the outputs, and the expressions of the data. Expressions alone come in our order."""
    expressions = [name for name in map(canonical_expression, class_names) if name in EXPRESSIONS]
    names = list(dict.fromkeys([*filter(None, outputs), *expressions]))
    return list(expression_names(names) or names)


def class_probabilities(logits: np.ndarray, outputs: list[str | None], names: list[str]) -> np.ndarray:
    """
    Softmax over the outputs that have a class. The probabilities of outputs with the same class are added.

    Args:
        logits: (N, outputs). outputs: see `map_outputs`. names: the classes.
    Returns:
        (N, classes) float64; 0 for a class without an output.
    """
    from scipy.special import softmax

    used = [i for i, name in enumerate(outputs) if name is not None]
    places = np.array([[outputs[i] == name for name in names] for i in used], dtype=np.float64)  # (used, classes)
    return softmax(logits[:, used].astype(np.float64), axis=1) @ places
