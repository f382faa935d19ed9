"""
Assembles what a model's Hub repository holds from a finished run: float16 weights, code, metrics.json, card.

    python training/assemble_release.py RUN_FOLDER hub_cards/NAME --recipe training/recipes/card_NAME.yaml \\
        --dataset FACES
    python training/assemble_release.py PLAIN_FOLDER hub_cards/NAME-plain ...    (what export.py made of a folder)

A classifier's saved float16 weights are measured on --eval_split of --dataset, a validation split, or were measured
before by evaluate_classifier.py (--metrics FILE, which must be of the same weights). An encoder (--encoder_only, of any
run) may bring the metrics of a linear probe. metrics.json also holds `weights_sha256`, by file, and `recipe`, the
trainings that made the weights. An export's files are taken as they are; its trainings, and the choices made before it,
are those of the SimFLE folder that it was made of, which must be here.
"""

import os
import re
import shlex
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from training.evaluate_classifier import EvaluationArguments
from training.evaluate_classifier import main as evaluate_main
from training.face_data import DatasetArguments
from training.model_card import CardArguments
from training.script_arguments import check_range, parse_arguments, run_main


@dataclass
class ReleaseArguments:
    """The folder."""

    metrics: str | None = field(default=None, metadata={"help": "metrics.json of the saved weights; else --dataset"})
    eval_split: str = field(default="validation", metadata={"help": "split of --dataset that is measured"})
    more_choices: int = field(default=0, metadata={"help": "choices made on that split beside the run's own"})
    encoder_only: bool = field(default=False, metadata={"help": "the encoder alone, as a SimFLEModel"})
    max_shard_size: str | None = field(default=None, metadata={"help": "of a weights file, such as 15MB"})

    def __post_init__(self):
        check_range("more_choices", self.more_choices, 0)
        if self.max_shard_size and not re.fullmatch(r"\d+MB", self.max_shard_size):
            raise ValueError(f"--max_shard_size {self.max_shard_size} must be whole megabytes, such as 15MB.")


def main(argv=None) -> None:
    positionals = (
        ("run_folder", {"metavar": "RUN_FOLDER", "help": "folder of a run that trains, or an export"}),
        ("output_dir", {"metavar": "OUTPUT_FOLDER", "help": "new folder, such as hub_cards/NAME"}),
    )
    kinds = (DatasetArguments, CardArguments, ReleaseArguments)
    data, card, release, where = parse_arguments(kinds, argv, __doc__, positionals)
    output = Path(where.output_dir)
    assemble(Path(where.run_folder), output, data, card, release)
    for path in sorted(p for p in output.rglob("*") if p.is_file()):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def assemble(run: Path, output: Path, data: DatasetArguments, card: CardArguments, release: ReleaseArguments) -> None:
    """
    Writes the whole folder beside its place and renames it: it is complete or not there.

    Raises:
        ValueError: what is wrong with the run, the metrics, the flags, or the folder that is already there.
    """
    from training.card_checks import check_card
    from training.card_facts import exported_from, public_path, read_facts, read_json
    from training.model_card import write_card
    from training.run_state import write_json

    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise ValueError(f"{output} is a file or not empty; give a new folder.")
    trainings = read_facts(run, card.training_recipes).recipe
    source = exported_from(run)
    if source and (release.encoder_only or release.max_shard_size):
        raise ValueError(f"{run} is an export, whose files stay as they are; leave --encoder_only and the shards out.")
    before = read_json(source / "metrics.json")["choices"] if source else trainings[-1]["choices"]
    output.parent.mkdir(parents=True, exist_ok=True)
    card.repo_id = card.repo_id or public_path(str(output.resolve()))
    with tempfile.TemporaryDirectory(prefix=f"{output.name}.tmp", dir=output.parent) as folder:
        staged = Path(folder) / output.name
        if source:
            copy_export(run, staged)
        else:
            save_weights(run, staged, release)
        metrics = measure(staged, Path(folder) / "evaluation", data, release)
        metrics |= describe(staged, output, metrics, trainings, before, release)
        noted = {"hardware": card.hardware, "assumed_watts": card.assumed_watts}
        write_json(staged / "metrics.json", metrics | {name: value for name, value in noted.items() if value})
        write_card(staged, staged / "README.md", card)
        check_card(staged)
        os.replace(staged, output)


def copy_export(run: Path, folder: Path) -> None:
    """The files of export.py, bytes unchanged but for the paths of this machine in exports.json."""
    from training.card_facts import public, read_json
    from training.card_sections import EXPORTS
    from training.run_state import write_json

    exports = read_json(run / "exports.json")
    (folder / "onnx").mkdir(parents=True)
    files = [exports[name]["file"] for name in EXPORTS if name in exports]
    for name in ("config.json", "preprocessor_config.json", *files):
        shutil.copyfile(run / name, folder / name)
    write_json(folder / "exports.json", public(exports))


def save_weights(run: Path, folder: Path, release: ReleaseArguments) -> None:
    """
    config.json, weights, image processor and remote code.

    Raises:
        ValueError: a run of another kind of model, damaged weights, weights that float16 does not hold.
    """
    import torch
    from safetensors import SafetensorError

    import modeling_simfle
    from training.card_facts import read_json
    from training.model_setup import load_processor
    from training.published_weights import check_weights, save_halves

    check_weights(run)
    config = read_json(run / "config.json")
    if config.get("model_type") != "simfle":
        raise ValueError(f"{run} holds a {config.get('model_type')} model; give a SimFLE one.")
    kind = "SimFLEModel" if release.encoder_only else config["architectures"][0]
    try:
        model = getattr(modeling_simfle, kind).from_pretrained(run, dtype=torch.float32).eval()
    except SafetensorError as error:
        raise ValueError(f"{run}: its weights are cut off or damaged ({error}); get them again.") from error
    shard = int(release.max_shard_size[:-2]) * 1_000_000 if release.max_shard_size else None
    save_halves(model, folder, shard)
    load_processor(run).save_pretrained(folder)


def measure(folder: Path, evaluation: Path, data: DatasetArguments, release: ReleaseArguments) -> dict:
    """
    The metrics of the saved weights: read from --metrics, or measured now; {} for an encoder without any.

    Raises:
        ValueError: metrics of other weights, or none for a classifier.
    """
    from training.card_facts import read_json, read_training, spell_command
    from training.published_weights import weights_sha256
    from training.run_metrics import KEYS

    is_classifier = read_json(folder / "config.json")["architectures"][0].endswith("ForImageClassification")
    if release.metrics:
        path = Path(release.metrics)
    elif not is_classifier:
        return {}
    elif not data.dataset:
        raise ValueError("give --dataset, to measure the saved weights, or --metrics of evaluate_classifier.py.")
    else:
        flags = spell_command("", {**asdict(data), "model": str(folder), "eval_split": release.eval_split})
        evaluate_main([*shlex.split(flags)[2:], "--output_dir", str(evaluation)])
        path = evaluation / "metrics.json"
    metrics = read_json(path)
    missing = [key for key in KEYS if key not in metrics]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; give the metrics.json of an evaluation or a probe.")
    if is_classifier and metrics.get("weights_sha256") != weights_sha256(folder):
        raise ValueError(
            f"{path} was not measured on these float16 weights; give --dataset in its place, or evaluate them by"
            " evaluate_classifier.py."
        )
    if not is_classifier and path.with_name("run.json").is_file():
        metrics["command"] = read_training(path.parent)["command"]
    return metrics


def describe(folder: Path, output: Path, metrics: dict, trainings: list[dict], before: int, release) -> dict:
    """What metrics.json says beside the measures; `before`: choices made by then. No path of this machine is in it."""
    from training.card_facts import public
    from training.published_weights import weights_sha256

    found = {"weights_sha256": weights_sha256(folder), "recipe": trainings}
    if not metrics:
        return found
    if metrics.get("method") == "evaluation":
        name = public(str(output.resolve()))
        found["choices"] = metrics["choices"] + before + release.more_choices
        found |= {"model": name, "command": evaluation_command(public(metrics["arguments"]), name)}
    else:
        found["choices"] = metrics["choices"] + release.more_choices
    metrics.pop("arguments", None)  # the command says them
    return public({**metrics, **found})


def evaluation_command(arguments: dict, model: str) -> str:
    """The shortest command that measures the published folder the same way."""
    from training.card_facts import spell_command

    defaults = asdict(DatasetArguments()) | asdict(EvaluationArguments())
    known = {f.name for kind in (DatasetArguments, EvaluationArguments) for f in fields(kind)}
    changed = {name: arguments[name] for name in arguments if name in known and arguments[name] != defaults[name]}
    name = Path(model).name
    changed |= {"model": model, "eval_split": arguments["eval_split"], "output_dir": f"runs/evaluation_{name}"}
    return spell_command("evaluate_classifier", changed)


if __name__ == "__main__":
    run_main("assemble_release", main)
