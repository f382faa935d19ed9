# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Rows to CSV, JSON lines, Parquet or the terminal, as they come.

A row is a mapping with the columns of `make_columns`; a missing value is None. Rows are written whole and without
a buffer. If the command stops, all finished rows are in the file.
"""

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from simfle.errors import InputError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
TEXTS, INTEGERS = ("image", "label", "error"), ("face", "track", "frames")  # all other columns but box hold floats
BATCH = 10_000  # rows in memory while a Parquet file is made


def make_columns(classes: list[str], with_video: bool) -> list[str]:
    """The columns of a row a face. with_video: whether `time` and `track` are among them."""
    times = ["time", "track"] if with_video else []
    return ["image", "face", *times, "box", "detection_score", "label", "score", *classes, "error"]


def as_csv(values: Iterable) -> str:
    """One line; a box is its four corners with blanks between."""
    text = io.StringIO()
    flat = (" ".join(str(v[c]) for c in CORNERS) if isinstance(v, dict) else v for v in values)
    csv.writer(text, lineterminator="\n").writerow(flat)
    return text.getvalue()


def as_json(row: dict) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def encode(text: str) -> bytes:
    r"""UTF-8; a byte of a file name that is none becomes \udcXX."""
    return text.encode("utf-8", "backslashreplace")


def is_csv(file: Path) -> bool:
    return file.suffix.lower() == ".csv"


def is_parquet(file: Path) -> bool:
    return file.suffix.lower() == ".parquet"


def stream_path(file: Path) -> Path:
    """The file that rows are written to as they come: the output, or FILE.partial.jsonl of a Parquet file."""
    return file.with_name(file.name + ".partial.jsonl") if is_parquet(file) else file


class RowWriter:
    """
    Writes the rows of a file; `finish` completes it.

    Args:
        file: .csv, .jsonl or .parquet. columns: of its rows. size: bytes to keep of the stream; 0 starts anew.
    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, file: Path, columns: list[str], size: int = 0):
        self.file, self.columns, self.path = file, columns, stream_path(file)
        self._stream = open(self.path, "r+b" if size else "wb", buffering=0)  # noqa: SIM115
        self._stream.truncate(size)
        self.size = self._stream.seek(size)
        if size == 0 and is_csv(file):
            self._append(as_csv(columns))

    def write(self, rows: list[dict]) -> None:
        """Appends rows. Raises OSError: the disk is full; no part of these rows is left in the file."""
        ordered = [{column: row.get(column) for column in self.columns} for row in rows]
        self._append("".join(as_csv(row.values()) if is_csv(self.file) else as_json(row) for row in ordered))

    def _append(self, text: str) -> None:
        data = memoryview(encode(text))
        try:
            while data:
                data = data[self._stream.write(data) :]
        except OSError:
            self._stream.truncate(self.size)
            raise
        self.size = self._stream.tell()

    def close(self) -> None:
        self._stream.close()

    def finish(self) -> None:
        """Completes the file: a Parquet file is made and its stream goes. Raises OSError, and keeps the stream."""
        self.close()
        if is_parquet(self.file):
            write_parquet(read_rows(self.path), self.columns, self.file)
            self.path.unlink()


def read_rows(path: Path) -> Iterator[dict]:
    """The rows of a .csv, .jsonl or .parquet file of ours, with their types. Raises InputError: a damaged file."""
    number = 0
    try:
        for number, row in enumerate(_read_rows(path), 1):
            if not is_row(row):
                raise ValueError(f"row {number} is none that simfle writes")
            yield row
    except (ValueError, RecursionError, csv.Error, OSError) as error:  # pyarrow's errors of content are ValueErrors
        if isinstance(error, OSError) and error.errno is not None:
            raise
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is damaged after row {number} ({why}); give --overwrite to start anew.") from error


def is_row(row) -> bool:
    """Whether a row has names of columns, and the values that its columns hold."""

    def fits(column, value) -> bool:
        if value is None or column in TEXTS:
            return value is None or isinstance(value, str)
        if column == "box":
            return isinstance(value, dict) and tuple(value) == CORNERS and all(type(v) is int for v in value.values())
        return type(value) is int if column in INTEGERS else type(value) in (int, float)

    return isinstance(row, dict) and all(isinstance(c, str) and fits(c, value) for c, value in row.items())


def _read_rows(path: Path) -> Iterator[dict]:
    if is_parquet(path):
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(BATCH):
                yield from batch.to_pylist()
    elif is_csv(path):
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if None in row or None in row.values():
                    raise ValueError("a line has more or fewer cells than the first")
                yield {column: parse(column, text) for column, text in row.items()}
    else:
        with open(path, encoding="utf-8") as file:
            yield from map(json.loads, file)


def parse(column: str, text: str):
    """A value of a CSV file with its type."""
    if text == "":
        return None
    if column in TEXTS:
        return text
    if column == "box":
        return dict(zip(CORNERS, map(int, text.split())))
    return int(text) if column in INTEGERS else float(text)


def write_parquet(rows: Iterable[dict], columns: list[str], file: Path) -> None:
    """Writes a Parquet file under a temporary name, then renames it. Raises OSError."""
    import pyarrow as pa
    import pyarrow.parquet

    def kind(column: str):
        if column == "box":
            return pa.struct([(corner, pa.int64()) for corner in CORNERS])
        return pa.string() if column in TEXTS else pa.int64() if column in INTEGERS else pa.float64()

    schema, rows = pa.schema([(column, kind(column)) for column in columns]), iter(rows)
    temporary = file.with_name(file.name + ".tmp")
    try:
        with pyarrow.parquet.ParquetWriter(temporary, schema) as writer:
            while batch := list(islice(rows, BATCH)):
                writer.write_table(pa.Table.from_pylist(batch, schema))
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(rows: list[dict], columns: list[str], file: Path) -> None:
    """A short table to a .csv, .jsonl or .parquet file under a temporary name, then a rename. Raises OSError."""
    if is_parquet(file):
        write_parquet(rows, columns, file)
        return
    if is_csv(file):
        text = as_csv(columns) + "".join(as_csv(row.get(column) for column in columns) for row in rows)
    else:
        text = "".join(as_json({column: row.get(column) for column in columns}) for row in rows)
    temporary = file.with_name(file.name + ".tmp")
    try:
        temporary.write_bytes(encode(text))
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


class TablePrinter:
    """
    Rows as an aligned table on standard output.

    Args:
        columns: those to print, with their widths; a wider value moves the rest of its line.
    """

    WIDTHS = {"image": 36, "time": 8, "start": 8, "end": 8, "track": 5, "face": 4, "frames": 6, "box": 21, "label": 12}

    def __init__(self, columns: list[str]):
        self.columns = [column for column in columns if column in self.WIDTHS or column == "score"]
        self._has_header = False

    def write(self, rows: list[dict]) -> None:
        """Prints rows. Raises BrokenPipeError: nobody reads them any more."""
        if not self._has_header:
            self._print(self.columns)
            self._has_header = True
        for row in rows:
            if row.get("error"):
                self._print([row["image"]], f"  error: {row['error']}")
            else:
                no_face = "no face" if "box" in self.columns and row.get("label") is None else None
                values = {**row, "label": row.get("label") or no_face}
                self._print([self._text(column, values.get(column)) for column in self.columns])
        sys.stdout.flush()

    def _print(self, texts: list[str], rest: str = "") -> None:
        cells = (f"{text:<{self.WIDTHS.get(column, 0)}}" for column, text in zip(self.columns, texts))
        print("  ".join(cells).rstrip() + rest)

    @staticmethod
    def _text(column: str, value) -> str:
        if value is None:
            return ""
        if isinstance(value, dict):
            return " ".join(str(value[corner]) for corner in CORNERS)
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    def close(self) -> None:
        """There is nothing to close."""

    finish = close
