"""Another model's outputs as the classes of a data set: by name, by synonym, or by a file."""

import json
from pathlib import Path

import numpy as np

from training.data.expressions import EXPRESSIONS, canonical_expression, expression_names, find_class
from training.runtime.errors import InputError


def read_label_map(path: str | None) -> dict[str, str | None]:
    """
    A JSON file of a model's label, or the output's number, to one of our classes or null. {} for None.

    Raises:
        InputError: the file is missing, is not JSON, or holds something else.
    """
    if path is None:
        return {}
    if not Path(path).is_file():
        raise InputError(f"--label_map {path} does not exist; give a JSON file of the model's labels to class names.")
    try:
        label_map = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"--label_map {path} is not JSON: {error}") from error
    if not isinstance(label_map, dict) or not all(isinstance(v, str | None) for v in label_map.values()):
        raise InputError(f'--label_map {path} must be like {{"LABEL_0": "neutral", "1": "anger", "LABEL_2": null}}.')
    return label_map


def map_outputs(id2label: dict[int, str], class_names, label_map: dict[str, str | None]) -> list[str | None]:
    """
    The class of every output of a model; None where it is dropped.

    Args:
        id2label: the model's labels by output. class_names: the data's. label_map: see `read_label_map`; outputs that
            it leaves out are matched by name and synonym.
    Returns:
        A name a output: an expression in our spelling, or a class of the data in the data's.
    Raises:
        InputError: a key of `label_map` that is no label, a value or a label that is no class, or nothing mapped.
    """
    known = [*[name for name in class_names if canonical_expression(name) not in EXPRESSIONS], *EXPRESSIONS]
    labels = [id2label[i] for i in range(len(id2label))]
    strangers = sorted(set(label_map) - set(labels) - set(map(str, range(len(labels)))))
    if strangers:
        raise InputError(f"--label_map names {', '.join(strangers)}; the model's labels are {', '.join(labels)}.")
    wanted = [label_map.get(label, label_map.get(str(i), label)) for i, label in enumerate(labels)]
    found = [None if name is None else find_class(name, known) for name in wanted]
    unknown = [name for name, mapped in zip(wanted, found, strict=True) if name is not None and mapped is None]
    if unknown:
        raise InputError(
            f"{', '.join(unknown)} of the model or of --label_map is none of the classes {', '.join(known)};"
            " give a --label_map with a class, or null, for each."
        )
    if not any(found):
        raise InputError("--label_map drops every output of the model; map at least one to a class.")
    return found


def measured_classes(outputs: list[str | None], class_names) -> list[str]:
    """The classes of a table: those of the outputs and the expressions of the data; expressions in our order."""
    of_data = [c for name in class_names if (c := canonical_expression(name)) in EXPRESSIONS]
    names = list(dict.fromkeys([*filter(None, outputs), *of_data]))
    return list(expression_names(names) or names)


def class_probabilities(logits: np.ndarray, outputs: list[str | None], names: list[str]) -> np.ndarray:
    """
    Softmax over the outputs that are not dropped; outputs of one class are added.

    Args:
        logits: (N, outputs). outputs: see `map_outputs`. names: the classes.
    Returns:
        (N, classes) float64; 0 for a class without an output.
    """
    kept = [i for i, name in enumerate(outputs) if name is not None]
    exponentials = np.exp(logits[:, kept].astype(np.float64) - logits[:, kept].max(1, keepdims=True))
    shares = exponentials / exponentials.sum(1, keepdims=True)
    places = np.array([[outputs[i] == name for name in names] for i in kept], dtype=np.float64)  # (kept, classes)
    return shares @ places
