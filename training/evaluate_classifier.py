"""
Evaluates a saved expression classifier on a split and writes metrics.json.

    python training/evaluate_classifier.py --model FOLDER --dataset FACES --eval_split test --output_dir OUT

The picture goes through the model's own image processor. Read a test split once, with this; choose on validation.
"""

from dataclasses import asdict, dataclass, field

from training.face_data import DatasetArguments, open_faces
from training.model_setup import load_classifier
from training.script_arguments import check_range, parse_arguments, run_main


@dataclass
class EvaluationArguments:
    """The evaluation."""

    model: str = field(default="", metadata={"help": "folder or Hub id of a classifier"})
    output_dir: str = field(default="", metadata={"help": "new folder for metrics.json"})
    eval_dataset: str | None = field(default=None, metadata={"help": "where --eval_split is; default --dataset"})
    eval_split: str = field(default="validation", metadata={"help": "split to evaluate"})
    per_device_eval_batch_size: int = field(default=256, metadata={"help": "faces a forward pass"})
    seed: int = field(default=0, metadata={"help": "noted in metrics.json; nothing is drawn"})

    def __post_init__(self):
        check_range("per_device_eval_batch_size", self.per_device_eval_batch_size, 1)


def main(argv=None) -> None:
    data, evaluation = parse_arguments((DatasetArguments, EvaluationArguments), argv, __doc__)
    from training.run_state import prepare_output_dir

    output_dir = prepare_output_dir(evaluation.output_dir, resume=False)
    faces = open_faces(data, evaluation.eval_dataset or data.dataset, evaluation.eval_split, with_labels=True)
    model, processor, device = load_classifier(evaluation.model)
    evaluate(model, processor, device, faces, data, evaluation, output_dir)


def evaluate(model, processor, device, faces, data, evaluation, output_dir) -> dict:
    """Writes and returns metrics.json's content."""
    import time

    from training.features import BadImageCount, compute_outputs
    from training.fer_datasets import match_labels
    from training.run_metrics import classification_measures, measures_without_repeats, print_measures, write_metrics

    class_names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    labels = match_labels(faces.class_names, faces.labels, class_names)
    bad_images, started = BadImageCount(data.max_bad_images), time.perf_counter()
    kept, logits = compute_outputs(
        lambda pixel_values: model(pixel_values).logits,
        faces,
        processor,
        evaluation.per_device_eval_batch_size,
        data.num_workers,
        bad_images,
        device,
        title="evaluating",
    )
    seconds, predictions = time.perf_counter() - started, logits.argmax(1).numpy()
    metrics = write_metrics(
        output_dir / "metrics.json",
        classification_measures(labels[kept], predictions, class_names),
        split=evaluation.eval_split,
        protocol="evaluation of a saved classifier, one pass over the split, nothing chosen",
        processor=processor,
        model=evaluation.model,
        seed=evaluation.seed,
        images_per_second=len(kept) / seconds,
        num_bad_images=bad_images.seen,
        dataset={"source": faces.source, "fingerprint": faces.fingerprint()},
        arguments={**asdict(data), **asdict(evaluation)},
        **measures_without_repeats(labels[kept], predictions, faces.repeats_training, kept),
    )
    print_measures(metrics)
    return metrics


if __name__ == "__main__":
    run_main("evaluate_classifier", main)
