"""
The sections of a model card that hold figures: each a function of the facts alone, so that card_checks.py makes them
again and compares.
"""

import math
import re
import shlex

from training.publishing.card_facts import Facts
from training.runtime.public_paths import public

# Arguments that a card names, where the training had them.
SETTINGS = (
    *("view_size", "blur_sigma", "early_view_size", "early_epochs", "num_train_epochs", "per_device_train_batch_size"),
    *("base_learning_rate", "warmup_epochs", "layer_decay", "weight_decay", "labels", "label_smoothing"),
    *("teacher", "teacher_weight"),
    *("class_balance", "mixup_alpha", "rotation", "zoom", "shift", "jitter", "flip", "random_erasing", "ema_decay"),
    *("use_local_branch", "masking", "cache_features", "which", "estimate_batch_norm", "ferplus_protocol"),
    *("mixed_precision", "seed", "early_stopping_patience", "max_train_steps"),
)
EXPORTS = {"eager": "PyTorch, plain ResNet folder", "onnx": "ONNX", "int8": "ONNX, int8"}
EXPORTS_PLACE = (
    "The files are in `{folder}`, a folder of its own without custom code, where Transformers, optimum and"
    " transformers.js find them.\n\n"
)
FILTERS = {0: "nearest", 1: "Lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
HELD_BACK = "FER+'s test split is held back: it was not measured here."


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def fenced(command: str, width: int = 90) -> str:
    """A command as a block of the console, broken before its flags."""
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        if len(lines[-1]) + len(word) > width and word.startswith("--"):
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return "```console\n" + " \\\n".join(lines) + "\n```"


def table(header, rows) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def headline(facts: Facts) -> str:
    """One sentence for the summary, and the remarks that the folder has."""
    metrics = facts.metrics
    remarks = f" {metrics['remarks']}" if metrics.get("remarks") else ""
    if not facts.is_measured:
        return f"What it is worth for classifying expressions was not measured in this folder.{remarks}"
    how = "With a linear probe it names" if metrics.get("method") == "linear probe" else "It names"
    wanted = "the majority's expression" if facts.is_ferplus else "the labelled expression"
    return (
        f"{how} {wanted} for {percent(metrics['accuracy'])} of {metrics['num_images']:,} images of the"
        f" split `{metrics['split']}`; see Evaluation.{remarks}"
    )


def class_counts(facts: Facts) -> str:
    """How unequal the classes are, in numbers."""
    if not facts.is_measured:
        why = "" if facts.is_classifier else ": they are seen without labels"
        return f"How often each expression occurs in the training images was not counted{why}."
    per_class = facts.metrics["per_class"]
    counts = ", ".join(f"{name} {row['count']:,}" for name, row in per_class.items())
    present = [name for name, row in per_class.items() if row["count"]]
    most, fewest = (choose(present, key=lambda name: per_class[name]["count"]) for choose in (max, min))
    sentence = f"How often each class occurs among the images it was measured on: {counts}."
    if per_class[most]["count"] == per_class[fewest]["count"]:
        return sentence
    return (
        f"The classes are unequal, and what is rare is learnt from few examples. {sentence} Recall is"
        f" {percent(per_class[most]['recall'])} for the most frequent, {most}, and"
        f" {percent(per_class[fewest]['recall'])} for the rarest, {fewest}."
    )


def preprocessing(facts: Facts) -> str:
    """preprocessor_config.json in words and numbers."""
    values = facts.preprocessing
    size, mean, std = values["size"], values["image_mean"], values["image_std"]
    mean, std = (value if isinstance(value, list) else [value] for value in (mean, std))
    is_one_for_all = len(set(mean)) == len(set(std)) == 1
    mean, std = (value[:1] if is_one_for_all else value for value in (mean, std))
    gray = (
        " Colour is taken out: luminance (0.299 red + 0.587 green + 0.114 blue, ITU-R 601) in three equal channels."
        if values.get("do_grayscale")
        else ""
    )
    upright = "It is turned upright by its EXIF orientation and made 8-bit RGB (alpha is dropped)."
    if facts.is_plain:  # the stock image processor takes pictures as they lie
        upright = "The pipeline turns it upright by its EXIF orientation; it is made 8-bit RGB (alpha is dropped)."
    if facts.is_plain and facts.exports.get("fold_grayscale"):
        gray = (
            " The weights were trained on luminance (0.299 red + 0.587 green + 0.114 blue, ITU-R 601), and that mix is"
            " folded into the first convolution: the model takes a picture in colour and sees no colour in it. Training"
            " rounded that gray to 8 bits, which nothing does here: a colour picture's probabilities may move by two or"
            " three hundredths, and the first of two that are close may become the second."
        )
    means, stds = (", ".join(f"{value:.6g}" for value in numbers) for numbers in (mean, std))
    each = "each of the three channels" if is_one_for_all else "red, green and blue"
    return (
        "`preprocessor_config.json` holds this; the pipeline does it by itself. The picture is one face, cropped, of"
        f" any size and mode. {upright}{gray}"
        f" The whole picture is resized to {size['height']} x {size['width']} pixels"
        f" ({FILTERS.get(values['resample'], 'other')} filter, the aspect ratio not kept). Values are multiplied by"
        f" {values['rescale_factor']:.6g} to lie in 0 to 1, then the mean {means} is subtracted and the result divided"
        f" by the standard deviation {stds}, for {each}."
    )


def training_procedure(facts: Facts) -> str:
    """Recipe, command and settings of each training."""
    parts = []
    for number, training in enumerate(facts.recipe, 1):
        arguments = training["arguments"]
        is_ferplus = "ferplus" in (training.get("data_format"), arguments.get("data_format"))
        idle = {"ferplus_protocol": not is_ferplus, "teacher_weight": not arguments.get("teacher")}
        known = {name: arguments.get(name) for name in SETTINGS if not idle.get(name)}
        settings = ", ".join(f"`{name}` {value}" for name, value in known.items() if value is not None)
        versions = ", ".join(f"{name} {version}" for name, version in training["versions"].items())
        fingerprint = training["dataset_fingerprint"]
        if isinstance(fingerprint, dict):
            fingerprint = fingerprint.get("train")
        parts.append(
            f"{number}. {training['method'].capitalize()} ({'; '.join(training_notes(training))}):\n\n"
            f"{fenced(training['command'])}\n\n"
            f"Settings: {settings}. Versions: {versions}. Fingerprint of the training images: {fingerprint}."
        )
    return "\n\n".join(parts)


def training_notes(training: dict) -> list[str]:
    """What its command does not say: its recipe, how many images it had, how far it went and what ended it."""
    arguments = training["arguments"]
    notes = [f"recipe `{training['recipe']}`" if training["recipe"] else "no recipe; all its flags stand here"]
    if training["num_images"]:
        notes.append(f"{training['num_images']:,} images")
    if training.get("epochs") and arguments.get("num_train_epochs"):
        notes.append(f"{round(training['epochs'], 2):g} of {arguments['num_train_epochs']} planned epochs done")
    if training.get("epoch"):
        notes.append(f"epoch {training['epoch']} was kept")
    if arguments.get("max_train_minutes"):
        start = "its last start, from a checkpoint," if arguments.get("resume_from_checkpoint") else "the run"
        notes.append(f"{start} was given at most {arguments['max_train_minutes']:g} minutes")
    return notes


def evaluation(facts: Facts) -> str:
    """Every figure of metrics.json."""
    if not facts.is_measured:
        return "\n\n".join([not_measured(facts), *([HELD_BACK] if facts.is_ferplus else [])])
    metrics, source = facts.metrics, facts.metrics.get("dataset") or {}
    again = metrics.get("command") or facts.recipe[-1]["command"]
    parts = [
        f"Split `{metrics['split']}` of {source.get('source', 'a data set')} (fingerprint"
        f" {source.get('fingerprint', 'not noted')}), {metrics['num_images']:,} images. Protocol:"
        f" {metrics['protocol']}. {choices(metrics)}"
        + (f" {HELD_BACK}" if facts.is_ferplus and metrics["split"] != "test" else ""),
        table(["measure", "value"], measures(metrics)),
        "Each class:",
        table(
            ["expression", "precision", "recall", "F1", "images"],
            [
                [
                    name,
                    percent(row["precision"]),
                    percent(row["recall"]) + between(row, "recall"),
                    percent(row["f1"]),
                    f"{row['count']:,}",
                ]
                for name, row in metrics["per_class"].items()
            ],
        ),
        "Confusion matrix, in images: a row is the labelled expression, a column the predicted one.",
        table(
            ["", *metrics["per_class"]],
            [[name, *row] for name, row in zip(metrics["per_class"], metrics["confusion_matrix"], strict=True)],
        ),
        f"The same figures again (seed {metrics['seed']}):\n\n{fenced(again)}",
    ]
    return "\n\n".join(parts)


def choices(metrics: dict) -> str:
    """How much was chosen on the split that was measured, and on others before."""
    sentence = f"Choices made on this split (epochs, recipes): {metrics.get('choices', 0)}."
    for place in metrics.get("choices_elsewhere", []):
        sentence += f" Choices made on split `{place['split']}` of {place['source']}: {place['choices']}."
    return sentence


def between(found: dict, name: str) -> str:
    """The interval of a measure in words; "" where it has none."""
    low, high = found.get(f"{name}_interval", (math.nan, math.nan))
    return "" if math.isnan(low) else f" (95 % interval {percent(low)} to {percent(high)})"


def measures(metrics: dict) -> list[list[str]]:
    """The rows of the table of measures."""
    rows = [["accuracy", percent(metrics["accuracy"]) + between(metrics, "accuracy")]]
    if "accuracy_without_repeats" in metrics:
        rows.append(
            [
                f"accuracy on the {metrics['num_images_without_repeats']:,} images that repeat no training image",
                percent(metrics["accuracy_without_repeats"]) + between(metrics, "accuracy_without_repeats"),
            ]
        )
    rows.append(["mean class accuracy (mean recall)", percent(metrics["mean_class_accuracy"])])
    rows.append(["macro F1", percent(metrics["macro_f1"])])
    if "expected_calibration_error" in metrics:
        rows.append(["expected calibration error (15 bins)", percent(metrics["expected_calibration_error"])])
    return rows


def not_measured(facts: Facts) -> str:
    """What a pretraining alone can say: the terms of its loss at the end. Of a bare export, where to look."""
    sentence = "Classification was not measured: this is an encoder trained without labels."
    if facts.is_classifier:
        sentence = f"It was not measured in this folder{'; see Exports' if facts.exports else ''}."
    training = facts.recipe[-1]
    if facts.is_classifier or not training["losses"]:
        return sentence
    rows = [[name.replace("_", " "), f"{value:.4g}"] for name, value in training["losses"].items() if name != "step"]
    return (
        f"{sentence} Its loss and the four terms of it, unweighted, at step {training['losses']['step']:,} (mean since"
        f" the line before in the log):\n\n{table(['term', 'value'], rows)}\n\n"
        f"The same figures again, in its metrics.jsonl:\n\n{fenced(training['command'])}"
    )


def exports(facts: Facts) -> str:
    """exports.json as a table."""
    found = facts.exports
    if not found:
        return "None is published here; `python training/export.py` makes a plain ResNet folder, ONNX and int8."
    rows, threads, on = [], found["threads"], found["measured_on"]
    for name, title in EXPORTS.items():
        if name in found:
            row = found[name]
            accuracy = percent(row["accuracy"]) if "accuracy" in row else "not measured"
            times = [f"{row[f'milliseconds_batch_{n}']:.2f} ({row[f'ratio_to_eager_batch_{n}']:.2f})" for n in (1, 32)]
            size = f"{row['size_bytes'] / 1e6:.2f}"
            rows.append([title, f"`{row['file']}`", size, percent(row["agreement"]), accuracy, *times])
    header = ["export", "file", "MB", "same top label as PyTorch", "accuracy", "ms, batch 1", "ms, batch 32"]
    same = percent(found["plain_against_simfle"]["agreement"])
    compared = f"The plain folder gives the top label of this one for {same} of them."
    if facts.is_plain:
        compared = f"The top label is that of `{found['model']}`, of which this folder was made, for {same} of them."
    where = EXPORTS_PLACE.format(folder=found["folder"]) if "folder" in found else ""
    calibration = found.get("int8", {}).get("calibration")
    calibrated = f" int8 was calibrated on {calibration['num_images']:,} training images." if calibration else ""
    return (
        f"{where}{table(header, rows)}\n\n"
        f"Times are medians on {threads} threads, in brackets as a share of PyTorch's. Agreement and accuracy: split"
        f" {on['split']} of {on['source']}, {on['num_images']:,} pictures. {compared}{calibrated}"
        f"\n\n{fenced(public(found['command']))}"
    )


def environmental_impact(facts: Facts) -> str:
    """Time and hardware; energy as an estimate that says what it assumes, or not at all."""
    hours = [(training["method"], training["hours"]) for training in facts.recipe]
    lines = [f"- {name}: {'time not measured' if h is None else f'{h:.2f} hours'}" for name, h in hours]
    known = [h for _, h in hours if h is not None]
    hardware, watts = facts.metrics.get("hardware"), facts.metrics.get("assumed_watts")
    energy = "not measured"
    if watts and len(known) == len(hours):
        energy = (
            f"not measured; an estimate is {sum(known):.2f} h x {watts:g} W = {sum(known) * watts / 1000:.3f} kWh, if"
            f" the machine drew {watts:g} W all the time, which is an assumption"
        )
    return "\n".join([*lines, f"- hardware: {hardware or 'not noted'}", f"- energy: {energy}"])


# Sections that are nothing but figures, and sentences within others.
FIGURES = {
    "Preprocessing": preprocessing,
    "Training procedure": training_procedure,
    "Evaluation": evaluation,
    "Exports": exports,
    "Environmental impact": environmental_impact,
}
SENTENCES = {"Summary": headline, "Bias, risks and limitations": class_counts}


def read_section(card: str, heading: str) -> str | None:
    """What stands under a heading of second rank, or None."""
    found = re.search(rf"^## {re.escape(heading)}\n+(.*?)\n*(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    return found[1] if found else None
