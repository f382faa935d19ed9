"""
What all processes of a run must have in common: program, flags and data, compared when the run starts.

A machine of several may hold another version of a library, another copy of the data or another flag. Training would
then go on with mixed data, or wait for ever. Each process gathers the settings of all, and all raise the same sentence.
"""

import hashlib
import importlib.util
import json
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from training.runtime.errors import InputError
from training.runtime.run_folder import versions

# Flags that each machine may set for itself: where things lie (their contents are compared), and what reads them.
OWN_FLAGS = {
    *("output_dir", "dataset", "eval_dataset", "monitor_dataset", "unlabelled_datasets", "stream_index"),
    *("model", "model_config", "teacher", "features_dir", "num_workers", "resume_from_checkpoint", "report_to"),
}
LONGEST_VALUE = 40  # characters of a value in a sentence; a longer one is shown by its hash
Made = TypeVar("Made")


def raised_in_all(make: Callable[[], Made]) -> Made:
    """Returns what `make` returns in this process. An InputError in any process is raised in all, with its machine."""
    from accelerate.utils import gather_object

    made, problem = None, None
    try:
        made = make()
    except InputError as error:
        problem = error
    problems = gather_object([(socket.gethostname(), problem and str(problem))])
    if problem is not None:
        raise problem
    for host, text in problems:
        if text is not None:
            raise InputError(f"on {host}: {text}")
    return made


def check_same_program(arguments: dict) -> None:
    """Raises InputError in every process where the libraries, the code or the flags of the processes differ."""
    from accelerate import PartialState

    if PartialState().num_processes > 1:
        check_alike({**versions(), "code of this package": code_hash(), **arguments})


def check_alike(settings: dict) -> None:
    """Raises InputError in every process, naming the settings (JSON values) that differ between processes."""
    from accelerate.utils import gather_object

    own = {name: short_text(value) for name, value in settings.items() if name not in OWN_FLAGS}
    everybody = gather_object([(socket.gethostname(), own)])
    names = dict.fromkeys(name for _, their in everybody for name in their)
    different = [name for name in names if len({their.get(name) for _, their in everybody}) > 1]
    if different:
        values = describe_values((host, their.get(different[0])) for host, their in everybody)
        others = f" (and {', '.join(different[1:])})" if different[1:] else ""
        raise InputError(
            f"the processes differ in {different[0]}{others}: {values}; every machine must have the same program, data"
            " and flags."
        )


def describe_values(values: Iterable[tuple[str, str | None]]) -> str:
    """Each value once, with the machines that have it, from pairs of machine and value."""
    machines: dict[str | None, list[str]] = {}
    for number, (host, value) in enumerate(values):
        machines.setdefault(value, []).append(f"{host} (process {number})")
    return ", ".join(
        f"{value or 'nothing'} on {hosts[0]}" + (f" and {len(hosts) - 1} more" if hosts[1:] else "")
        for value, hosts in machines.items()
    )


def short_text(value) -> str:
    text = json.dumps(value, sort_keys=True, default=str) if not isinstance(value, str) else value
    return text if len(text) <= LONGEST_VALUE else hashlib.sha256(text.encode()).hexdigest()[:16]


def code_hash() -> str:
    """Hash of the source of modeling_simfle and training: two checkouts may bear the same version."""
    origin = importlib.util.find_spec("modeling_simfle").origin
    digest = hashlib.sha256()
    for room in (Path(origin).parent, Path(__file__).parents[1]):
        for path in sorted(room.rglob("*.py")):
            digest.update(path.relative_to(room).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
