"""
What a model card says, read from a folder's own files: a run's, or a published one's.

A run has config.json, preprocessor_config.json, run.json, its log and, where it measured, metrics.json. A published
folder has no run.json: assemble_release.py wrote what the card needs of it into metrics.json, under `recipe`, a list of
the trainings that made the weights, the first one first. A plain folder of export.py has the trainings of the folder
that it was made of.
"""

import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import yaml

from training.published_weights import weights_sha256

ROOT = Path(__file__).parents[1]
# The script of each method that ends in weights.
SCRIPTS = {
    "pretraining": "pretrain",
    "linear probe": "linear_probe",
    "fine-tuning": "finetune",
    "supervised from scratch": "finetune",
}
# Arguments in which a run may differ from its recipe: they move no weight, or name a place.
FREE = (
    *("num_workers", "logging_steps", "checkpointing_steps", "checkpoints_total_limit", "cache_images", "cache_dir"),
    *("monitor_dataset", "max_bad_images", "compile", "timeout_seconds", "dataset", "output_dir", "model"),
)
TERMS = ("loss", "similarity_loss", "reconstruction_loss", "distillation_loss", "grouping_loss")


@dataclass
class Facts:
    """
    name: of the folder. config, preprocessing: its JSON files. metrics, exports: likewise, {} where there is none.
    recipe: the trainings, see `read_training`.
    """

    name: str
    config: dict
    preprocessing: dict
    metrics: dict
    exports: dict
    recipe: list[dict]

    @property
    def is_classifier(self) -> bool:
        return self.config["architectures"][0].endswith("ForImageClassification")

    @property
    def is_plain(self) -> bool:
        """Whether it is an export of export.py: stock classes, no code."""
        return self.config.get("model_type") != "simfle"

    @property
    def is_measured(self) -> bool:
        return "accuracy" in self.metrics

    @property
    def data(self) -> dict:
        """Arguments of the last training: what it was given."""
        return self.recipe[-1]["arguments"]

    @property
    def dataset(self) -> str:
        """The training data in one word: the format of a known set, else the folder's name."""
        name = Path(self.data.get("dataset") or "faces").name
        known = self.data.get("data_format") or "auto"
        return name if known in ("auto", "imagefolder", "parquet") else known


def read_facts(folder: Path, training_recipes=()) -> Facts:
    """
    Args:
        training_recipes: YAML recipes of the trainings, in any order; their commands then stand for the bare arguments.
    Raises:
        ValueError: a file that is missing or no JSON, a folder that nothing was trained in, a recipe that is another
            run's.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if not config.get("architectures"):
        raise ValueError(f"{folder / 'config.json'} names no architecture; give the folder of a finished run.")
    metrics, exports = (read_json(folder / f"{name}.json", optional=True) for name in ("metrics", "exports"))
    recipe = metrics.get("recipe") or read_trainings(folder)
    add_recipes(recipe, training_recipes)
    preprocessing = read_json(folder / "preprocessor_config.json")
    return Facts(folder.resolve().name, config, preprocessing, public(metrics), public(exports), recipe)


def read_json(path: Path, optional: bool = False) -> dict:
    """A JSON file's mapping; {} for a file that need not be there. Raises ValueError: missing, or no such thing."""
    if not path.is_file():
        if optional:
            return {}
        raise ValueError(f"{path} does not exist; give the folder of a finished run, or a published one.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a mapping, not a {type(content).__name__}.")
    return content


def read_trainings(folder: Path) -> list[dict]:
    """The training of a run's folder, after those of the runs that it started from, as far as these are here."""
    if not (folder / "run.json").is_file():
        source = exported_from(folder)
        if source is None:
            raise ValueError(
                f"{folder} holds no run.json and no recipe in metrics.json: it is no run of these scripts."
            )
        return read_facts(source).recipe
    training = read_training(folder)
    before = read_json(folder / "run.json")["arguments"].get("model")
    places = [place / before for place in (Path(), ROOT)] if before else []
    for place in places:
        if place.resolve() == folder.resolve():
            continue
        if (place / "run.json").is_file():
            return [*read_trainings(place), training]
        published = read_json(place / "metrics.json", optional=True).get("recipe")
        if published:
            return [*published, training]
    return [training]


def exported_from(folder: Path) -> Path | None:
    """
    The SimFLE folder that export.py made a plain folder of; None for a folder that is no such export.

    Raises:
        ValueError: the SimFLE folder is not here, or has other weights by now.
    """
    name = read_json(folder / "exports.json", optional=True).get("model")
    if not name or read_json(folder / "config.json").get("model_type") == "simfle":
        return None
    source = next((place / name for place in (Path(), ROOT) if (place / name / "config.json").is_file()), None)
    if source is None:
        raise ValueError(f"{folder} was exported from {name}, which is not here; give it where that folder is.")
    check_exported_weights(folder, source)
    return source


def check_exported_weights(exported: Path, source: Path) -> None:
    """Raises ValueError: the export `exported` is not of the weights in `source`."""
    if read_json(exported / "exports.json").get("model_weights_sha256") != weights_sha256(source):
        raise ValueError(f"{exported} was exported from other weights than those in {source}; export them again.")


def read_training(folder: Path) -> dict:
    """
    One training: method, recipe (None), command, arguments, hours (None where nobody measured them), choices, epoch,
    num_images, losses (the last line of a pretraining's log), dataset_fingerprint, versions; paths made public.

    Raises:
        ValueError: a run that is unfinished, or that trains nothing.
    """
    about, metrics = read_json(folder / "run.json"), read_json(folder / "metrics.json", optional=True)
    architecture = (read_json(folder / "config.json").get("architectures") or [""])[0]
    method = "pretraining" if architecture.endswith("ForPreTraining") else metrics.get("method")
    if method not in SCRIPTS:
        found = f"{method}: nothing was trained" if method else "not finished, it has no metrics.json"
        raise ValueError(f"{folder} is a run of {found}; give a pretraining, a probe or a fine-tuning.")
    arguments = public(about["arguments"])
    log = read_log(folder / "metrics.jsonl") if method == "pretraining" else []
    hours = metrics.get("training_hours")
    if log:
        hours = pretraining_hours(log, about["global_batch_size"])
    return {
        "method": method,
        "recipe": None,
        "command": spell_command(SCRIPTS[method], arguments),
        "arguments": arguments,
        "hours": hours,
        "choices": metrics.get("choices", 0),
        "epoch": metrics.get("epoch"),
        "num_images": about.get("num_images") or metrics.get("num_training_images"),
        "losses": {name: log[-1][name] for name in ("step", *TERMS) if name in log[-1]} if log else None,
        "dataset_fingerprint": about.get("dataset_fingerprint"),
        "versions": about["versions"],
    }


def read_log(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl; [] where there is none. Raises ValueError on a line that is no JSON."""
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise ValueError(f"{path} has a line that is not JSON ({error}); let the run finish.") from error


def pretraining_hours(log: list[dict], global_batch_size: int) -> float:
    """Hours of the steps of a pretraining, without what the monitor took, from its images a second."""
    steps = [line["step"] for line in log]
    seconds = sum(
        (step - before) * global_batch_size / line["images_per_second"]
        for line, step, before in zip(log, steps, [0, *steps], strict=False)
    )
    return seconds / 3600


def add_recipes(trainings: list[dict], paths) -> None:
    """
    Gives each training the path and the command of its recipe.

    Raises:
        ValueError: a recipe without a command in its header, of none of the trainings, or with another value than the
            training had.
    """
    for path in paths:
        values, command = read_recipe_file(Path(path))
        fitting = [t for t in trainings if f"training/{SCRIPTS[t['method']]}.py" in command.split()]
        if not fitting:
            made = ", ".join(training["method"] for training in trainings)
            raise ValueError(f"recipe {path} is of none of the trainings ({made}) here; leave it out.")
        for name, value in public(values).items():
            used = fitting[-1]["arguments"].get(name)
            if name not in FREE and used != value:
                raise ValueError(f"recipe {path} has {name}={value!r}, but the run was made with {used!r}.")
        fitting[-1] |= {"recipe": public_path(str(path)), "command": command}


def read_recipe_file(path: Path) -> tuple[dict, str]:
    """A recipe's values, and the command in its header. Raises ValueError where one of them is missing."""
    if not path.is_file():
        raise ValueError(f"recipe {path} does not exist")
    text = path.read_text(encoding="utf-8")
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from error
    command = re.search(r"^# command:((?:.*\\\n)*.*)$", text, re.MULTILINE)
    if command is None or not isinstance(values, dict):
        raise ValueError(f"recipe {path} must be a mapping of flags under a header with '# command: python ...'.")
    words = re.sub(r"\\\n#", " ", command[1])
    return values, " ".join(re.split(r" {2,}\(", words.strip())[0].split())  # a remark in brackets may follow


def spell_command(script: str, arguments: dict) -> str:
    """The command of a run from its arguments, all of those that are set."""
    words = ["python", f"training/{script}.py"]
    for name, value in arguments.items():
        if value is None or value == [] or name == "resume_from_checkpoint":
            continue
        values = value if isinstance(value, list) else [str(value).lower() if isinstance(value, bool) else value]
        words += [f"--{name}", *map(str, values)]
    return shlex.join(words)


def public(value):
    """A JSON value with its absolute paths made public, inside of commands too."""
    if isinstance(value, dict):
        return {name: public(item) for name, item in value.items()}
    if isinstance(value, list):
        return [public(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"(?<![\w.:/~])/[\w.+~/-]+", lambda found: public_path(found[0]), value)
    return value


def public_path(path: str) -> str:
    """A path without the machine's folders: from the repository's root if it lies in it, else its last name."""
    if not os.path.isabs(path):
        return path
    return os.path.relpath(path, ROOT) if Path(path).is_relative_to(ROOT) else Path(path).name
