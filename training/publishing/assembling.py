"""From a finished run, or an export, to the folder that is published: weights, code, card and measured figures."""

import os
import re
import shlex
import shutil
import tempfile
from dataclasses import dataclass, field, fields
from pathlib import Path

from training.data.faces import DatasetArguments
from training.publishing.card import CardArguments
from training.publishing.checks import check_folder
from training.publishing.record import CONFIG, EXPORTED, EXPORTS, METRICS, NOTES, PROCESSOR, read_record
from training.publishing.staging import complete
from training.runtime.arguments import check_range
from training.runtime.errors import InputError
from training.runtime.lineage import count_choices, read_json, read_lineage, with_choices
from training.runtime.public_paths import public
from training.runtime.run_folder import write_json


@dataclass
class ReleaseArguments:
    """Options of the folder."""

    metrics: str | None = field(
        default=None,
        metadata={"help": "metrics.json of the float16 weights, or of a linear probe, instead of --dataset."},
    )
    eval_split: str = field(default="validation", metadata={"help": "Split of --dataset to measure."})
    more_choices: int = field(default=0, metadata={"help": "Choices made on that split besides those of the lineage."})
    encoder_only: bool = field(default=False, metadata={"help": "Release the encoder alone, as a SimFLEModel."})
    max_shard_size: str | None = field(default=None, metadata={"help": "Size of a weights file, such as 15MB."})

    def __post_init__(self):
        check_range("more_choices", self.more_choices, 0)
        if self.max_shard_size and not re.fullmatch(r"\d+MB", self.max_shard_size):
            raise InputError(f"--max_shard_size {self.max_shard_size} must be whole megabytes, such as 15MB.")


def release(run: Path, output: Path, data: DatasetArguments, card: CardArguments, arguments: ReleaseArguments) -> None:
    """
    Writes the whole folder beside its place and renames it, so that it is complete or not there.

    Raises:
        InputError: what is wrong with the run, the metrics, the flags, or the folder that is already there.
    """
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise InputError(f"{output} is a file or not empty; give a new folder.")
    from training.models.half_weights import save_run_as_halves

    record = read_record(run)
    if record.is_plain and (arguments.encoder_only or arguments.max_shard_size):
        raise InputError(f"{run} is an export, whose files stay as they are; leave --encoder_only and the shards out.")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{output.name}.tmp", dir=output.parent) as root:
        folder, name = Path(root) / output.name, public(str(output.resolve()))
        if record.is_plain:
            copy_export(run, folder)
        else:
            save_run_as_halves(run, folder, arguments.encoder_only, arguments.max_shard_size)
        metrics, lineage = measure(run, folder, data, arguments), [*record.lineage]
        metrics.pop("weights_sha256", None)  # of a probe's classifier
        if metrics:
            if metrics["method"] == "linear probe":  # its choices make no weights of the encoder
                metrics["choices"] += arguments.more_choices
            else:
                lineage[-1] = with_choices(lineage[-1], metrics, arguments.more_choices)
            number, elsewhere = count_choices(lineage, metrics)
            metrics |= {"choices": metrics.get("choices", 0) + number, "choices_elsewhere": elsewhere}
            metrics |= {"model": name, "command": metrics["command"].replace(str(folder), name)}
            write_json(folder / METRICS, public(metrics))
        if card.notes:
            shutil.copyfile(Path(card.notes).expanduser(), folder / NOTES)
        try:
            complete(folder, lineage, card.values(), name)
            check_folder(folder)
        except ValueError as error:  # in the words of whoever gave the folder
            raise InputError(str(error).replace(str(folder), str(output))) from error
        os.replace(folder, output)


def copy_export(run: Path, folder: Path) -> None:
    """The files of export.py, bytes unchanged but for the paths of this machine in exports.json."""
    exports = read_json(run / EXPORTS)
    (folder / "onnx").mkdir(parents=True)
    for name in (CONFIG, PROCESSOR, *(exports[row]["file"] for row in EXPORTED if row in exports)):
        shutil.copyfile(run / name, folder / name)
    write_json(folder / EXPORTS, public(exports))


def measure(run: Path, folder: Path, data: DatasetArguments, arguments: ReleaseArguments) -> dict:
    """
    The metrics of the saved weights: read from --metrics, or measured now; {} for an encoder without any.

    Raises:
        InputError: metrics of other weights, or none for a classifier.
    """
    from modeling_simfle.hub_folder_simfle import weights_sha256
    from training.models.evaluation import EvaluationArguments, evaluate
    from training.models.probed_encoder import check_probe

    is_classifier = read_json(folder / CONFIG)["architectures"][0].endswith("ForImageClassification")
    if arguments.metrics:
        path = Path(arguments.metrics).expanduser()
        metrics = read_json(path)
        if not is_classifier:
            check_probe(path, run, folder)
            return {**metrics, "command": read_lineage(path.parent)[-1].get("command", "")}
        if metrics.get("weights_sha256") != weights_sha256(folder):
            raise InputError(
                f"{path} was not measured on these float16 weights; give --dataset instead, or evaluate them by"
                " evaluate_classifier.py."
            )
    elif not is_classifier:
        return {}
    elif not data.dataset:
        raise InputError("Give --dataset, to measure the saved weights, or --metrics of evaluate_classifier.py.")
    else:
        with tempfile.TemporaryDirectory() as place:
            evaluation = EvaluationArguments(
                str(folder), f"{place}/out", eval_split=arguments.eval_split, fit_temperature=True
            )
            metrics = evaluate(data, evaluation)
    used = metrics.pop("arguments", {})
    return {**metrics, "command": evaluation_command(used, folder, metrics["split"])}


def evaluation_command(used: dict, folder: Path, split: str) -> str:
    """The shortest command that measures the folder the same way."""
    defaults = {f.name: f.default for f in fields(DatasetArguments)} | {"eval_dataset": None, "label_map": None}
    words = ["python", "training/evaluate_classifier.py", "--model", str(folder)]
    for name, default in defaults.items():
        if name != "num_workers" and used.get(name, default) not in (default, None):
            words += [f"--{name}", str(used[name])]
    return shlex.join([*words, "--eval_split", split, "--output_dir", f"runs/evaluation_{folder.name}"])
