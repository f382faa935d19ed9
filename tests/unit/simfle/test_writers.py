# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Tier: `make check`. Rows to each kind of file and back, and a disk that is full."""

import errno
import io
import json
import os

import pyarrow.parquet
import pytest

from simfle.writers import RowWriter, TablePrinter, make_columns, read_rows

COLUMNS = make_columns(["neutral", "anger"], with_video=True)
BOX = {"xmin": -3, "ymin": 2, "xmax": 50, "ymax": 60}
ROWS = [
    {"image": 'a, "b"\n.jpg', "face": 0, "time": 0.04, "track": 2, "box": BOX, "detection_score": 0.9, "label": "anger"}
    | {"score": 0.75, "neutral": 0.25, "anger": 0.75},
    {"image": "empty.jpg"},
    {"image": "bad.jpg", "error": "cannot be read: it is cut off"},
]
WHOLE = [{column: row.get(column) for column in COLUMNS} for row in ROWS]


def test_columns():
    image = ["image", "face", "box", "detection_score", "label", "score", "neutral", "anger", "error"]
    assert make_columns(["neutral", "anger"], with_video=False) == image
    assert [*image[:2], "time", "track", *image[2:]] == COLUMNS


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_rows_come_back_with_their_types(tmp_path, ending):
    file = tmp_path / ("faces" + ending)
    writer = RowWriter(file, COLUMNS)
    writer.write(ROWS[:1])
    assert list(read_rows(writer.path)) == WHOLE[:1]  # written as they come
    writer.write(ROWS[1:])
    writer.finish()
    assert list(read_rows(file)) == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_parquet_has_one_schema_even_without_rows(tmp_path):
    RowWriter(tmp_path / "none.parquet", COLUMNS).finish()
    writer = RowWriter(tmp_path / "some.parquet", COLUMNS)
    writer.write(ROWS)
    writer.finish()
    schemas = [pyarrow.parquet.read_schema(tmp_path / f"{name}.parquet") for name in ("none", "some")]
    assert schemas[0] == schemas[1]
    assert schemas[0].names == COLUMNS
    assert str(schemas[0].field("time").type) == "double"


def test_a_box_in_csv_is_four_numbers(tmp_path):
    writer = RowWriter(tmp_path / "f.csv", COLUMNS)
    writer.write(ROWS)
    lines = (tmp_path / "f.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert ",0,0.04,2,-3 2 50 60,0.9,anger,0.75,0.25,0.75," in lines[2]


def test_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    for ending in (".csv", ".jsonl"):
        writer = RowWriter(tmp_path / ("f" + ending), COLUMNS)
        writer.write([{"image": name}])
        text = (tmp_path / ("f" + ending)).read_text(encoding="utf-8")
        assert r"caf\udce9.jpg" in text
    assert json.loads(text)["image"] == name


def test_a_full_disk_leaves_whole_rows(tmp_path):
    writer = RowWriter(tmp_path / "f.csv", COLUMNS)
    writer.write(ROWS[:1])
    before, stream = (tmp_path / "f.csv").read_bytes(), writer._stream

    class Full(io.RawIOBase):
        """Takes ten bytes more."""

        room = 10

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            count = stream.write(data[: self.room])
            self.room -= count
            return count

        truncate = stream.truncate

    writer._stream = Full()
    with pytest.raises(OSError, match="No space"):
        writer.write(ROWS[1:])
    assert (tmp_path / "f.csv").read_bytes() == before


def test_the_table_on_a_terminal(capsys):
    printer = TablePrinter(COLUMNS)
    printer.write(ROWS[1:])
    printer.write([{**ROWS[0], "image": "a.jpg"}])
    header, empty, bad, face = capsys.readouterr().out.splitlines()
    assert header.split() == ["image", "face", "time", "track", "box", "label", "score"]
    assert empty.split() == ["empty.jpg", "no", "face"]
    assert bad.split(None, 1) == ["bad.jpg", "error: cannot be read: it is cut off"]
    assert face.split() == ["a.jpg", "0", "0.04", "2", "-3", "2", "50", "60", "anger", "0.75"]
    assert header.index("label") == face.index("anger") == empty.index("no face")
