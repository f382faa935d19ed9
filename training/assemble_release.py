"""
Assembles what a model's Hub repository holds from a finished run: float16 weights, code, metrics.json, card.

    python training/assemble_release.py RUN_FOLDER hub_cards/NAME --recipe training/recipes/card_NAME.yaml \\
        --dataset FACES
    python training/assemble_release.py PLAIN_FOLDER hub_cards/NAME-plain ...    (what export.py made of a folder)

A classifier's saved float16 weights are measured on --eval_split of --dataset, a validation split, or were measured
before by evaluate_classifier.py (--metrics FILE, which must be of the same weights). An encoder (--encoder_only, of any
run) may bring the metrics of a linear probe of it, in the probe's folder. metrics.json also holds `weights_sha256`, by
file, `recipe`, the trainings that made the weights, and `source_license`, where the weights that they started from have
one. An export's files are taken as they are; its trainings, its licence, and the choices made before it, are those of
the SimFLE folder that it was made of, which must be here.
"""

import os
import re
import shlex
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from training.data.faces import DatasetArguments
from training.evaluate_classifier import main as evaluate_main
from training.publishing.model_card import CardArguments
from training.runtime.arguments import check_range, parse_arguments, run_main
from training.runtime.errors import InputError


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
            raise InputError(f"--max_shard_size {self.max_shard_size} must be whole megabytes, such as 15MB.")


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
    from training.publishing.card_checks import check_card
    from training.publishing.card_facts import exported_from, read_facts
    from training.publishing.card_notes import told, with_kept
    from training.publishing.model_card import choose_license, copy_license_file, write_card
    from training.runtime.run_folder import write_json

    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise InputError(f"{output} is a file or not empty; give a new folder.")
    card = with_kept(run, card)
    trainings = read_facts(run, card.training_recipes).recipe
    source = exported_from(run)
    if source and (release.encoder_only or release.max_shard_size):
        raise InputError(f"{run} is an export, whose files stay as they are; leave --encoder_only and the shards out.")
    _, came_with = choose_license(run, card)
    before = choices_before(source, trainings)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{output.name}.tmp", dir=output.parent) as folder:
        staged = Path(folder) / output.name
        if source:
            copy_export(run, staged)
        else:
            save_weights(run, staged, release)
        metrics = measure(run, staged, Path(folder) / "evaluation", data, release)
        metrics |= describe(staged, output, metrics, trainings, before, release.more_choices)
        noted = {**({"source_license": came_with} if came_with else {}), **told(card)}
        write_json(staged / "metrics.json", metrics | noted)
        if source:
            copy_license_file(source, staged, card)
        write_card(staged, staged / "README.md", card, place=output)
        check_card(staged)
        os.replace(staged, output)


def copy_export(run: Path, folder: Path) -> None:
    """The files of export.py, bytes unchanged but for the paths of this machine in exports.json."""
    from training.publishing.card_facts import read_json
    from training.publishing.card_sections import EXPORTS
    from training.runtime.public_paths import public
    from training.runtime.run_folder import write_json

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
    import modeling_simfle
    from training.models.half_weights import save_halves
    from training.models.loading import load_processor, load_weights
    from training.publishing.card_facts import read_json

    config = read_json(run / "config.json")
    if config.get("model_type") != "simfle":
        raise InputError(f"{run} holds a {config.get('model_type')} model; give a SimFLE one.")
    kind = "SimFLEModel" if release.encoder_only else config["architectures"][0]
    model = load_weights(getattr(modeling_simfle, kind), str(run)).eval()
    shard = int(release.max_shard_size[:-2]) * 1_000_000 if release.max_shard_size else None
    save_halves(model, folder, shard)
    load_processor(run).save_pretrained(folder)


def measure(run: Path, folder: Path, evaluation: Path, data: DatasetArguments, release: ReleaseArguments) -> dict:
    """
    The metrics of the saved weights: read from --metrics, or measured now; {} for an encoder without any.

    Args:
        run: that the weights in `folder` are of.
    Raises:
        ValueError: metrics of other weights, or none for a classifier.
    """
    from modeling_simfle.hub_folder_simfle import weights_sha256
    from training.measuring.classification import KEYS
    from training.publishing.card_commands import spell_command
    from training.publishing.card_facts import check_keys, read_json

    is_classifier = read_json(folder / "config.json")["architectures"][0].endswith("ForImageClassification")
    if release.metrics:
        path = Path(release.metrics)
    elif not is_classifier:
        return {}
    elif not data.dataset:
        raise InputError("give --dataset, to measure the saved weights, or --metrics of evaluate_classifier.py.")
    else:
        flags = spell_command("", {**asdict(data), "model": str(folder), "eval_split": release.eval_split})
        evaluate_main([*shlex.split(flags)[2:], "--output_dir", str(evaluation)])
        path = evaluation / "metrics.json"
    metrics = read_json(path)
    check_keys(path, metrics, KEYS, "give the metrics.json of an evaluation or a probe")
    if not is_classifier:
        check_probe(path, metrics, run, folder)
        metrics["arguments"] = read_json(path.with_name("run.json"))["arguments"]
    elif metrics.get("weights_sha256") != weights_sha256(folder):
        raise InputError(
            f"{path} was not measured on these float16 weights; give --dataset in its place, or evaluate them by"
            " evaluate_classifier.py."
        )
    return metrics


def check_probe(path: Path, metrics: dict, run: Path, folder: Path) -> None:
    """
    Compares the encoder of a probe's classifier, which lies beside its metrics, with the run's and with the saved one.

    Args:
        path, metrics: of the probe's metrics.json.
    Raises:
        ValueError: no linear probe's folder, or a probe of the target, of BatchNorm estimated anew, or of another
            encoder.
    """
    import torch

    from modeling_simfle import SimFLEModel
    from modeling_simfle.hub_folder_simfle import check_weights
    from training.models.output_store import weights_hash
    from training.publishing.card_facts import read_json

    probe = path.parent
    if metrics.get("method") != "linear probe" or not all((probe / n).is_file() for n in ("run.json", "config.json")):
        raise InputError(f"{path} does not lie in the folder of a linear probe; give that of one of {run}.")
    arguments = read_json(probe / "run.json")["arguments"]
    if arguments.get("which") == "target" or arguments.get("estimate_batch_norm"):
        changed = "the target encoder" if arguments.get("which") == "target" else "BatchNorm estimated anew"
        raise InputError(f"{path} was measured with {changed}, which is not published; probe {run} without that.")
    check_weights(probe)
    probed, *ours = (
        weights_hash(SimFLEModel.from_pretrained(place, dtype=torch.float32)) for place in (probe, run, folder)
    )
    if probed not in ours:
        raise InputError(f"{path} was measured on another encoder than that of {run}; probe that one.")


def choices_before(source: Path | None, trainings: list[dict]) -> list[dict]:
    """
    Args:
        source: the folder that an export was made of. trainings: of the weights; their teachers' choices count as far
            as the teachers are here.
    Returns:
        What was chosen before the weights are measured: split, source and fingerprint of the faces it was chosen on,
        and the number of choices.
    """
    from training.publishing.card_facts import places_of, read_json

    if source:
        return choices_of(source)
    found = []
    for number, training in enumerate(trainings):
        for place in places_of(training["arguments"].get("model")):
            published = read_json(place / "metrics.json", optional=True)
            made_by = [t["arguments"] for t in published.get("recipe", [])]
            is_probe = published.get("method") == "linear probe"  # its choices made no weights of the encoder
            if "choices" in published and not is_probe and made_by == [t["arguments"] for t in trainings[:number]]:
                found = choices_of(place)  # those of its trainings among them
                break
        arguments, fingerprint = training["arguments"], training["dataset_fingerprint"]
        dataset = {
            "source": arguments.get("eval_dataset") or arguments.get("dataset"),
            "fingerprint": fingerprint.get("eval") if isinstance(fingerprint, dict) else None,
        }
        measured = {"split": arguments.get("eval_split"), "dataset": dataset}
        found += choices_elsewhere(measured, training.get("choices") or 0)
        for place in places_of(arguments.get("teacher")):
            if (place / "metrics.json").is_file():
                found += choices_of(place)
                break
    return found


def choices_of(folder: Path) -> list[dict]:
    """All choices, as `choices_before` has them, that made a run's or a published folder's weights."""
    from training.publishing.card_facts import read_facts, read_json

    metrics = read_json(folder / "metrics.json", optional=True)
    if "recipe" not in metrics:
        return choices_before(None, read_facts(folder).recipe)
    return [*choices_elsewhere(metrics, metrics.get("choices", 0)), *metrics.get("choices_elsewhere", [])]


def choices_elsewhere(metrics: dict, number: int) -> list[dict]:
    """An entry of `choices_before` for faces as metrics.json names them; none where nothing was chosen."""
    dataset = metrics.get("dataset") or {}
    place = {"split": metrics.get("split"), "source": dataset.get("source"), "fingerprint": dataset.get("fingerprint")}
    return [{**place, "choices": number}] if number else []


def is_same_split(place: dict, metrics: dict) -> bool:
    """Whether choices were made on the faces that were measured: by their fingerprint, or by split and source."""
    from training.runtime.public_paths import public

    dataset = public(metrics.get("dataset") or {})
    if place["fingerprint"] and place["fingerprint"] == dataset.get("fingerprint"):
        return True
    return (place["split"], public(place["source"])) == (metrics["split"], dataset.get("source"))


def describe(
    folder: Path, output: Path, metrics: dict, trainings: list[dict], before: list[dict], more_choices: int
) -> dict:
    """What metrics.json says beside the measures; no path of this machine is in it."""
    from modeling_simfle.hub_folder_simfle import weights_sha256
    from training.runtime.public_paths import public

    found = {"weights_sha256": weights_sha256(folder), "recipe": trainings}
    if not metrics:
        return found
    here = [place for place in before if is_same_split(place, metrics)]
    found["choices"] = metrics.get("choices", 0) + sum(place["choices"] for place in here) + more_choices
    elsewhere = [place for place in before if place not in here]
    if elsewhere:
        found["choices_elsewhere"] = elsewhere
    name, arguments = public(str(output.resolve())), public(metrics.get("arguments", {}))
    if metrics.get("method") == "evaluation":
        found |= {"model": name, "command": shortest_command("evaluate_classifier", arguments, name, "evaluation")}
    elif metrics.get("method") == "linear probe":
        found["command"] = shortest_command("linear_probe", arguments, name, "probe")
    metrics.pop("arguments", None)  # the command says them
    return public({**metrics, **found})


def shortest_command(script: str, arguments: dict, model: str, kind: str) -> str:
    """The shortest command that measures the published folder the same way, on whatever machine."""
    from training.publishing.card_commands import script_defaults, spell_command

    defaults = script_defaults(script)
    here = ("num_workers", "features_dir")
    changed = {n: v for n, v in arguments.items() if n in defaults and n not in here and v != defaults[n]}
    changed |= {"model": model, "eval_split": arguments["eval_split"], "output_dir": f"runs/{kind}_{Path(model).name}"}
    return spell_command(script, changed)


if __name__ == "__main__":
    run_main("assemble_release", main)
