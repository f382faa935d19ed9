"""
Classifies pictures: images or folders to CSV or JSON.

    python training/predict.py MODEL IMAGE_OR_FOLDER... [--output FILE.csv|FILE.json]

One row a picture: its path, the expression, its probability, and the probability of every class.
"""

import csv
import io
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from training.data.images import BadImages
from training.models.loading import load_classifier
from training.runtime.arguments import check_range, parse_arguments, run_main
from training.runtime.errors import InputError
from training.runtime.run_folder import write_text


@dataclass
class PredictionArguments:
    """How."""

    output: str | None = field(default=None, metadata={"help": "a .csv or .json file; default CSV to standard output"})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "pictures a forward pass"})
    num_workers: int = field(default=0, metadata={"help": "processes that decode"})
    max_bad_images: int = field(default=0, metadata={"help": "pictures that may fail to decode (each is named)"})

    def __post_init__(self):
        check_range("per_device_eval_batch_size", self.per_device_eval_batch_size, 1)
        if self.output and Path(self.output).suffix not in (".csv", ".json"):
            raise InputError(f"--output {self.output} must end in .csv or .json.")
        if self.output and not Path(self.output).absolute().parent.is_dir():
            raise InputError(f"--output {self.output}: there is no folder {Path(self.output).parent}; make it first.")


def main(argv=None) -> None:
    positionals = (
        ("model", {"help": "folder or Hub id of a classifier"}),
        ("images", {"nargs": "+", "metavar": "IMAGE_OR_FOLDER", "help": "pictures, or folders of them"}),
    )
    arguments, where = parse_arguments((PredictionArguments,), argv, __doc__, positionals)
    from training.data.faces import image_faces

    faces = image_faces([Path(path) for path in where.images])
    model, processor, device = load_classifier(where.model)
    rows = predict(model, processor, device, faces, arguments)
    write_rows(rows, [model.config.id2label[i] for i in range(model.config.num_labels)], arguments.output)


def predict(model, processor, device, faces, arguments: PredictionArguments) -> list[dict]:
    """One mapping a readable picture: image, expression, probability, and class name to probability."""
    from training.models.outputs import ImagePass, compute_outputs

    kept, probabilities = compute_outputs(
        lambda pixel_values: model(pixel_values).logits.softmax(1),
        faces,
        processor,
        ImagePass(
            arguments.per_device_eval_batch_size, arguments.num_workers, BadImages(arguments.max_bad_images), device
        ),
        title="classifying",
    )
    rows, names = [], model.config.id2label
    for index, row in zip(kept.tolist(), probabilities.tolist(), strict=True):
        best = max(range(len(row)), key=row.__getitem__)
        by_class = {names[i]: round(p, 6) for i, p in enumerate(row)}
        rows.append(
            {"image": faces.name(index), "expression": names[best], "probability": round(row[best], 6)} | by_class
        )
    return rows


def write_rows(rows: list[dict], class_names: list[str], output: str | None) -> None:
    """CSV to standard output, or a .csv or .json file by a temporary name."""
    text = io.StringIO()
    if output and output.endswith(".json"):
        json.dump(rows, text, indent=2)
    else:
        writer = csv.DictWriter(text, ["image", "expression", "probability", *class_names], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    if output:
        write_text(Path(output), text.getvalue())
    else:
        sys.stdout.write(text.getvalue())


if __name__ == "__main__":
    run_main("predict", main)
