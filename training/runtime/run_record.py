"""
The record of a run: run.json says what the run is and never changes; progress.json says how far it is.

run.json is written when the run starts. progress.json is written at every start, checkpoint and end.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from training.runtime.lineage import make_lineage, read_json, typed_command
from training.runtime.run_folder import versions, write_json

RECORD, PROGRESS = "run.json", "progress.json"


@dataclass(frozen=True)
class RunRecord:
    """What run.json holds."""

    script: str
    argv: list[str]  # as typed
    arguments: dict  # of the flags and the recipe, by name
    recipe: dict | None  # {"path", "sha256"}
    versions: dict
    data: dict  # what the weights learn from
    lineage: list  # see training.runtime.lineage
    settings: dict  # what else the run goes by; at the top level of run.json


@dataclass(frozen=True)
class CommandLine:
    """A script's name, its flags as typed, and the dataclasses that they were read into."""

    script: str
    argv: list[str]
    dataclasses: tuple

    @property
    def arguments(self) -> dict:
        """All arguments by name."""
        return {name: value for part in self.dataclasses for name, value in asdict(part).items()}


def read_command_line(script: str, argv: Iterable | None, dataclasses: tuple) -> CommandLine:
    """The command line of a script. argv: as its `main` takes it; None is sys.argv."""
    return CommandLine(script, [str(word) for word in (sys.argv[1:] if argv is None else argv)], dataclasses)


def make_record(line: CommandLine, method: str, data: dict, sources: Iterable, settings: dict) -> RunRecord:
    """
    Args:
        method: such as "pretraining". data: {"format", "name", "split", "fingerprint", "num_images", ...}.
        sources: folders or Hub ids that the weights start or learn from; None for none. settings: see RunRecord.
    """
    lineage = make_lineage(method, typed_command(line.script, line.argv), data, sources)
    recipe = describe_recipe(line.argv)
    return RunRecord(line.script, line.argv, line.arguments, recipe, versions(), data, lineage, settings)


def describe_recipe(argv: list[str]) -> dict | None:
    """Path and hash of the recipe among flags, or None."""
    parser = ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--recipe")
    path = parser.parse_known_args(argv)[0].recipe
    return {"path": path, "sha256": sha256(Path(path).expanduser().read_bytes()).hexdigest()} if path else None


def write_record(folder: Path, record: RunRecord) -> None:
    """Writes run.json."""
    content = asdict(record)
    write_json(folder / RECORD, {**content.pop("settings"), **content})


def read_progress(folder: Path) -> dict:
    """progress.json; {} where there is none."""
    return read_json(folder / PROGRESS, optional=True)


def add_start(folder: Path, argv: list[str], num_processes: int, step: int, planned_steps: int) -> None:
    """Adds a start of the run to progress.json: when, by what command and versions, in how many processes."""
    start = {"date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}", "step": step, "argv": argv}
    start |= {"num_processes": num_processes, "versions": versions()}
    progress = read_progress(folder) if step else {}
    starts = [*progress.get("starts", []), start]
    write_progress(folder, step=step, planned_steps=planned_steps, finished=False, starts=starts)


def write_progress(folder: Path, **changes) -> None:
    """Changes values of progress.json: step, planned_steps, finished, bad_images, scaler, starts."""
    write_json(folder / PROGRESS, {**read_progress(folder), **changes})
