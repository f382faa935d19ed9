"""
Measures the accuracy and mean recall of classifiers on photographs that are framed, turned or damaged in several ways.

    python training/benchmarks/robustness.py MODEL... --dataset PHOTOS [--label_column weak_label] [--output_json FILE]

The largest face of each photograph is found once. Every condition changes the crop of this face. Each model is compared
with the first one, with 95 % intervals from a paired bootstrap over the photographs. "all margins" is the mean over the
margins.
"""

import argparse
import io
import json
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from training.runtime.arguments import run_main
from training.runtime.errors import InputError

MARGINS = (-0.1, 0.0, 0.1, 0.2)
SIDE = 96  # px, of a crop that is blurred or compressed
DRAWS = 2000
EYES, MOUTH = (0.1, 0.25, 0.9, 0.5), (0.2, 0.65, 0.8, 0.95)  # left, top, right, bottom, of the crop's side
ALL_MARGINS = "all margins"


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="folders or Hub ids of classifiers; the first is compared with")
    parser.add_argument("--dataset", required=True, help="labelled photographs, as evaluate_classifier.py takes them")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--label_column", default="label")
    parser.add_argument("--output_json", type=Path, help="where the figures go, beside the table")
    arguments = parser.parse_args(argv)
    figures = measure(arguments)
    print_table(figures)
    if arguments.output_json:
        arguments.output_json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def margin_crop(margin: float, photo, face):
    from modeling_simfle.face_detection_simfle import crop_face

    return crop_face(photo, face, margin)


def rotated(degrees: float, photo, face):
    """Returns the crop of the photograph after a rotation about the face."""
    wide = margin_crop(0.25, photo, face)  # wide enough for the corners of the turned crop
    side = round(wide.width / 1.5)
    left = (wide.width - side) // 2
    return wide.rotate(degrees, Image.Resampling.BILINEAR).crop((left, left, left + side, left + side))


def small(photo, face, side: int = SIDE):
    return margin_crop(0, photo, face).resize((side, side), Image.Resampling.BILINEAR)


def blurred(radius: float, photo, face):
    return small(photo, face).filter(ImageFilter.GaussianBlur(radius))


def compressed(quality: int, photo, face):
    file = io.BytesIO()
    small(photo, face).save(file, "JPEG", quality=quality)
    return Image.open(file)


def brightened(factor: float, photo, face):
    return ImageEnhance.Brightness(margin_crop(0, photo, face)).enhance(factor)


def covered(part: tuple, photo, face):
    crop = margin_crop(0, photo, face).copy()
    crop.paste((127, 127, 127), tuple(round(place * crop.width) for place in part))
    return crop


CONDITIONS = {
    **{f"margin {margin:g}": partial(margin_crop, margin) for margin in MARGINS},
    **{f"rotated by {degrees} degrees": partial(rotated, degrees) for degrees in (-30, -15, 15, 30)},
    **{f"blur of {radius} px at {SIDE} px": partial(blurred, radius) for radius in (1, 2)},
    **{f"JPEG quality {quality} at {SIDE} px": partial(compressed, quality) for quality in (30, 10)},
    **{f"brightness times {factor}": partial(brightened, factor) for factor in (0.4, 1.8)},
    "eyes covered": partial(covered, EYES),
    "mouth covered": partial(covered, MOUTH),
    "24 px": partial(small, side=24),
}


def measure(arguments) -> dict:
    """Returns {"conditions": {name: {model: {accuracy, mean_recall, difference, interval}}}, ...}."""
    from training.data.expressions import match_labels
    from training.data.faces import DatasetArguments, open_faces
    from training.models.loading import load_classifier

    data = DatasetArguments(dataset=arguments.dataset, label_column=arguments.label_column)
    faces = open_faces(data, data.dataset, arguments.split, with_labels=True)
    photos, kept = find_faces(faces)
    predictions: dict[str, dict[str, np.ndarray]] = {name: {} for name in CONDITIONS}
    labels: np.ndarray | None = None
    for source in arguments.models:
        model, processor, device = load_classifier(source)
        names = [model.config.id2label[index] for index in range(model.config.num_labels)]
        if labels is None:
            classes, labels = names, match_labels(faces.class_names, faces.labels[kept], names)
        elif names != classes:
            raise InputError(f"{source} knows {', '.join(names)}, and {arguments.models[0]} {', '.join(classes)}.")
        for name, change in CONDITIONS.items():
            images = [change(photo, face) for photo, face in photos]
            predictions[name][source] = classify(model, processor, device, images)
    about = {"models": arguments.models, "dataset": data.dataset, "split": arguments.split}
    about |= {"fingerprint": faces.fingerprint(), "num_images": len(photos), "without_face": len(faces) - len(photos)}
    return {**about, "conditions": compare(labels, predictions)}


def find_faces(faces):
    """Returns a pair (photograph, its largest face) for each photograph with a face, and the indices (N,) of these."""
    from modeling_simfle.face_detection_simfle import detect_faces

    photos, kept = [], []
    for index in range(len(faces)):
        photo = faces.image(index)
        if found := detect_faces(photo, max_faces=1):
            photos.append((photo, found[0]))
            kept.append(index)
    return photos, np.array(kept, int)


def classify(model, processor, device, images: list) -> np.ndarray:
    """Classes (N,)."""
    import torch

    classes = []
    with torch.inference_mode():
        for first in range(0, len(images), 64):
            inputs = processor(images[first : first + 64], return_tensors="pt").to(device)
            classes.append(model(**inputs).logits.argmax(1).cpu().numpy())
    return np.concatenate(classes)


def compare(labels: np.ndarray, predictions: dict) -> dict:
    """
    Args:
        labels: (N,). predictions: {condition: {model: (N,)}}.
    Returns:
        {condition: {model: {accuracy, mean_recall, difference (of mean recalls), interval}}}, "all margins" among them.
    """
    generator = np.random.default_rng(0)
    draws = generator.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), DRAWS)  # (draws, N)
    draws = np.concatenate([np.ones((1, len(labels)), int), draws])  # the first one is the photographs themselves
    members = np.eye(labels.max() + 1)[labels][:, np.unique(labels)]  # (N, classes that occur)
    recalls, accuracies = {}, {}
    for name, by_model in predictions.items():
        right = {model: (predicted == labels)[:, None] for model, predicted in by_model.items()}
        accuracies[name] = {model: float(values.mean()) for model, values in right.items()}
        recalls[name] = {
            model: np.nanmean(draws @ (members * values) / np.maximum(draws @ members, 1), 1)
            for model, values in right.items()
        }  # (1 + draws,)
    margins = [name for name in predictions if name.startswith("margin ")]
    models = list(predictions[margins[0]])
    for table in (accuracies, recalls):
        table[ALL_MARGINS] = {model: np.mean([table[name][model] for name in margins], 0) for model in models}
    return {
        name: {
            model: {
                "accuracy": float(accuracies[name][model]),
                "mean_recall": float(values[0]),
                "difference": float(values[0] - by_model[models[0]][0]),
                "interval": np.percentile(values[1:] - by_model[models[0]][1:], [2.5, 97.5]).tolist(),
            }
            for model, values in by_model.items()
        }
        for name, by_model in recalls.items()
    }


def print_table(figures: dict) -> None:
    """Prints a Markdown table: accuracy and mean recall in percent, differences of mean recall in points."""
    models = figures["models"]
    print("| condition |" + "".join(f" {Path(model).name}: accuracy, mean recall |" for model in models))
    print("| --- |" + " --- |" * len(models))
    for name, by_model in figures["conditions"].items():
        cells = []
        for model in models:
            row = by_model[model]
            cell = f" {100 * row['accuracy']:.1f}, {100 * row['mean_recall']:.1f}"
            if model != models[0]:
                low, high = (100 * bound for bound in row["interval"])
                cell += f" ({100 * row['difference']:+.1f} [{low:.1f}, {high:.1f}])"
            cells.append(f"{cell} |")
        print(f"| {name} |" + "".join(cells))
    print(f"{figures['num_images']} photographs; in {figures['without_face']} more no face was found")


if __name__ == "__main__":
    run_main("robustness", main)
