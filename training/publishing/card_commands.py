"""
The command of a training, as its card shows it: the one in its recipe's header with every flag in which the run
differs, or without a recipe all its arguments.
"""

import importlib
import re
import shlex
import typing
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import yaml

from training.runtime.arguments import as_meant
from training.runtime.errors import InputError
from training.runtime.public_paths import join_words, public, public_path

# The script of each method that ends in weights.
SCRIPTS = {
    "pretraining": "pretrain",
    "linear probe": "linear_probe",
    "fine-tuning": "finetune",
    "supervised from scratch": "finetune",
}
# Arguments in which a run may differ from its recipe without a word: they move no weight.
FREE = (
    *("num_workers", "logging_steps", "checkpointing_steps", "checkpoints_total_limit", "cache_images", "cache_dir"),
    *("monitor_dataset", "monitor_images", "monitor_epochs", "max_bad_images", "compile", "cuda_graph"),
    *("timeout_seconds", "features_dir", "report_to", "dry_run", "resume_from_checkpoint"),
)
PLACES = ("dataset", "output_dir", "model", "teacher")  # a recipe's own are examples: the run's are shown


def add_recipes(trainings: list[dict], paths) -> None:
    """
    Gives each training the path of its recipe, and the command that made it; of several by the same script, a recipe
    is the last one's whose values it has and that has none yet.

    Raises:
        ValueError: a recipe without a command in its header, of none of the trainings, or with another value than the
            training had.
    """
    left = list(reversed(trainings))
    for path in paths:
        values, command = read_recipe_file(Path(path))
        fitting = [t for t in left if f"training/{SCRIPTS[t['method']]}.py" in command.split()]
        if not fitting:
            made = ", ".join(training["method"] for training in trainings)
            raise InputError(f"recipe {path} is of none of the trainings ({made}) here; leave it out.")
        problems = []
        for training in fitting:
            try:
                spelt = command_of_run(path, values, command, training)
            except ValueError as error:
                problems.append(error)
                continue
            training |= {"recipe": public_path(str(path)), "command": spelt}
            left.remove(training)
            break
        else:
            raise problems[0]


def command_of_run(path, values: dict, command: str, training: dict) -> str:
    """
    Args:
        values, command: of the recipe at `path`. training: see `card_facts.read_training`.
    Returns:
        The command with the run's own places, and the flags that were given beside or against its words.
    Raises:
        ValueError: the recipe has another value than the run was made with, so it is not the run's.
    """
    script = SCRIPTS[training["method"]]
    hints = {name: hint for kind in script_dataclasses(script) for name, hint in typing.get_type_hints(kind).items()}
    values = public({name: as_meant(value, hints[name]) if name in hints else value for name, value in values.items()})
    start, flags = split_command(command, script)
    flags = {"recipe": [public_path(str(path))], **flags}
    expected = {**script_defaults(script), **values}
    for name, used in of_a_first_start(training["arguments"]).items():
        if name in FREE:
            continue
        is_unset = used is None or used == []
        if name in values and values[name] != used and (is_unset or name not in PLACES):
            raise InputError(f"recipe {path} has {name}={values[name]!r}, but the run was made with {used!r}.")
        if is_unset:
            flags.pop(name, None)
        elif name in flags or expected.get(name, used) != used:
            flags[name] = spell_value(used)
    return join_words([*start, *(word for name, words in flags.items() for word in (f"--{name}", *words))])


def split_command(command: str, script: str) -> tuple[list[str], dict[str, list[str]]]:
    """The words up to the script's name, and the words behind each flag by its name."""
    words = shlex.split(command)
    end = words.index(f"training/{script}.py") + 1
    flags: dict[str, list[str]] = {}
    name = ""
    for word in words[end:]:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            flags[name] = [value] if equals else []
        elif name:
            flags[name].append(word)
    return words[:end], flags


def script_dataclasses(script: str) -> list[type]:
    """A script's argument dataclasses. By its name: a part imports no script, and of this one only these are read."""
    names = vars(importlib.import_module(f"training.{script}")).values()
    return [kind for kind in names if isinstance(kind, type) and is_dataclass(kind)]


def script_defaults(script: str) -> dict:
    """A script's arguments with their defaults, by name."""
    found = {}
    for kind in script_dataclasses(script):
        for argument in fields(kind):
            make = argument.default_factory
            found[argument.name] = argument.default if make is MISSING else make()
    return found


def of_a_first_start(arguments: dict) -> dict:
    """The arguments without those of a start that went on from a checkpoint: its limit of time was not the run's."""
    left_out = {"resume_from_checkpoint"}
    if arguments.get("resume_from_checkpoint"):
        left_out.add("max_train_minutes")
    return {name: value for name, value in arguments.items() if name not in left_out}


def read_recipe_file(path: Path) -> tuple[dict, str]:
    """A recipe's values, and the command in its header. Raises ValueError where one of them is missing."""
    if not path.is_file():
        raise InputError(f"recipe {path} does not exist")
    text = path.read_text(encoding="utf-8")
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise InputError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from error
    command = re.search(r"^# command:((?:.*\\\n)*.*)$", text, re.MULTILINE)
    if command is None or not isinstance(values, dict):
        raise InputError(f"recipe {path} must be a mapping of flags under a header with '# command: python ...'.")
    words = re.sub(r"\\\n#", " ", command[1])
    return values, " ".join(re.split(r" {2,}\(", words.strip())[0].split())  # a remark in brackets may follow


def spell_command(script: str, arguments: dict) -> str:
    """The command of a run from its arguments, all of those that are set."""
    words = ["python", f"training/{script}.py"]
    for name, value in of_a_first_start(arguments).items():
        if value is not None and value != []:
            words += [f"--{name}", *spell_value(value)]
    return shlex.join(words)


def spell_value(value) -> list[str]:
    """The words behind a flag."""
    values = value if isinstance(value, list) else [str(value).lower() if isinstance(value, bool) else value]
    return [str(item) for item in values]
