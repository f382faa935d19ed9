"""
Command-line arguments of the scripts: dataclasses read by HfArgumentParser, `--recipe FILE.yaml` first, flags over it.

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

from training.runtime.errors import InputError, RunError, keep_traceback, note_run_folder, run_errors
from training.runtime.processes import end_workers, leave

PRECISION = "precision of autocast; by default that of Accelerate's config, else no"


def flag(default, help: str, low: float | None = None, high: float = float("inf")):
    """
    A field of an argument dataclass. A list is the default of each new instance.

    Args:
        low, high: the range of a number, both included; see `check_ranges`.
    """
    metadata = {"help": help} | ({} if low is None else {"range": (low, high)})
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check_ranges(arguments) -> None:
    """Raises InputError for the first field of a dataclass that lies outside the range given to `flag`."""
    for f in dataclasses.fields(arguments):
        if "range" in f.metadata:
            check_range(f.name, getattr(arguments, f.name), *f.metadata["range"])


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
    parser = make_parser(dataclass_types, description, positionals)
    argv = sys.argv[1:] if argv is None else list(argv)
    recipe = parser.parse_known_args(argv)[0].recipe
    if recipe:
        try:
            parser.set_defaults(**read_recipe(os.path.expanduser(recipe), dataclass_types))
        except InputError as error:
            parser.error(str(error))
    found, strays = parser.parse_known_args(argv)
    if strays:
        parser.error(describe_stray(strays, dataclass_types))
    namespace: dict = {name: with_home(value) for name, value in vars(found).items()}
    parsed = []
    for kind in dataclass_types:
        parsed.append(kind(**{f.name: namespace.pop(f.name) for f in dataclasses.fields(kind)}))
    return (*parsed, argparse.Namespace(**namespace)) if positionals else tuple(parsed)


def with_home(value):
    """
    Returns a text that begins with `~` with the home folder in its place; lists item by item, other values as they are.

    No text argument of these scripts begins with `~` but a path, so a new flag needs no mark to be expanded.
    """
    if isinstance(value, list):
        return [with_home(item) for item in value]
    if isinstance(value, Path):
        return Path(os.path.expanduser(value))
    return os.path.expanduser(value) if isinstance(value, str) else value


def make_parser(dataclass_types, description=None, positionals=(), recipe: str | None = None):
    """
    HfArgumentParser, but a bad flag or value is one sentence, without the usage of every flag.

    Args:
        recipe: a file whose values are parsed; the parser then raises InputError naming it.
    """
    from transformers import HfArgumentParser

    class OneSentenceParser(HfArgumentParser):
        def add_argument(self, *names, range=None, **options):  # HfArgumentParser hands all metadata of `flag` on
            return super().add_argument(*names, **options)

        def error(self, message):
            if recipe:
                raise InputError(f"recipe {recipe}: {message}")
            self.exit(2, f"{self.prog}: {message}\n")

    parser = OneSentenceParser(
        dataclass_types,
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--recipe", default=None, help="YAML file of flags; flags on the command line win")
    for name, options in positionals:
        parser.add_argument(name, **options)
    return parser


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


def read_recipe(path: str | Path, dataclass_types) -> dict:
    """
    A recipe's values by flag. They are parsed as on a command line: `1e-2` is a number, `no` is what its flag takes.

    Raises:
        InputError: a file that cannot be read; an unknown flag or a wrong value, with its name.
    """
    try:
        # The base loader leaves every value as it is written. YAML 1.1 would take 1e-2 for a text, and no for false.
        recipe = yaml.load(Path(path).read_text(encoding="utf-8"), yaml.BaseLoader) or {}
    except (OSError, UnicodeDecodeError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise InputError(f"recipe {path} {reason}") from error
    except yaml.YAMLError as error:
        raise InputError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(recipe, dict):
        raise InputError(f"recipe {path} must be a mapping of flags to values, not a {type(recipe).__name__}")
    known = [f.name for kind in dataclass_types for f in dataclasses.fields(kind)]
    words = []
    for name, value in recipe.items():
        if name not in known:
            close = did_you_mean(name, known)
            raise InputError(f"recipe {path}: unknown key {name!r}; known are {', '.join(sorted(known))}{close}")
        words += [f"--{name}", *value] if isinstance(value, list) else [f"--{name}={value}"]
    parsed = make_parser(dataclass_types, recipe=str(path)).parse_args(words)
    return {name: getattr(parsed, name) for name in recipe}


def check_range(name: str, value, low, high=float("inf"), low_included: bool = True) -> None:
    """Raises InputError with the value and the range."""
    if value is None or ((low <= value if low_included else low < value) and value <= high):
        return
    raise InputError(f"--{name} {value} must be in {'[' if low_included else '('}{low}, {high}].")


def sentence_of(error: Exception) -> str:
    """The error's text on one line. torch 2.13 puts a data worker's traceback before the text of its error."""
    text = str(error)
    if text.startswith(f"Caught {type(error).__name__} in DataLoader worker"):
        text = text.rsplit(f"{type(error).__name__}: ", 1)[-1]
    return " ".join(text.split())


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
