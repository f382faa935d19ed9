"""
The three kinds of failure of a script, and how each ends it.

`InputError`: bad input; one sentence with the value, the allowed range and the fix; exit status 2. `RunError`:
something outside broke the run (a full disk, a dead process, a time-out); one sentence that says what was saved; exit
status 1. Anything else is a bug: its traceback is shown, and kept in `error.log` of the run folder.
"""

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
BAD_NAME = {errno.ENAMETOOLONG, errno.ELOOP}
# The variables that name the caches of the libraries, the more special ones first.
CACHES = ("HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_MODULES_CACHE", "HF_HOME", "TMPDIR")
BROKEN_DISK = {errno.EIO, errno.ESTALE, errno.EROFS, errno.EACCES, errno.EPERM}
# What fetching a batch raises when a data worker dies while it hands the batch over.
WORKER_ERRORS = (ConnectionResetError, ConnectionRefusedError, EOFError)
LOADER_SENTENCE = re.compile(r"DataLoader (worker \(pid|timed out)")  # torch 2.13: plain RuntimeErrors
# Gloo raises plain RuntimeErrors too (torch 2.13). Each begins with the source file of gloo that raised it.
LOST_PEER = re.compile(
    r"gloo/(transport|rendezvous).*(Connection|Broken pipe|[Tt]imed out|[Rr]ead error|[Ww]rite error|[Nn]o route)"
)
WRONG_CALL = re.compile(r"[Ii]nvalid (usage|argument)")  # of NCCL: a bug, not a lost process
# What json.loads raises on bytes that are not JSON: RecursionError on deep nesting, ValueError on all else.
NOT_JSON = (ValueError, RecursionError)
LONGEST_SENTENCE = 1000  # characters
ERROR_LOG = re.compile(r"error(_rank\d+)?\.log")

_run_folder: Path | None = None


class InputError(ValueError):
    """Bad input: one sentence with the value, the allowed range and the fix."""


class RunError(RuntimeError):
    """Something outside broke the run: one sentence that says what was saved."""


def shortened(sentence: str) -> str:
    """A sentence without its middle where it is too long to be read: it may quote a value that fills a file."""
    if len(sentence) <= LONGEST_SENTENCE:
        return sentence
    return f"{sentence[: LONGEST_SENTENCE * 2 // 3]} [...] {sentence[-LONGEST_SENTENCE // 4 :]}"


@contextmanager
def run_errors(stands: str = "what was saved before stands") -> Iterator[None]:
    """
    Turns what breaks a run from outside into a RunError; `stands`, what was saved, ends its sentence. A name that no
    file can have, and a cache that cannot be made, become an InputError.
    """
    try:
        yield
    except (InputError, RunError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in BAD_NAME:
            raise InputError(f"{str(error.filename)[:100]}: no file can have this name ({error.strerror}).") from error
        if cache := unusable_cache(error):
            raise InputError(f"{cache}={os.environ[cache]} cannot be used ({error}); name another folder.") from error
        sentence = describe_breakdown(error)
        if sentence is None:
            raise
        raise RunError(f"{sentence}; {stands}") from error


def describe_breakdown(error: BaseException | None) -> str | None:
    """The sentence for a full disk, a dead data worker or a dead process, without what stands. None for a bug."""
    if error is None:
        return None
    text = " ".join(str(error).split())[:200]
    number = system_error(error)
    if number in FULL_DISK:
        return f"the disk is full, or a limit on its files is reached ({text})"
    if number in BROKEN_DISK or (number is not None and is_in_run_folder(error)):
        return f"a file cannot be read or written ({text})"
    if is_lost_worker(error, text):
        return f"a data worker died or hung ({text})"
    if is_lost_process(error, text):
        return f"another process of the run died or did not answer in time ({text})"
    return describe_breakdown(error.__cause__)


def unusable_cache(error: BaseException) -> str | None:
    """The variable of CACHES whose folder cannot be made, which is what the error is about; None for others."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str):
        return None
    for name in filter(os.environ.get, CACHES):
        folder = Path(os.environ[name]).absolute()
        if folder.is_relative_to(error.filename) or folder in Path(error.filename).parents:
            return None if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) else name
    return None


def system_error(error: BaseException) -> int | None:
    """The number of the operating system's error, also inside the text of a SafetensorError; None for others."""
    if isinstance(error, OSError):
        return error.errno
    if type(error).__name__ == "SafetensorError":  # its type has no number; safetensors stays out of `--help`
        match = re.search(r"os error (\d+)", str(error))
        return int(match[1]) if match else None
    return None


def is_in_run_folder(error: BaseException) -> bool:
    """Whether a file in the run folder caused an error; safetensors names no file, but writes weights only there."""
    if not isinstance(error, OSError):
        return True
    name = error.filename
    return _run_folder is not None and isinstance(name, str) and Path(name).absolute().is_relative_to(_run_folder)


def is_lost_worker(error: BaseException, text: str) -> bool:
    """Whether torch's loader says that a worker is gone, or lost its connection to one."""
    if isinstance(error, RuntimeError) and LOADER_SENTENCE.match(text):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    in_loader = any(Path(frame.filename).parts[-3:] == ("utils", "data", "dataloader.py") for frame in frames)
    return isinstance(error, WORKER_ERRORS) and in_loader


def is_lost_process(error: BaseException, text: str) -> bool:
    """Whether torch's communication between processes says that one is gone."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.distributed.DistError):
        return not WRONG_CALL.search(text)
    return isinstance(error, RuntimeError) and bool(LOST_PEER.search(text))


def note_run_folder(folder: Path | None) -> None:
    """Names the folder that this process's error.log is kept in; None for none."""
    global _run_folder
    _run_folder = folder.absolute() if folder else None


def keep_traceback() -> None:
    """Appends the traceback of the current exception to the run folder's log of this process, if there is a folder."""
    rank = int(os.environ.get("RANK", 0))
    if _run_folder is not None:
        with suppress(OSError), open(_run_folder / (f"error_rank{rank}.log" if rank else "error.log"), "a") as file:
            file.write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}\n{traceback.format_exc()}\n")
