"""
Parses the scripts' command lines into dataclasses. A flag on the command line overrides `--recipe FILE.yaml`.

Only light imports here: a script must answer `--help` and bad flags before torch is imported.
"""

import argparse
import dataclasses
import difflib
import io
import os
import sys
import traceback
from pathlib import Path

import yaml

from training.runtime.errors import InputError, RunError, keep_traceback, note_run_folder, run_errors, shortened
from training.runtime.processes import end_workers, leave

PRECISION = "precision of autocast; by default that of Accelerate's config, else no"


def flag(default, help: str, low: float | None = None, high: float = float("inf")):
    """
    A field of an argument dataclass. A list is the default of each new instance.

    Args:
        low, high: the range of a number, or of each in a list, both included; see `check_ranges`.
    """
    metadata = {"help": help} | ({} if low is None else {"range": (low, high)})
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check_ranges(arguments) -> None:
    """Raises InputError for the first field of a dataclass that lies outside the range given to `flag`."""
    for f in dataclasses.fields(arguments):
        value = getattr(arguments, f.name)
        for each in value if isinstance(value, list) else [value]:
            if "range" in f.metadata:
                check_range(f.name, each, *f.metadata["range"])


def check_range(name: str, value, low, high=float("inf")) -> None:
    """Raises InputError with the value and the range, both ends included; None is in every range."""
    if value is not None and not low <= value <= high:
        raise InputError(f"--{name} {value} must be in [{low}, {high}].")


def parse_arguments(dataclass_types, argv=None, description=None, positionals=()):
    """
    Args:
        dataclass_types: the script's argument dataclasses. argv: arguments, sys.argv's when None.
        positionals: (name, keyword arguments of `add_argument`) pairs.
    Returns:
        One instance of each dataclass; with positionals, a namespace of them last.
    Raises:
        SystemExit: status 2 and one sentence, for a bad flag, value or recipe.
    """
    if not sys.stderr.isatty():  # read by the libraries when they are imported
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    values = vars(parse_words(dataclass_types, argv, description, positionals))
    values = {name: with_home(value) for name, value in values.items()}
    parsed = [kind(**{f.name: values.pop(f.name) for f in dataclasses.fields(kind)}) for kind in dataclass_types]
    return (*parsed, argparse.Namespace(**values)) if positionals else tuple(parsed)


def parse_words(dataclass_types, argv=None, description=None, positionals=()) -> argparse.Namespace:
    """The values of all flags by name, a recipe's first; see `parse_arguments`."""
    from transformers import HfArgumentParser

    class OneSentenceParser(HfArgumentParser):
        """A bad flag or value is one sentence, without the usage of every flag."""

        place = ""  # of the words that are parsed

        def add_argument(self, *names, range=None, **options):  # HfArgumentParser hands all metadata of `flag` on
            return super().add_argument(*names, **options)

        def error(self, message):
            self.exit(2, f"{self.prog}: {shortened(self.place + ' '.join(message.split()))}\n")

    parser = OneSentenceParser(
        dataclass_types,
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--recipe", default=None, help="YAML file of flags; flags on the command line win")
    for name, options in positionals:
        parser.add_argument(name, **options)
    argv = sys.argv[1:] if argv is None else list(argv)
    namespace, strays = parser.parse_known_args(argv)
    if strays:
        parser.error(describe_stray(strays, dataclass_types))
    if namespace.recipe:
        parser.place = f"recipe {namespace.recipe}: "  # whatever is wrong now: the flags alone could be parsed
        try:
            words = recipe_words(Path(namespace.recipe).expanduser(), dataclass_types)
        except InputError as error:
            parser.error(str(error))
        # The flag of the recipe ends a list before the positionals.
        namespace = parser.parse_args([*words, f"--recipe={namespace.recipe}", *argv])
    return namespace


def with_home(value):
    """
    Returns a text with the home folder in place of a first `~` or `~user`, and with the values of the environment's
    variables in place of `$NAME` and `${NAME}`; lists item by item, other values as they are.

    Only paths begin with `~` or `$` among the arguments of these scripts, so a new path flag needs no code of its own.

    Raises:
        InputError: a first `~user` or `$NAME` that this machine does not have.
    """
    if isinstance(value, list):
        return [with_home(item) for item in value]
    if not isinstance(value, str):
        return value
    expanded = os.path.expandvars(os.path.expanduser(value))
    if expanded.startswith(("~", "$")):
        kind = "user" if expanded[0] == "~" else "environment variable"
        raise InputError(f"{value}: there is no such {kind}; give the whole path, or ./{value} for such a name.")
    return expanded


def describe_stray(strays: list[str], dataclass_types) -> str:
    """The sentence for arguments that the parser could not place, with the flag that the first one may mean."""
    flags = [stray.split("=")[0] for stray in strays if stray.startswith("-")]
    if not flags:
        return f"argument {strays[0]!r} belongs to no flag; --help lists all"
    known = [f"--{f.name}" for kind in dataclass_types for f in dataclasses.fields(kind)]
    return f"unknown flag {flags[0]}{did_you_mean(flags[0], [*known, '--recipe']) or ';'} --help lists all"


def did_you_mean(word: str, known: list[str]) -> str:
    """A clause with the closest of the known words; empty where none is close."""
    close = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def recipe_words(path: Path, dataclass_types) -> list[str]:
    """
    A recipe as words of a command line: `1e-2` is a number, `no` is what its flag takes.

    Raises:
        InputError: a file that cannot be read, or an unknown flag, with its name.
    """
    try:
        # The base loader leaves every value as it is written. YAML 1.1 would take 1e-2 for a text, and no for false.
        recipe = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader) or {}
    except (OSError, UnicodeDecodeError) as error:
        reason = f"{path} does not exist" if isinstance(error, FileNotFoundError) else f"it cannot be read: {error}"
        raise InputError(reason) from error
    except (yaml.YAMLError, RecursionError) as error:  # the latter on deep nesting
        raise InputError(f"it is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(recipe, dict):
        raise InputError(f"it must be a mapping of flags to values, not a {type(recipe).__name__}")
    known = [f.name for kind in dataclass_types for f in dataclasses.fields(kind)]
    words = []
    for name, value in recipe.items():
        if name not in known:
            close = did_you_mean(name, known)
            raise InputError(f"unknown key {name!r}; known are {', '.join(sorted(known))}{close}")
        if not all(isinstance(item, str) for item in (value if isinstance(value, list) else [value])):
            raise InputError(f"{name} must be one value, or a list of values")
        words += [f"--{name}", *value] if isinstance(value, list) else [f"--{name}={value}"]
    return words


def sentence_of(error: Exception) -> str:
    """The error's text on one line, shortened. torch 2.13 puts a data worker's traceback before the error's text."""
    text = str(error)
    if text.startswith(f"Caught {type(error).__name__} in DataLoader worker"):
        text = text.rsplit(f"{type(error).__name__}: ", 1)[-1]
    return shortened(" ".join(text.split()))


def run_main(script: str, main) -> None:
    """
    Runs a script's `main` in the process that was started as this script, and ends the process.

    Bad input is one sentence and exit status 2, what breaks a run from outside one sentence and status 1. The traceback
    of anything else is shown and kept in the run folder's error.log; the status is 1.

    Args:
        main: returns the exit status, or None for 0.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log file shows each line at once
    note_run_folder(None)
    status, stuck = 0, False
    try:
        try:
            with run_errors():
                status = main() or 0
        finally:
            stuck = end_workers()
    except (InputError, RunError) as error:
        print(f"{script}: {sentence_of(error)}", file=sys.stderr)
        status = 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        sys.exit(f"{script}: interrupted")
    except Exception:
        traceback.print_exc()
        keep_traceback()
        status = 1
    leave(status, at_once=stuck)
