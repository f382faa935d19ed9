"""Exports a classifier as a plain folder, as ONNX and as int8, and measures each."""

import os
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from training.data.faces import DatasetArguments, image_faces, open_faces
from training.data.images import BadImages
from training.runtime.arguments import check_ranges, flag
from training.runtime.errors import InputError
from training.runtime.lineage import make_lineage
from training.runtime.run_folder import flush, versions, write_json

FILES = {"eager": "model.safetensors", "onnx": "onnx/model.onnx", "int8": "onnx/model_quantized.onnx"}
EXTRAS = ("onnx", "onnxscript", "onnxruntime")
NUM_DRAWN_FACES = 64  # for the comparison without --dataset
ACCURACY_LIMIT = 0.005  # a larger loss of int8 gets a warning


@dataclass
class ExportArguments:
    """Options of the export."""

    eval_dataset: str | None = flag(None, "Data set that holds --eval_split. The default is --dataset.")
    eval_split: str = flag("validation", "Split to measure agreement and accuracy on.")
    num_calibration_images: int = flag(512, "Number of training faces for the int8 calibration.", low=1)
    reduce_range: bool = flag(
        True, "Use 7-bit weights in int8. Sums of 8-bit weights can overflow on x86 processors without VNNI."
    )
    per_device_eval_batch_size: int = flag(32, "Number of faces in a forward pass.", low=1)
    threads: int = flag(2, "Number of threads while the exports are timed.", low=1)
    timing_rounds: int = flag(20, "Number of rounds of the timing.", low=1)
    overwrite: bool = flag(False, "Replace an earlier export; other files stay.")

    def __post_init__(self):
        check_ranges(self)


def run_export(source: str, output_dir: Path, command: str, data: DatasetArguments, arguments: ExportArguments) -> None:
    """
    Writes the complete export of a classifier, or nothing.

    Args:
        source: folder or Hub id of a SimFLE classifier. command: as it was typed, for exports.json.
    """
    from training.models.loading import check_model

    if output_dir.is_file() or (output_dir.is_dir() and any(output_dir.iterdir()) and not arguments.overwrite):
        raise InputError(f"{output_dir} is a file or not empty; give a new folder, or --overwrite an earlier export.")
    check_model(source, flag="")
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{output_dir.name}.tmp", dir=output_dir.parent) as folder:
        exports = export(source, Path(folder), data, arguments)
        lineage = make_lineage("export", command, None, [source])
        write_json(Path(folder) / "exports.json", {**exports, "command": command, "lineage": lineage})
        move_files(Path(folder), output_dir)
    print_exports(exports, output_dir)


def export(source: str, folder: Path, data: DatasetArguments, arguments: ExportArguments) -> dict:
    """Writes every file of the export into an empty folder, and returns the content of exports.json."""
    from modeling_simfle.hub_folder_simfle import file_sha256, weights_sha256
    from training.exporting.onnx_files import (
        eager_classifier,
        load_plain_folder,
        onnx_classifier,
        save_plain_folder,
        write_onnx,
    )
    from training.models.loading import load_classifier

    check_extras()
    simfle, simfle_processor, _ = load_classifier(source)
    if simfle.config.model_type != "simfle":
        raise InputError(f"{source} holds a {simfle.config.model_type} classifier; give a SimFLE one.")
    save_plain_folder(simfle.cpu(), simfle_processor, folder)
    model, processor = load_plain_folder(folder)
    (folder / "onnx").mkdir()
    write_onnx(model, folder / FILES["onnx"], processor.size["height"], halves=True)
    calibration = calibrate(folder, model, processor, data, arguments)
    classifiers = {"eager": eager_classifier(model)}
    for name in ("onnx", "int8"):
        if (folder / FILES[name]).exists():
            classifiers[name] = onnx_classifier(folder / FILES[name], arguments.threads)
    rows = compare(classifiers, processor, simfle, simfle_processor, data, arguments)
    add_times(rows, classifiers, processor.size["height"], arguments)
    for name in classifiers:
        file = folder / FILES[name]
        about = {"file": FILES[name], "size_bytes": file.stat().st_size, "sha256": file_sha256(file)}
        rows[name] = {**about, **rows[name]}
    if calibration:
        rows["int8"]["calibration"] = calibration
    return {
        **rows,
        "threads": arguments.threads,
        "model": source,
        "model_weights_sha256": weights_sha256(Path(source)),  # {} for a Hub id
        "fold_grayscale": simfle_processor.do_grayscale,
        "versions": {**versions(), **{name: metadata.version(name) for name in EXTRAS}},
    }


def check_extras() -> None:
    """Raises InputError if the extra `export` is not installed."""
    missing = [name for name in EXTRAS if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{', '.join(missing)} is not installed; in a clone of the repository, pip install -e '.[training,export]'."
        )


def calibrate(folder: Path, model, processor, data: DatasetArguments, arguments: ExportArguments) -> dict | None:
    """Writes the int8 file and returns how it was calibrated. Without --dataset it writes no file and returns None."""
    import numpy as np

    from training.exporting.onnx_files import write_int8, write_onnx
    from training.models.outputs import ImagePass, ProcessedFaces, batches_of

    if not data.dataset:
        print("no --dataset: no int8 file, because it needs training faces, and no accuracy")
        return None
    faces = open_faces(data, data.dataset, data.train_split, with_labels=False)
    wanted = min(len(faces), arguments.num_calibration_images)
    chosen = ProcessedFaces(faces.select(np.linspace(0, len(faces) - 1, wanted).astype(int)), processor)
    batch_size, bad_images = min(wanted, arguments.per_device_eval_batch_size), BadImages(data.max_bad_images)
    images = ImagePass(batch_size, data.num_workers, bad_images, "cpu")
    batches = [pixels for _, pixels in batches_of(chosen, images)]
    batches = [pixels for pixels in batches if len(pixels) == batch_size]  # histograms take batches of one size
    if not batches:
        raise InputError(f"{faces.source} has fewer than {batch_size} readable faces; lower the batch size.")
    with tempfile.TemporaryDirectory() as whole:  # BatchNorm folded, as the quantiser wants it
        write_onnx(model, Path(whole) / "model.onnx", processor.size["height"])
        write_int8(Path(whole) / "model.onnx", folder / FILES["int8"], batches, arguments.reduce_range)
    return {
        "calibration_method": "percentile",
        "reduce_range": arguments.reduce_range,
        "num_images": batch_size * len(batches),
        "dataset": {"source": faces.source, "split": faces.split, "fingerprint": faces.fingerprint()},
    }


def compare(classifiers, processor, simfle, simfle_processor, data: DatasetArguments, arguments) -> dict:
    """
    Measures the agreement of every classifier with eager, and of eager with the original under its own processor. With
    a data set it measures the accuracy too.

    Args:
        classifiers: maps a name, "eager" among them, to a function of pixel_values. simfle: the original model.
    Returns:
        A row for each classifier by its name, the row "plain_against_simfle" of the original, and "measured_on".
    """
    from training.data.drawn_faces import write_image_folder
    from training.data.expressions import match_labels
    from training.exporting.measures import agreement, compute_logits
    from training.exporting.onnx_files import eager_classifier

    dataset = arguments.eval_dataset or data.dataset
    options = (arguments.per_device_eval_batch_size, data.num_workers, data.max_bad_images)
    with tempfile.TemporaryDirectory() as folder:
        if dataset:
            faces = open_faces(data, dataset, arguments.eval_split, with_labels=True)
        else:
            write_image_folder(Path(folder), NUM_DRAWN_FACES, seed=0, size=processor.size["height"])
            faces = image_faces([Path(folder)])
            faces.source = faces.split = "drawn faces"
        kept, logits = compute_logits(classifiers, faces, processor, *options)
        logits |= compute_logits({"plain_against_simfle": eager_classifier(simfle)}, faces, simfle_processor, *options)[
            1
        ]
        rows: dict = {name: agreement(values, logits["eager"]) for name, values in logits.items()}
        if faces.labels is not None:
            names = [simfle.config.id2label[i] for i in range(simfle.config.num_labels)]
            labels = match_labels(faces.class_names, faces.labels, names)[kept]
            for name, row in rows.items():
                row["accuracy"] = float((logits[name].argmax(1).numpy() == labels).mean())
        measured_on = {"source": faces.source, "split": faces.split, "fingerprint": faces.fingerprint()}
    return {**rows, "measured_on": {**measured_on, "num_images": len(kept)}}


def add_times(rows: dict, classifiers, size: int, arguments: ExportArguments) -> None:
    """Adds the median milliseconds of a batch of 1 and of 32, and their ratios to eager's, to each classifier's row."""
    from training.exporting.measures import median_milliseconds

    for batch_size in (1, 32):
        times = median_milliseconds(classifiers, batch_size, size, arguments.threads, arguments.timing_rounds)
        for name, milliseconds in times.items():
            rows[name][f"milliseconds_batch_{batch_size}"] = milliseconds
            rows[name][f"ratio_to_eager_batch_{batch_size}"] = milliseconds / times["eager"]


def move_files(source: Path, target: Path) -> None:
    """
    Moves every file below one folder to its place below the other by renames. ONNX files of an earlier export, which
    have other weights, are removed.
    """
    for name in FILES.values():
        if not (source / name).exists():
            (target / name).unlink(missing_ok=True)
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        final = target / path.relative_to(source)
        final.parent.mkdir(parents=True, exist_ok=True)
        flush(path)
        os.replace(path, final)


def print_exports(exports: dict, output_dir: Path) -> None:
    """Prints a line for each export."""
    for name in FILES:
        if name in exports:
            row = exports[name]
            accuracy = f"accuracy {100 * row['accuracy']:.2f} %, " if "accuracy" in row else ""
            print(
                f"{output_dir / row['file']}: {row['size_bytes'] / 1e6:.1f} MB, {accuracy}top label as eager"
                f" {100 * row['agreement']:.2f} %, largest difference of a probability"
                f" {row['largest_probability_difference']:.1e}, {row['milliseconds_batch_1']:.2f} ms a picture"
                f" ({row['ratio_to_eager_batch_1']:.2f} of eager), {row['milliseconds_batch_32']:.1f} ms a batch of 32"
                f" ({row['ratio_to_eager_batch_32']:.2f})"
            )
    lost = exports["eager"].get("accuracy", 0) - exports.get("int8", {}).get("accuracy", 0)
    if "int8" in exports and lost > ACCURACY_LIMIT:
        print(f"int8 loses {100 * lost:.2f} points of accuracy; give more --num_calibration_images.", file=sys.stderr)
    row, count = exports["plain_against_simfle"], exports["measured_on"]["num_images"]
    print(
        f"plain against SimFLE folder: equal top label {100 * row['agreement']:.2f} %, largest difference of a"
        f" probability {row['largest_probability_difference']:.1e}, {count} pictures"
    )
