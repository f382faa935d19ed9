"""Writes the files of a run, each complete or unchanged at any time: the folder, JSON, the saved model, the logs."""

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from training.runtime.errors import ERROR_LOG, FULL_DISK, InputError, note_run_folder


def versions() -> dict[str, str]:
    """Versions of what computes, for run.json and metrics.json."""
    installed = {"python": platform.python_version()}
    for name in ("simfle", "torch", "transformers", "accelerate", "datasets", "safetensors", "numpy", "pillow"):
        distribution = next(iter(metadata.distributions(name=name)), None)
        installed[name] = distribution.version if distribution else "not installed"
    return installed


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yields a temporary path and renames it to `path` afterwards: a reader sees the old file or the whole new one."""
    temporary = path.with_name(path.name + ".tmp")
    yield temporary
    os.replace(temporary, path)


def write_text(path: Path, text: str) -> None:
    """Makes the folders above it too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content) -> None:
    """Flushed, before it gets its name."""
    with replaced(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)  # in the order given: classes have one
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def prepare_output_dir(output_dir: str, resume: bool, can_resume: bool = False) -> Path:
    """
    Makes the run folder. Refuses a non-empty folder without resuming, so that nothing is overwritten.

    A folder that holds only the error logs of earlier starts counts as empty.

    Args:
        resume: whether the run goes on there. can_resume: whether the script has --resume_from_checkpoint.
    """
    if not output_dir:
        raise InputError("--output_dir is missing; give a new folder.")
    folder = Path(output_dir)
    make_folder("--output_dir", folder)
    if not resume and any(not ERROR_LOG.fullmatch(path.name) for path in folder.iterdir()):
        hint = ", or go on with --resume_from_checkpoint latest" if can_resume else ""
        raise InputError(f"--output_dir {folder} is not empty; give a new folder{hint}.")
    note_run_folder(folder)
    return folder


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """
    A path to write a folder to, beside its place. It then gets its name: the folder is complete, or not there.

    Raises:
        InputError: something is already there.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder} is a file or not empty; give a new folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.tmp", dir=folder.parent) as root:
        staged = Path(root) / folder.name
        yield staged
        os.replace(staged, folder)


def make_folder(flag: str, folder: Path) -> Path:
    """Makes a folder that a flag asks for. Raises InputError naming the flag where that is impossible."""
    try:
        if os.path.lexists(folder) and not folder.is_dir():
            raise InputError(f"{flag} {folder} is {'a file' if folder.is_file() else 'no folder'}; give a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(f"{folder} cannot be written to")
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise InputError(f"{flag} {folder} cannot be made ({error.strerror or error}); give another folder.") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{flag} {str(folder)!r} cannot be made ({error}); give another folder.") from error
    return folder


def save_model(output_dir: Path, model, processor) -> None:
    """The loadable model at the top of a run: each file under a temporary name, then renamed."""
    temporary = output_dir / "model.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    processor.save_pretrained(temporary)
    share_weights(temporary)
    for path in temporary.iterdir():
        flush(path)
        os.replace(path, output_dir / path.name)
    temporary.rmdir()


def share_weights(folder: Path) -> None:
    """Gives weights the permissions of config.json: safetensors 0.8.0 writes files that their owner alone can read."""
    for path in folder.glob("[!.]*.safetensors"):
        path.chmod((folder / "config.json").stat().st_mode)


def flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class MetricsLog:
    """A .jsonl file: one JSON object a line. A resumed run drops the lines beyond its checkpoint's step first."""

    def __init__(self, path: Path, resumed_step: int):
        self.path, self.last_step = path, -1
        if not self.path.exists():
            return
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                step = json.loads(line)["step"]
                if step <= resumed_step:
                    lines.append(line + "\n")
                    self.last_step = step
            except (ValueError, KeyError):  # the line that was being written when the run was killed
                continue
        write_text(self.path, "".join(lines))

    def write(self, values: dict) -> None:
        self.last_step = values["step"]
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
