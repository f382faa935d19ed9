"""Evaluating a classifier on one split: metrics.json, predictions.csv and confusion_matrix.png."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from training.data.expressions import match_labels
from training.data.faces import DatasetArguments, open_faces
from training.data.images import BadImages
from training.models.label_map import class_probabilities, map_outputs, measured_classes, read_label_map
from training.models.loading import check_model, load_classifier
from training.runtime.arguments import check_ranges, flag
from training.runtime.errors import InputError
from training.runtime.lineage import read_json
from training.runtime.run_folder import prepare_output_dir, write_json


@dataclass
class EvaluationArguments:
    """The evaluation."""

    model: str = flag("", "Folder or Hub id of a classifier.")
    output_dir: str = flag("", "New folder for metrics.json and the other files.")
    eval_dataset: str | None = flag(None, "Data set that holds --eval_split. The default is --dataset.")
    eval_split: str | None = flag(
        None, "Split to evaluate. The default is validation, or every image of class folders without splits."
    )
    label_map: str | None = flag(None, "JSON file that maps the model's labels to class names.")
    classes: list[str] | None = flag(
        None, "Keep the images of these classes, and leave out the others and those without a label."
    )
    detect: bool = flag(False, "Classify each picture's largest face. A picture without a face found counts as wrong.")
    margin: float = flag(0.0, "Widen the crop of --detect by this share of its side on each side.", -0.3, 10)
    fit_temperature: bool = flag(False, "Fit the temperature on these faces, and store it in the folder's config.json.")
    trust_remote_code: bool = flag(False, "Run the code in the model's folder.")
    per_device_eval_batch_size: int = flag(256, "Number of faces in a forward pass.", low=1)

    def __post_init__(self):
        check_ranges(self)
        if self.margin and not self.detect:
            raise InputError("--margin widens the crop that --detect makes; give --detect too, or leave it out.")
        if self.model:
            check_model(self.model)
        if self.fit_temperature and (self.detect or self.label_map or not (Path(self.model) / "config.json").is_file()):
            raise InputError("--fit_temperature takes a folder, and neither --detect nor --label_map.")


def evaluate(data: DatasetArguments, evaluation: EvaluationArguments) -> dict:
    """
    Evaluates a classifier and writes the three files to `evaluation.output_dir`, which must be new or empty.

    Returns:
        The content of metrics.json.
    Raises:
        InputError: a label map, folder, data set or model that cannot be used.
    """
    label_map = read_label_map(evaluation.label_map)
    output_dir = prepare_output_dir(evaluation.output_dir, resume=False)
    dataset, split = evaluation.eval_dataset or data.dataset, evaluation.eval_split or "validation"
    whole = evaluation.eval_split is None
    faces = open_faces(data, dataset, split, with_labels=True, whole=whole, classes=evaluation.classes)
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
    from training.models.found_faces import NO_FACE

    model, processor, device = load_classifier(evaluation.model, evaluation.trust_remote_code)
    outputs = map_outputs(model.config.id2label, faces.class_names, label_map)
    names = measured_classes(outputs, faces.class_names)
    labels = match_labels(faces.class_names, faces.labels, names)
    lacking = describe_lacking_classes(labels, outputs, names)
    kept, logits, run_measures = compute_logits(model, processor, device, faces, (data, evaluation))
    labels, probabilities = labels[kept], class_probabilities(logits, outputs, names)
    if evaluation.detect:
        has_face = run_measures.pop("has_face")
        run_measures |= {"num_images_without_face": int((~has_face).sum()), "margin": evaluation.margin}
        if not has_face.all():  # a last class of predictions, which no image has as its label
            names = [*names, NO_FACE]
            probabilities = np.column_stack([probabilities * has_face[:, None], ~has_face])
    else:
        run_measures |= calibrate(evaluation, labels, lambda scale: class_probabilities(logits / scale, outputs, names))
    predictions = probabilities.argmax(1)
    metrics = write_metrics(
        output_dir / "metrics.json",
        classification_measures(labels, predictions, names, probabilities),
        split=faces.split,
        protocol=f"{describe_pass(evaluation)}, nothing chosen{lacking}",
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
    rows = [faces.row(index) for index in kept]
    write_predictions(output_dir / "predictions.csv", rows, labels, predictions)
    title, matrix = f"{len(kept)} images, accuracy {100 * metrics['accuracy']:.1f} %", metrics["confusion_matrix"]
    draw_confusion_matrix(output_dir / "confusion_matrix.png", matrix, names, title)
    print_measures(metrics)
    if evaluation.detect:
        print(f"no face was found in {metrics['num_images_without_face']} of them; these count as wrong")
    return metrics


def calibrate(evaluation: EvaluationArguments, labels: np.ndarray, probabilities_at) -> dict:
    """
    The calibration error under the temperature of config.json, which --fit_temperature fits and stores there first.

    Args:
        labels: (N,). probabilities_at: a temperature -> (N, classes).
    Returns:
        temperature and calibrated_expected_calibration_error; {} without a temperature.
    """
    from training.measuring.classification import classification_measures, fit_temperature

    path = Path(evaluation.model) / "config.json"
    config = read_json(path, optional=True)
    if evaluation.fit_temperature:
        with np.errstate(divide="ignore"):
            logits = np.log(probabilities_at(1.0)).clip(-1e4)
        config["temperature"] = fit_temperature(logits, labels)
        write_json(path, config)
    temperature = config.get("temperature", 1.0)
    if temperature == 1:
        return {}
    probabilities = probabilities_at(temperature)
    names = [str(i) for i in range(probabilities.shape[1])]
    error = classification_measures(labels, probabilities.argmax(1), names, probabilities)["expected_calibration_error"]
    return {"temperature": temperature, "calibrated_expected_calibration_error": error}


def describe_pass(evaluation: EvaluationArguments) -> str:
    """What was evaluated, for metrics.json."""
    detected = "; the largest face that the detector finds, no face counts as wrong" if evaluation.detect else ""
    chosen = f"; images of {', '.join(evaluation.classes)} alone" if evaluation.classes else ""
    return f"evaluation of a saved classifier, one pass over the split{chosen}{detected}"


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
        Indices (N,) and logits (N, outputs) of the readable faces, numpy; images_per_second and num_bad_images, and
        with --detect `has_face` (N,), whether there is a face.
    """
    from training.models.found_faces import LargestFace, logits_of, logits_of_found
    from training.models.outputs import ImagePass, compute_outputs

    data, evaluation = arguments
    bad_images, started = BadImages(data.max_bad_images), time.perf_counter()
    function = logits_of_found if evaluation.detect else logits_of
    kept, outputs = compute_outputs(
        lambda pixel_values: function(model, pixel_values),
        faces,
        LargestFace(processor, evaluation.margin) if evaluation.detect else processor,
        ImagePass(evaluation.per_device_eval_batch_size, data.num_workers, bad_images, device),
        title="evaluating",
    )
    seconds, logits = time.perf_counter() - started, outputs.numpy()
    measures = {"images_per_second": len(kept) / seconds, "num_bad_images": len(bad_images.known)}
    if evaluation.detect:
        measures["has_face"], logits = logits[:, 0] == 1, logits[:, 1:]
    return kept, logits, measures


def training_seed(folder: Path) -> int | None:
    """The seed in the metrics.json of the classifier's folder. None where no file says it."""
    return read_json(folder / "metrics.json", optional=True).get("seed")
