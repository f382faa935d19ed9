# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Tier: `make check`. Going on where a run stopped: by path, size, time and the model's hash."""

import os

import pytest

from simfle.errors import InputError
from simfle.writers import read_rows
from tests.unit.simfle.coloured_faces import ColouredFaces, analyse, picture


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for index in range(6):
        picture(("red", 10 + index, 10, 40), ("blue", 80, 40, 30)).save(tmp_path / "in" / f"{index}.png")
    return tmp_path / "in"


class Counting(ColouredFaces):
    def __init__(self):
        super().__init__()
        self.images = 0

    def prepare(self, image):
        self.images += 1
        return super().prepare(image)


def cut(output, files, half_a_row=True):
    """Leaves the record of so many files, and rows beyond them."""
    record = output.with_name(output.name + ".progress.jsonl")
    lines = record.read_bytes().splitlines(keepends=True)
    record.write_bytes(b"".join(lines[: 1 + files]) + b'{"path": "half a li')


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("files", [0, 2, 6])
def test_resumed_it_is_the_same_file(folder, tmp_path, ending, files):
    whole, output = tmp_path / ("whole" + ending), tmp_path / ("f" + ending)
    assert analyse(folder, "--output", whole) == analyse(folder, "--output", output) == 0
    if ending == ".parquet" and files < 6:  # the stream of a run that stopped
        whole_rows = list(read_rows(output))
        stream = tmp_path / "f.parquet.partial.jsonl"
        analyse(folder, "--output", tmp_path / "f.jsonl")
        stream.write_bytes((tmp_path / "f.jsonl").read_bytes()[:-30])
        output.unlink()
    cut(output, files)
    counting = Counting()
    assert analyse(folder, "--output", output, "--resume", classifier=counting) == 0
    assert counting.images == 6 - files
    if ending == ".parquet":
        assert list(read_rows(output)) == list(read_rows(whole))
        assert files == 6 or whole_rows == list(read_rows(whole))
    else:
        assert output.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.partial.jsonl"))


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_new_files_are_added_and_the_done_ones_are_not_read_again(folder, tmp_path, ending, capsys):
    output = tmp_path / ("f" + ending)
    analyse(folder, "--output", output)
    picture(("green", 10, 10, 40)).save(folder / "0b.png")
    (folder / "3.png").unlink()
    counting = Counting()
    assert analyse(folder, "--output", output, "--resume", classifier=counting) == 0
    assert counting.images == 1
    rows = list(read_rows(output))
    assert len(rows) == 13 and rows[-1]["image"].endswith("0b.png")
    assert "1 image, 1 face, 5 files done before." in capsys.readouterr().err


@pytest.mark.parametrize("change", ["content", "time"])
def test_a_file_that_changed_is_done_again_and_has_no_rows_twice(folder, tmp_path, change):
    output = tmp_path / "f.csv"
    analyse(folder, "--output", output)
    if change == "content":
        picture(("green", 10, 10, 40)).save(folder / "2.png")
    else:
        os.utime(folder / "2.png", ns=(1, 1))
    counting = Counting()
    analyse(folder, "--output", output, "--resume", classifier=counting)
    analyse(folder, "--output", tmp_path / "whole.csv")
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert counting.images == 4  # it, and those after it


def test_another_model_is_refused(folder, tmp_path):
    analyse(folder, "--output", tmp_path / "f.csv")
    before, other = (tmp_path / "f.csv").read_bytes(), ColouredFaces()
    other.hash = "2" * 64
    with pytest.raises(InputError, match="begun with another model; resume with that one, or give --overwrite"):
        analyse(folder, "--output", tmp_path / "f.csv", "--resume", classifier=other)
    assert (tmp_path / "f.csv").read_bytes() == before


@pytest.mark.parametrize(
    "flags", [["--margin", 0.1], ["--already_cropped"], ["--frames_per_second", 3], ["--smooth", 1]]
)
def test_other_options_are_refused_by_name(folder, tmp_path, flags):
    analyse(folder, "--output", tmp_path / "f.csv")
    with pytest.raises(InputError, match=f"begun with {flags[0]} "):
        analyse(folder, "--output", tmp_path / "f.csv", "--resume", *flags)


def test_without_a_record(folder, tmp_path):
    assert analyse(folder, "--output", tmp_path / "new.csv", "--resume") == 0
    (tmp_path / "f.csv").write_text("mine")
    with pytest.raises(InputError, match=r"has no f\.csv\.progress\.jsonl beside it; give --overwrite"):
        analyse(folder, "--output", tmp_path / "f.csv", "--resume")
    assert (tmp_path / "f.csv").read_text() == "mine"


def test_a_parquet_file_that_somebody_changed_is_left_alone(folder, tmp_path):
    analyse(folder, "--output", tmp_path / "f.parquet")
    analyse(folder / "0.png", "--output", tmp_path / "g.parquet")
    os.replace(tmp_path / "g.parquet", tmp_path / "f.parquet")
    with pytest.raises(InputError, match="has changed since it was written"):
        analyse(folder, "--output", tmp_path / "f.parquet", "--resume")
    assert len(list(read_rows(tmp_path / "f.parquet"))) == 2


def test_overwrite_starts_anew(folder, tmp_path):
    analyse(folder, "--output", tmp_path / "f.csv")
    with pytest.raises(InputError, match=r"f.csv exists; give --overwrite or --resume"):
        analyse(folder, "--output", tmp_path / "f.csv")
    analyse(folder / "1.png", "--output", tmp_path / "f.csv", "--overwrite")
    assert len(list(read_rows(tmp_path / "f.csv"))) == 2
