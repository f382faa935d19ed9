"""Turns a finished run, or an export, into the folder that is published: weights, code, card and measured figures."""

import re
import shlex
import shutil
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

from training.data.faces import DatasetArguments
from training.publishing.card import CardArguments
from training.publishing.checks import check_folder
from training.publishing.record import CONFIG, EXPORTED, EXPORTS, METRICS, NOTES, PROCESSOR, read_record
from training.publishing.staging import complete
from training.runtime.arguments import check_ranges, flag
from training.runtime.errors import InputError
from training.runtime.lineage import count_choices, read_json, read_lineage, with_choices
from training.runtime.public_paths import public
from training.runtime.run_folder import new_folder, write_json


@dataclass
class ReleaseArguments:
    """Options of the folder."""

    metrics: str | None = flag(None, "metrics.json of the float16 weights, or of a linear probe, instead of --dataset.")
    eval_split: str = flag("validation", "Split of --dataset to measure.")
    more_choices: int = flag(0, "Choices made on that split besides those of the lineage.", low=0)
    encoder_only: bool = flag(False, "Release the encoder alone, as a SimFLEModel.")
    max_shard_size: str | None = flag(None, "Size of a weights file, such as 15MB.")

    def __post_init__(self):
        check_ranges(self)
        if self.max_shard_size and not re.fullmatch(r"\d+MB", self.max_shard_size):
            raise InputError(f"--max_shard_size {self.max_shard_size} must be whole megabytes, such as 15MB.")


def release(run: Path, output: Path, data: DatasetArguments, card: CardArguments, arguments: ReleaseArguments) -> None:
    """Writes the complete folder, or nothing. Raises InputError about the run, the metrics, the flags or the folder."""
    with new_folder(output) as folder:
        record = read_record(run)
        if not record.is_plain:
            save_run_as_halves(run, folder, arguments)
        elif arguments.encoder_only or arguments.max_shard_size:
            raise InputError(f"{run} is an export, whose files stay as they are; leave out --encoder_only and shards.")
        else:
            copy_export(run, folder)
        metrics, lineage = measure(run, folder, data, arguments), [*record.lineage]
        metrics.pop("weights_sha256", None)  # `complete` writes those of this folder
        name = public(str(output.resolve()))
        if metrics:
            if metrics["method"] == "linear probe":  # its choices do not change the encoder's weights
                metrics["choices"] += arguments.more_choices
            else:
                lineage[-1] = with_choices(lineage[-1], metrics, arguments.more_choices)
            number, elsewhere = count_choices(lineage, metrics)
            metrics |= {"choices": metrics.get("choices", 0) + number, "choices_elsewhere": elsewhere}
            metrics |= {"model": name, "command": metrics["command"].replace(str(folder), name)}
            write_json(folder / METRICS, public(metrics))
        if card.notes:
            shutil.copyfile(card.notes, folder / NOTES)
        try:
            complete(folder, lineage, card.values(), name)
            check_folder(folder)
        except ValueError as error:  # names the temporary folder
            raise InputError(str(error).replace(str(folder), str(output))) from error


def save_run_as_halves(run: Path, folder: Path, arguments: ReleaseArguments) -> None:
    """Saves the model of a run as float16, with its image processor."""
    import modeling_simfle
    from training.models.half_weights import save_halves
    from training.models.loading import load_processor, load_weights

    architecture = "SimFLEModel" if arguments.encoder_only else read_json(run / CONFIG)["architectures"][0]
    model = load_weights(getattr(modeling_simfle, architecture), str(run)).eval()
    save_halves(model, folder, int(arguments.max_shard_size[:-2]) * 1_000_000 if arguments.max_shard_size else None)
    load_processor(run).save_pretrained(folder)


def copy_export(run: Path, folder: Path) -> None:
    """Copies the files of export.py. Only the paths of this machine in exports.json change."""
    exports = read_json(run / EXPORTS)
    (folder / "onnx").mkdir(parents=True)
    for name in (CONFIG, PROCESSOR, *(exports[row]["file"] for row in EXPORTED if row in exports)):
        shutil.copyfile(run / name, folder / name)
    write_json(folder / EXPORTS, public(exports))


def measure(run: Path, folder: Path, data: DatasetArguments, arguments: ReleaseArguments) -> dict:
    """
    Returns the metrics of the saved weights, read from --metrics or measured now; {} for an encoder without --metrics.
    Raises InputError for metrics of other weights, and for a classifier without metrics and --dataset.
    """
    from modeling_simfle.hub_folder_simfle import weights_sha256
    from training.models.evaluation import EvaluationArguments, evaluate

    is_classifier = read_json(folder / CONFIG)["architectures"][0].endswith("ForImageClassification")
    if arguments.metrics:
        path = Path(arguments.metrics)
        metrics = read_json(path)
        if not is_classifier:
            check_probe(path, run, folder)
            return {**metrics, "command": read_lineage(path.parent)[-1].get("command", "")}
        if metrics.get("weights_sha256") != weights_sha256(folder):
            raise InputError(f"{path} was not measured on these float16 weights; give --dataset instead.")
    elif not is_classifier:
        return {}
    elif not data.dataset:
        raise InputError("Give --dataset, to measure the saved weights, or --metrics of evaluate_classifier.py.")
    else:
        with tempfile.TemporaryDirectory() as place:
            flags = EvaluationArguments(str(folder), f"{place}/out", None, arguments.eval_split, fit_temperature=True)
            metrics = evaluate(data, flags)
    used = metrics.pop("arguments", {})
    return {**metrics, "command": evaluation_command(used, folder, metrics["split"])}


def check_probe(path: Path, run: Path, folder: Path) -> None:
    """
    Raises InputError unless the metrics.json at `path` belongs to a linear probe of the encoder in `run`, or of the
    saved one in `folder`. The probe's classifier lies beside it. A probe of the target, or with BatchNorm estimated
    anew, measured another encoder.
    """
    import torch

    from modeling_simfle import SimFLEModel
    from training.models.output_store import weights_hash

    if read_json(path).get("method") != "linear probe" or not path.with_name("run.json").is_file():
        raise InputError(f"{path} does not lie in the folder of a linear probe; give that of one of {run}.")
    used = read_json(path.with_name("run.json"))["arguments"]
    if used.get("which") == "target" or used.get("estimate_batch_norm"):
        changed = "the target encoder" if used.get("which") == "target" else "BatchNorm estimated anew"
        raise InputError(f"{path} was measured with {changed}, which is not published; probe {run} without that.")
    places = (path.parent, run, folder)
    probed, *ours = (weights_hash(SimFLEModel.from_pretrained(place, dtype=torch.float32)) for place in places)
    if probed not in ours:
        raise InputError(f"{path} was measured on another encoder than that of {run}; probe that one.")


def evaluation_command(used: dict, folder: Path, split: str) -> str:
    """Returns the shortest command that measures the folder in the same way."""
    defaults = {f.name: f.default for f in fields(DatasetArguments)} | {"eval_dataset": None, "label_map": None}
    words = ["python", "training/evaluate_classifier.py", "--model", str(folder)]
    for name, default in defaults.items():
        if name != "num_workers" and used.get(name, default) not in (default, None):
            words += [f"--{name}", str(used[name])]
    return shlex.join([*words, "--eval_split", split, "--output_dir", f"runs/evaluation_{folder.name}"])
