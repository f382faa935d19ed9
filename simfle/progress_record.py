# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Which files are done: FILE.progress.jsonl beside an --output.

Its first line names the model by the hash of its weights, the options that change results, and the columns. Each other
line is a file that is done: path, size (bytes), modified (nanoseconds), end (bytes of the output after its rows), read.
A file's line is written after its rows, so a run that stopped anywhere goes on after the last line.
"""

import io
import json
from pathlib import Path

from simfle.errors import InputError
from simfle.inputs import Source
from simfle.writers import as_json, encode, is_parquet, make_columns, read_rows, stream_path


class ProgressRecord:
    """
    Args:
        output: the file of --output. model: hash of the weights. options: what else a row depends on.
    """

    def __init__(self, output: Path, model: str, options: dict):
        self.output, self.model, self.options = output, model, options
        self.path = self.path_of(output)
        self.columns: list[str] = []
        self.done: dict[str, tuple[int, int]] = {}  # path -> size, modified
        self.end, self.read_files = 0, 0
        self._stream: io.FileIO | None = None

    @staticmethod
    def path_of(output: Path) -> Path:
        return output.with_name(output.name + ".progress.jsonl")

    def start(self, columns: list[str]) -> None:
        """Begins a new record. Raises OSError."""
        self.columns = columns
        self._stream = open(self.path, "wb", buffering=0)  # noqa: SIM115
        self._append({"model": self.model, "options": self.options, "columns": columns})

    def resume(self, with_video: bool) -> bool:
        """
        Reads the record of an earlier run, and keeps its files up to the first that has changed since.

        Args:
            with_video: whether a video is among the inputs.
        Returns:
            False where there is nothing to go on with.
        Raises:
            InputError: the record belongs to another model or other options, or the output does not fit it.
        """
        if not self.path.exists():
            if self.output.exists():
                raise InputError(f"{self.output} has no {self.path.name} beside it; give --overwrite to start anew.")
            return False
        lines = read_lines(self.path)
        if not lines:
            return False
        self._check_header(lines[0], with_video)
        size = self._size_of_stream(lines)
        self._stream = open(self.path, "r+b", buffering=0)  # noqa: SIM115
        kept = len(encode(as_json(lines[0])))
        for line in lines[1:]:
            if line["end"] > size or has_changed(line):
                break
            kept += len(encode(as_json(line)))
            self._count(line)
        self._stream.truncate(kept)
        self._stream.seek(kept)
        return True

    def _check_header(self, header: dict, with_video: bool) -> None:
        if header.get("model") != self.model:
            raise InputError(f"{self.output} was begun with another model; resume with that one, or give --overwrite.")
        for name, value in self.options.items():
            if header["options"].get(name) != value:
                was = header["options"].get(name)
                raise InputError(
                    f"{self.output} was begun with --{name} {was}, not {value}; give that value, or --overwrite."
                )
        self.columns = header["columns"]
        if with_video and "time" not in self.columns:
            raise InputError(f"{self.output} was begun without videos and has no column time; give another --output.")

    def _size_of_stream(self, lines: list[dict]) -> int:
        """The bytes of rows written so far. A finished Parquet file is first written back to its stream of rows."""
        stream = stream_path(self.output)
        if is_parquet(self.output) and not stream.exists() and self.output.exists():
            with open(stream, "wb") as file:
                file.writelines(encode(as_json(row)) for row in read_rows(self.output))
            if len(lines) > 1 and stream.stat().st_size != lines[-1]["end"]:
                stream.unlink()
                raise InputError(f"{self.output} has changed since it was written; give --overwrite to start anew.")
        return stream.stat().st_size if stream.exists() else 0

    def _count(self, line: dict) -> None:
        self.done[line["path"]] = line["size"], line["modified"]
        self.end = line["end"]
        self.read_files += line["read"]

    def has(self, source: Source) -> bool:
        return self.done.get(source.name) == (source.size, source.modified)

    def add(self, source: Source, end: int, read: bool) -> None:
        """A file is done. end: bytes of the output after its rows. read: whether it gave an image."""
        line = {"path": source.name, "size": source.size, "modified": source.modified, "end": end, "read": read}
        self._append(line)
        self._count(line)

    def _append(self, line: dict) -> None:
        self._stream.write(encode(as_json(line)))

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


def read_lines(path: Path) -> list[dict]:
    """
    The whole lines of a record; a last one that was cut off is left out. Raises InputError: a line that simfle does not
    write.
    """
    lines: list[dict] = []
    for number, text in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):  # the latter on deep nesting
            line = None
        if not (is_header(line) if number == 1 else is_file(line)):
            raise InputError(f"{path} is damaged in line {number}; give --overwrite to start anew.")
        lines.append(line)
    return lines


def is_header(line) -> bool:
    """Whether a line names the model, the options, and columns such as simfle writes."""
    if not isinstance(line, dict) or not isinstance(line.get("options"), dict):
        return False
    columns = line.get("columns")
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        return False
    *start, end = make_columns([], "time" in columns)
    is_ours = columns[: len(start)] == start and columns[-1:] == [end]
    return is_ours and len(set(columns)) == len(columns) and isinstance(line.get("model"), str)


def is_file(line) -> bool:
    """Whether a line is that of a file that is done."""
    if not isinstance(line, dict) or not isinstance(line.get("path"), str) or "\0" in line["path"]:
        return False
    return all(type(line.get(name)) is int for name in ("size", "modified", "end")) and type(line.get("read")) is bool


def has_changed(line: dict) -> bool:
    """Whether a finished file has a new size or modification time. A file that no longer exists counts as unchanged."""
    try:
        about = Path(line["path"]).stat()
    except OSError:
        return False
    return (about.st_size, about.st_mtime_ns) != (line["size"], line["modified"])
