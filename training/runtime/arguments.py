"""
Command-line arguments of the scripts: dataclasses read by HfArgumentParser, `--recipe FILE.yaml` first, flags over it.

Only light imports here: a script must answer `--help` and bad flags before torch is imported.
"""

import argparse
import dataclasses
import difflib
import io
import multiprocessing
import os
import re
import signal
import sys
import types
import typing
from contextlib import suppress
from pathlib import Path

import yaml

from training.runtime.errors import InputError

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
    known, _ = parser.parse_known_args(argv)
    if known.recipe:
        try:
            parser.set_defaults(**read_recipe(known.recipe, dataclass_types))
        except (ValueError, OSError) as error:
            parser.error(str(error))
    found, strays = parser.parse_known_args(argv)
    if strays:
        parser.error(describe_stray(strays, dataclass_types))
    namespace, parsed = vars(found), []
    for kind in dataclass_types:
        parsed.append(kind(**{f.name: namespace.pop(f.name) for f in dataclasses.fields(kind)}))
    return (*parsed, argparse.Namespace(**namespace)) if positionals else tuple(parsed)


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
    """A recipe's keys and values, checked against the dataclasses. Raises ValueError naming the key."""
    if not Path(path).is_file():
        raise InputError(f"recipe {path} does not exist")
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
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
    """Raises ValueError with the value and the range."""
    if value is None or ((low <= value if low_included else low < value) and value <= high):
        return
    raise InputError(f"--{name} {value} must be in {'[' if low_included else '('}{low}, {high}].")


def run_main(script: str, main) -> None:
    """Runs a script's main: a bad input becomes one sentence on stderr and status 1, without a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log file shows a line when it is said, not at the end
    stuck = False
    try:
        try:
            main()
        finally:
            stuck = end_workers()
    except (ValueError, OSError) as error:
        sentence = f"{script}: {' '.join(str(error).split())}"
        leave_processes(1, sentence, at_once=stuck)
        sys.exit(sentence)
    except KeyboardInterrupt:
        sys.exit(f"{script}: interrupted")
    if stuck:
        leave_processes(0, at_once=True)


def ignore_stop_signals(_) -> None:
    """A loader's worker: signals to the whole group are the training process's to answer; it ends its workers."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_workers() -> bool:
    """
    Kills the loaders' workers: at the end of the process a hung one would be waited for, and of a dead one torch's
    handler of SIGCHLD would tell late, as a traceback out of whatever runs by then.

    Returns:
        Whether one outlives that, as in a disk's or a network's call that does not return.
    """
    previous = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL
    with suppress(RuntimeError):  # what the handler has to tell already
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join(5)
    signal.signal(signal.SIGCHLD, previous)
    return any(worker.is_alive() for worker in workers)


def leave_processes(status: int, message: str = "", at_once: bool = False) -> None:
    """
    Ends a process of several at once, while all that belongs to the group still lives; does nothing in one alone,
    unless `at_once` says that something would be waited for.

    Destroying a gloo group (torch 2.13) holds the GIL and waits for a thread that may want it: a process could wait for
    ever at its end.
    """
    if at_once or int(os.environ.get("WORLD_SIZE", 1)) > 1:
        if message:
            print(message, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
