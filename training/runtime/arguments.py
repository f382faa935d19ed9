"""
Command-line arguments of the scripts: dataclasses read by HfArgumentParser, `--recipe FILE.yaml` first, flags over it.

Only light imports here: a script must answer `--help` and bad flags before torch is imported.
"""

import argparse
import dataclasses
import difflib
import io
import os
import re
import sys
import traceback
import types
import typing
from pathlib import Path

import yaml

from training.runtime.errors import InputError, RunError, keep_traceback, note_run_folder, run_errors
from training.runtime.processes import end_workers, leave

EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")  # YAML 1.1 takes them for texts, but for 1.0e-2


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


def make_parser(dataclass_types, description, positionals):
    """HfArgumentParser, but a bad flag or value is one sentence, without the usage of every flag."""
    from transformers import HfArgumentParser

    class OneSentenceParser(HfArgumentParser):
        def error(self, message):
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


def read_recipe(path: str, dataclass_types) -> dict:
    """Returns a recipe's keys and values, checked against the dataclasses. Raises InputError naming the key."""
    if not Path(path).is_file():
        raise InputError(f"recipe {path} does not exist")
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(recipe, dict):
        raise InputError(f"recipe {path} must be a mapping of flags to values, not a {type(recipe).__name__}")
    hints = {name: hint for kind in dataclass_types for name, hint in typing.get_type_hints(kind).items()}
    for key, value in recipe.items():
        if key not in hints:
            close = did_you_mean(str(key), list(hints))
            raise InputError(f"recipe {path}: unknown key {key!r}; known are {', '.join(sorted(hints))}{close}")
        recipe[key] = as_meant(value, hints[key])
        if not matches_type(recipe[key], hints[key]):
            raise InputError(f"recipe {path}: {key}={value!r} is not {describe_type(hints[key])}")
    return recipe


def choices_of(hint) -> tuple:
    """The types of a union, without None; else the one."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(choice for choice in typing.get_args(hint) if choice is not type(None))
    return (hint,)


def as_meant(value, hint):
    """The value where YAML 1.1 reads another than is written: `1e-2` as a text, `no` as false. An int as a float."""
    for choice in choices_of(hint):
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if choice is float and (is_number or (isinstance(value, str) and EXPONENT.fullmatch(value))):
            return float(value)
        if typing.get_origin(choice) is list and isinstance(value, list):
            return [as_meant(item, typing.get_args(choice)[0]) for item in value]
        if typing.get_origin(choice) is typing.Literal and value is False and "no" in typing.get_args(choice):
            return "no"
    return value


def matches_type(value, hint) -> bool:
    """Whether a YAML value has the type of a field; an int will do for a float, a bool never for a number."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(matches_type(value, choice) for choice in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin is list:
        return isinstance(value, list) and all(matches_type(item, typing.get_args(hint)[0]) for item in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def describe_type(hint) -> str:
    hint = choices_of(hint)[0]
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    return f"of type {getattr(hint, '__name__', str(hint))}"


def check_range(name: str, value, low, high=float("inf"), low_included: bool = True) -> None:
    """Raises InputError with the value and the range."""
    if value is None or ((low <= value if low_included else low < value) and value <= high):
        return
    raise InputError(f"--{name} {value} must be in {'[' if low_included else '('}{low}, {high}].")


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
        print(f"{script}: {' '.join(str(error).split())}", file=sys.stderr)
        status = 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        sys.exit(f"{script}: interrupted")
    except Exception as error:
        if isinstance(error, OSError) and error.errno is None:  # a sentence about a file or Hub id that is not there
            print(f"{script}: {' '.join(str(error).split())}", file=sys.stderr)
            status = 2
        else:
            traceback.print_exc()
            keep_traceback()
            status = 1
    leave(status, at_once=stuck)
