"""Evaluating a classifier on one split: metrics.json, predictions.csv and confusion_matrix.png."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from training.data.expressions import match_labels
from training.data.faces import DatasetArguments, open_faces
from training.data.images import BadImages
from training.models.label_map import class_probabilities, map_outputs, measured_classes, read_label_map
from training.models.loading import check_model, load_classifier
from training.runtime.arguments import check_range
from training.runtime.errors import InputError
from training.runtime.run_folder import prepare_output_dir


@dataclass
class EvaluationArguments:
    """The evaluation."""

    model: str = field(default="", metadata={"help": "Folder or Hub id of a classifier."})
    output_dir: str = field(default="", metadata={"help": "New folder for metrics.json and the other files."})
    eval_dataset: str | None = field(
        default=None, metadata={"help": "Data set that holds --eval_split. The default is --dataset."}
    )
    eval_split: str | None = field(
        default=None,
        metadata={
            "help": "Split to evaluate. The default is validation, or every image of class folders without splits."
        },
    )
    label_map: str | None = field(
        default=None, metadata={"help": "JSON file that maps the model's labels to class names."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run the code in the model's folder."})
    per_device_eval_batch_size: int = field(default=256, metadata={"help": "Number of faces in a forward pass."})

    def __post_init__(self):
        check_range("per_device_eval_batch_size", self.per_device_eval_batch_size, 1)
        if self.model:
            check_model(self.model)


def evaluate(data: DatasetArguments, evaluation: EvaluationArguments) -> dict:
    """
    Evaluates a classifier and writes the three files to `evaluation.output_dir`, which must be new or empty.

    Returns:
        The content of metrics.json.
    Raises:
        InputError, FileNotFoundError: a label map, folder, data set or model that cannot be used.
    """
    label_map = read_label_map(evaluation.label_map)
    output_dir = prepare_output_dir(evaluation.output_dir, resume=False)
    dataset, split = evaluation.eval_dataset or data.dataset, evaluation.eval_split or "validation"
    faces = open_faces(data, dataset, split, with_labels=True, whole=evaluation.eval_split is None)
    return measure_classifier(data, evaluation, faces, label_map, output_dir)


def measure_classifier(data, evaluation, faces, label_map: dict, output_dir: Path) -> dict:
    """
    Sends the faces through the model and writes the three files.

    Args:
        faces: labelled `training.data.faces.Faces`. label_map: see `read_label_map`.
    Returns:
        The content of metrics.json.
    """
    from modeling_simfle.hub_folder_simfle import weights_sha256
    from training.measuring.classification import (
        classification_measures,
        draw_confusion_matrix,
        measures_without_repeats,
        print_measures,
        write_metrics,
        write_predictions,
    )

    model, processor, device = load_classifier(evaluation.model, evaluation.trust_remote_code)
    outputs = map_outputs(model.config.id2label, faces.class_names, label_map)
    names = measured_classes(outputs, faces.class_names)
    labels = match_labels(faces.class_names, faces.labels, names)
    lacking = describe_lacking_classes(labels, outputs, names)
    kept, logits, run_measures = compute_logits(model, processor, device, faces, (data, evaluation))
    labels, probabilities = labels[kept], class_probabilities(logits, outputs, names)
    predictions = probabilities.argmax(1)
    metrics = write_metrics(
        output_dir / "metrics.json",
        classification_measures(labels, predictions, names, probabilities),
        split=faces.split,
        protocol=f"evaluation of a saved classifier, one pass over the split, nothing chosen{lacking}",
        processor=processor,
        model=evaluation.model,
        seed=training_seed(Path(evaluation.model)),
        method="evaluation",
        label_percent=100,
        dataset={"source": faces.source, "fingerprint": faces.fingerprint()},
        choices=0,
        model_labels={label: outputs[i] for i, label in model.config.id2label.items()},
        weights_sha256=weights_sha256(Path(evaluation.model)),  # {} for a Hub id
        arguments={**asdict(data), **asdict(evaluation)},
        **run_measures,
        **measures_without_repeats(labels, predictions, faces.repeats_training, kept),
    )
    write_predictions(output_dir / "predictions.csv", kept, labels, predictions)
    title, matrix = f"{len(kept)} images, accuracy {100 * metrics['accuracy']:.1f} %", metrics["confusion_matrix"]
    draw_confusion_matrix(output_dir / "confusion_matrix.png", matrix, names, title)
    print_measures(metrics)
    return metrics


def describe_lacking_classes(labels: np.ndarray, outputs: list[str | None], names: list[str]) -> str:
    """
    A clause about the images whose class the model has no output for; they count as wrong. It is printed too.

    Args:
        labels: (N,), numbers in `names`. outputs: see `map_outputs`.
    Returns:
        "" where the model has an output for every image.
    Raises:
        InputError: the model has an output for none of the images.
    """
    known = np.array([name in outputs for name in names])[labels]
    if not known.any():
        raise InputError(f"the model has outputs for {', '.join(filter(None, outputs))}: none of the images' classes.")
    if known.all():
        return ""
    lacking = ", ".join(f"{names[i]} ({(labels == i).sum()} images)" for i in np.unique(labels[~known]))
    clause = f"the model has no output for {lacking}: counted wrong"
    print(clause)
    return f"; {clause}"


def compute_logits(model, processor, device, faces, arguments: tuple):
    """
    Args:
        arguments: DatasetArguments and EvaluationArguments.
    Returns:
        Indices (N,) and logits (N, outputs) of the readable faces, numpy; images_per_second and num_bad_images.
    """
    from training.models.outputs import ImagePass, compute_outputs

    data, evaluation = arguments
    bad_images, started = BadImages(data.max_bad_images), time.perf_counter()
    kept, logits = compute_outputs(
        lambda pixel_values: model(pixel_values=pixel_values).logits,
        faces,
        processor,
        ImagePass(evaluation.per_device_eval_batch_size, data.num_workers, bad_images, device),
        title="evaluating",
    )
    seconds = time.perf_counter() - started
    return kept, logits.numpy(), {"images_per_second": len(kept) / seconds, "num_bad_images": len(bad_images.known)}


def training_seed(folder: Path) -> int | None:
    """The seed in the metrics.json of the classifier's folder. None where no file says it."""
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8")).get("seed")
    except (OSError, ValueError, AttributeError):
        return None
