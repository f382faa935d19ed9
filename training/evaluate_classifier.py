"""
Evaluates an expression classifier on a split: metrics.json, predictions.csv and confusion_matrix.png.

    python training/evaluate_classifier.py --model FOLDER --dataset FACES --eval_split test --output_dir OUT

The picture goes through the model's own image processor. Read a test split once, with this; choose on validation.

Any image-classification model will do. Its labels are matched to the classes of the data by name and by the usual
synonyms (happy, sad, ...); a JSON file given by --label_map says the rest, by label or number: {"LABEL_0": "neutral",
"7": "anger", "LABEL_8": null}; null takes an output out of the choice. Images of an expression that the model has no
output for (contempt, for a model of seven) are counted wrong, or left out by --leave_out_unknown_classes; metrics.json
says which.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from training.data.faces import DatasetArguments, open_faces
from training.data.images import BadImages
from training.models.loading import check_model, load_classifier
from training.runtime.arguments import check_range, parse_arguments, run_main
from training.runtime.errors import InputError


@dataclass
class EvaluationArguments:
    """The evaluation."""

    model: str = field(default="", metadata={"help": "folder or Hub id of a classifier"})
    output_dir: str = field(default="", metadata={"help": "new folder for metrics.json and the other files"})
    eval_dataset: str | None = field(default=None, metadata={"help": "where --eval_split is; default --dataset"})
    eval_split: str | None = field(
        default=None, metadata={"help": "split to evaluate; default validation, or all of class folders without splits"}
    )
    label_map: str | None = field(default=None, metadata={"help": "JSON file of the model's labels to class names"})
    leave_out_unknown_classes: bool = field(
        default=False, metadata={"help": "images of classes that the model lacks are left out, not counted wrong"}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "run the code that lies beside the model"})
    per_device_eval_batch_size: int = field(default=256, metadata={"help": "faces a forward pass"})
    seed: int = field(default=0, metadata={"help": "noted in metrics.json; nothing depends on it"})

    def __post_init__(self):
        check_range("per_device_eval_batch_size", self.per_device_eval_batch_size, 1)
        if self.model:
            check_model(self.model)


def main(argv=None) -> None:
    data, evaluation = parse_arguments((DatasetArguments, EvaluationArguments), argv, __doc__)
    from training.models.label_map import read_label_map
    from training.runtime.run_folder import prepare_output_dir

    label_map = read_label_map(evaluation.label_map)
    output_dir = prepare_output_dir(evaluation.output_dir, resume=False)
    dataset = evaluation.eval_dataset or data.dataset
    split, whole = evaluation.eval_split or "validation", evaluation.eval_split is None
    faces = open_faces(data, dataset, split, with_labels=True, whole=whole)
    model, processor, device = load_classifier(evaluation.model, evaluation.trust_remote_code)
    evaluate(model, processor, device, faces, label_map, data, evaluation, output_dir)


def evaluate(model, processor, device, faces, label_map, data, evaluation, output_dir) -> dict:
    """Writes the three files, and returns metrics.json's content."""
    from modeling_simfle.configuration_simfle import weights_sha256
    from training.data.fer_datasets import match_labels
    from training.measuring.classification import (
        classification_measures,
        draw_confusion_matrix,
        measures_without_repeats,
        print_measures,
        write_metrics,
        write_predictions,
    )
    from training.models.label_map import class_probabilities, map_outputs, measured_classes

    outputs = map_outputs(model.config.id2label, faces.class_names, label_map)
    names = measured_classes(outputs, faces.class_names)
    labels = match_labels(faces.class_names, faces.labels, names)
    rows, unknown = choose_rows(labels, outputs, names, evaluation.leave_out_unknown_classes)
    kept, logits, more = run_model(model, processor, device, faces.select(rows), data, evaluation)
    kept = rows[kept]
    labels, probabilities = labels[kept], class_probabilities(logits, outputs, names)
    predictions = probabilities.argmax(1)
    metrics = write_metrics(
        output_dir / "metrics.json",
        classification_measures(labels, predictions, names, probabilities),
        split=faces.split,
        protocol="evaluation of a saved classifier, one pass over the split, nothing chosen" + unknown,
        processor=processor,
        model=evaluation.model,
        seed=evaluation.seed,
        method="evaluation",
        label_percent=100,
        dataset={"source": faces.source, "fingerprint": faces.fingerprint()},
        choices=0,
        model_labels={label: outputs[i] for i, label in model.config.id2label.items()},
        num_images_left_out=len(faces) - len(rows),
        weights_sha256=weights_sha256(Path(evaluation.model)),  # {} for a Hub id
        arguments={**asdict(data), **asdict(evaluation)},
        **more,
        **measures_without_repeats(labels, predictions, faces.repeats_training, kept),
    )
    write_predictions(output_dir / "predictions.csv", kept, labels, predictions)
    title = f"{metrics['num_images']} images, accuracy {100 * metrics['accuracy']:.1f} %"
    draw_confusion_matrix(output_dir / "confusion_matrix.png", metrics["confusion_matrix"], names, title)
    print_measures(metrics)
    return metrics


def choose_rows(labels, outputs, names, leave_out: bool):
    """
    The images to measure, and a clause about classes without an output ("" where there are none), printed too.

    Raises:
        ValueError: the model has an output for none of the images.
    """
    import numpy as np

    known = np.array([name in outputs for name in names])[labels]
    if not known.any():
        raise InputError(f"the model has outputs for {', '.join(filter(None, outputs))}: none of the images' classes.")
    if known.all():
        return np.arange(len(labels)), ""
    lacking = ", ".join(f"{names[i]} ({(labels == i).sum()} images)" for i in np.unique(labels[~known]))
    clause = f"; the model has no output for {lacking}: {'left out' if leave_out else 'counted wrong'}"
    print(clause.removeprefix("; "))
    return np.flatnonzero(known) if leave_out else np.arange(len(labels)), clause


def run_model(model, processor, device, faces, data, evaluation):
    """Indices (N,) and logits (N, outputs), numpy, of the readable faces; images_per_second and num_bad_images."""
    import time

    from training.models.outputs import compute_outputs

    bad_images, started = BadImages(data.max_bad_images), time.perf_counter()
    kept, logits = compute_outputs(
        lambda pixel_values: model(pixel_values=pixel_values).logits,
        faces,
        processor,
        evaluation.per_device_eval_batch_size,
        data.num_workers,
        bad_images,
        device,
        title="evaluating",
    )
    seconds = time.perf_counter() - started
    return kept, logits.numpy(), {"images_per_second": len(kept) / seconds, "num_bad_images": len(bad_images.known)}


if __name__ == "__main__":
    run_main("evaluate_classifier", main)
