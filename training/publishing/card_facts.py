"""
What a model card says, read from a folder's own files: a run's, or a published one's.

A run has config.json, preprocessor_config.json, run.json, its log and, where it measured, metrics.json. A published
folder has no run.json: assemble_release.py wrote what the card needs of it into metrics.json, under `recipe`, a list of
the trainings that made the weights, the first one first. A plain folder of export.py has the trainings of the folder
that it was made of.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from training.data.formats import guess_format
from training.measuring.classification import KEYS
from training.publishing.card_commands import SCRIPTS, add_recipes, spell_command
from training.runtime.errors import InputError
from training.runtime.public_paths import ROOT, public

TERMS = ("loss", "similarity_loss", "reconstruction_loss", "distillation_loss", "grouping_loss")
TRAINING_KEYS = ("method", "recipe", "command", "arguments", "hours", "num_images", "dataset_fingerprint", "versions")
UNNAMED_FORMATS = ("auto", "imagefolder", "parquet")  # of anybody's folder or file


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
    def is_ferplus(self) -> bool:
        """Whether the last training was on FER+."""
        return data_format(self.recipe[-1]) == "ferplus"

    @property
    def saw_ferplus(self) -> bool:
        """Whether any training was on FER+."""
        return any(data_format(training) == "ferplus" for training in self.recipe)

    @property
    def dataset_ids(self) -> list[str]:
        """Of all trainings' data, see `dataset_id`, each once; those without an id are left out."""
        return list(dict.fromkeys(filter(None, map(dataset_id, self.recipe))))


def data_format(training: dict) -> str:
    """Of a training's data; "auto" where it is not known."""
    return training.get("data_format") or training["arguments"].get("data_format") or "auto"


def dataset_word(training: dict) -> str:
    """A training's data in one word: the format of a known set, a Hub id, else the folder's name."""
    name, kind = training["arguments"].get("dataset") or "faces", data_format(training)
    if kind in UNNAMED_FORMATS:
        return Path(name).name
    return name if kind == "hub" else kind


def dataset_id(training: dict) -> str | None:
    """A training's data's id on the Hub, or the format of a known set; None of other folders and files."""
    return None if data_format(training) in UNNAMED_FORMATS else dataset_word(training)


def read_facts(folder: Path, training_recipes=()) -> Facts:
    """
    Args:
        training_recipes: YAML recipes of the trainings, in any order; their commands then stand for the bare arguments.
    Raises:
        ValueError: a file that is missing, no JSON or without what a card needs of it, a folder that nothing was
            trained in, a recipe that is another run's.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if not config.get("architectures"):
        raise InputError(f"{folder / 'config.json'} names no architecture; give the folder of a finished run.")
    metrics, exports = (read_json(folder / f"{name}.json", optional=True) for name in ("metrics", "exports"))
    if "accuracy" in metrics:
        check_keys(folder / "metrics.json", metrics, KEYS, "evaluate the model again by evaluate_classifier.py")
    recipe = metrics.get("recipe") or read_trainings(folder)
    for training in recipe:
        check_keys(folder / "metrics.json", training, TRAINING_KEYS, "assemble it again by assemble_release.py")
    add_recipes(recipe, training_recipes)
    preprocessing = read_json(folder / "preprocessor_config.json")
    return Facts(folder.resolve().name, config, preprocessing, public(metrics), public(exports), recipe)


def read_json(path: Path, optional: bool = False) -> dict:
    """A JSON file's mapping; {} for a file that need not be there. Raises ValueError: missing, or no such thing."""
    if not path.is_file():
        if optional:
            return {}
        raise InputError(f"{path} does not exist; give the folder of a finished run, or a published one.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a mapping, not a {type(content).__name__}.")
    return content


def check_keys(path: Path, content: dict, names, fix: str) -> None:
    """Raises ValueError naming what a file, or a training in it, lacks."""
    missing = [name for name in names if name not in content]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; {fix}.")


def read_trainings(folder: Path) -> list[dict]:
    """The training of a run's folder, after those of the runs that it started from, as far as these are here."""
    if not (folder / "run.json").is_file():
        source = exported_from(folder)
        if source is None:
            raise InputError(
                f"{folder} holds no run.json and no recipe in metrics.json: it is no run of these scripts."
            )
        return read_facts(source).recipe
    training = read_training(folder)
    before = read_json(folder / "run.json")["arguments"].get("model")
    for place in places_of(before):
        if place.resolve() == folder.resolve():
            continue
        if (place / "run.json").is_file():
            return [*read_trainings(place), training]
        published = read_json(place / "metrics.json", optional=True).get("recipe")
        if published:
            return [*published, training]
    return [training]


def places_of(name: str | None) -> list[Path]:
    """Where a folder or file of a run's arguments may lie: as it stands there, or from the repository's root."""
    return [place / Path(name).expanduser() for place in (Path(), ROOT)] if name else []


def exported_from(folder: Path) -> Path | None:
    """
    The SimFLE folder that export.py made a plain folder of; None for a folder that is no such export.

    Raises:
        ValueError: the SimFLE folder is not here, or has other weights by now.
    """
    name = read_json(folder / "exports.json", optional=True).get("model")
    if not name or read_json(folder / "config.json").get("model_type") == "simfle":
        return None
    source = next((place for place in places_of(name) if (place / "config.json").is_file()), None)
    if source is None:
        raise InputError(f"{folder} was exported from {name}, which is not here; give it where that folder is.")
    check_exported_weights(folder, source)
    return source


def check_exported_weights(exported: Path, source: Path) -> None:
    """Raises ValueError: the export `exported` is not of the weights in `source`."""
    from modeling_simfle.hub_folder_simfle import weights_sha256

    if read_json(exported / "exports.json").get("model_weights_sha256") != weights_sha256(source):
        raise InputError(f"{exported} was exported from other weights than those in {source}; export them again.")


def read_training(folder: Path) -> dict:
    """
    One training: method, recipe (None), command, arguments, data_format (read from the data where the arguments leave
    it to be guessed), hours (None where nobody measured them), choices, epoch (that was kept), epochs (done; None where
    the log does not say), num_images, losses (the last line of a pretraining's log), dataset_fingerprint, versions;
    paths made public.

    Raises:
        ValueError: a run that is unfinished, that trains nothing, or whose run.json lacks something.
    """
    about, metrics = read_json(folder / "run.json"), read_json(folder / "metrics.json", optional=True)
    architecture = (read_json(folder / "config.json").get("architectures") or [""])[0]
    method = "pretraining" if architecture.endswith("ForPreTraining") else metrics.get("method")
    if method not in SCRIPTS:
        found = f"a run of {method}: nothing was trained" if method else "not finished: it has no metrics.json"
        raise InputError(f"{folder} is {found}; give a pretraining, a probe or a fine-tuning.")
    log = [] if method == "linear probe" else read_log(folder / "metrics.jsonl")  # a probe keeps none
    needed = ("global_batch_size", "num_images") if method == "pretraining" and log else ()
    check_keys(folder / "run.json", about, ("arguments", "versions", *needed), "give the folder as the run left it")
    arguments = public(about["arguments"])
    hours, epochs, losses = metrics.get("training_hours"), log[-1].get("epoch") if log else None, None
    if needed:
        hours, epochs = pretraining_hours(log, about["global_batch_size"]), pretraining_epochs(log, about)
        losses = {name: log[-1][name] for name in ("step", *TERMS) if name in log[-1]}
    return {
        "method": method,
        "recipe": None,
        "command": spell_command(SCRIPTS[method], arguments),
        "arguments": arguments,
        "data_format": resolve_format(about["arguments"]),
        "hours": hours,
        "choices": metrics.get("choices", 0),
        "epoch": metrics.get("epoch"),
        "epochs": epochs,
        "num_images": about.get("num_images") or metrics.get("num_training_images"),
        "losses": losses,
        "dataset_fingerprint": about.get("dataset_fingerprint"),
        "versions": about["versions"],
    }


def resolve_format(arguments: dict) -> str:
    """The format of a run's data, by the data where --data_format is auto; "auto" where they are not here any more."""
    found, dataset = arguments.get("data_format") or "auto", arguments.get("dataset")
    for place in places_of(dataset) if found == "auto" else ():
        if place.exists():
            try:
                return guess_format(place, dataset)
            except ValueError:  # shards of a stream, which are of none of these formats
                return "auto"
    return found


def read_log(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl; [] where there is none. Raises ValueError on a line that is no JSON."""
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise InputError(f"{path} has a line that is not JSON ({error}); let the run finish.") from error


def pretraining_hours(log: list[dict], global_batch_size: int) -> float:
    """Hours of the steps of a pretraining, without what the monitor took, from its images a second."""
    steps = [line["step"] for line in log]
    seconds = sum(
        (step - before) * global_batch_size / line["images_per_second"]
        for line, step, before in zip(log, steps, [0, *steps], strict=False)
    )
    return seconds / 3600


def pretraining_epochs(log: list[dict], about: dict) -> float:
    """Epochs that a pretraining has done, by its last step: short batches at an epoch's end are dropped."""
    return log[-1]["step"] / max(1, about["num_images"] // about["global_batch_size"])
