# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Tier: `make check`. Images to rows, copies, and the exit status; the classifier is of coloured squares."""

import csv
import errno
import json

import pytest
from PIL import Image

from simfle import results
from simfle.errors import InputError, RunError
from simfle.writers import RowWriter, read_rows
from tests.unit.simfle.coloured_faces import ColouredFaces, analyse, picture, write_video


@pytest.fixture
def photos(tmp_path):
    """20 photographs of one face, a group, none, a broken JPEG, a HEIC, a camera file and a text."""
    root = tmp_path / "photos"
    (root / "deep").mkdir(parents=True)
    for index in range(20):
        picture((("red", "green", "blue")[index % 3], 10 + index, 20, 30)).save(root / f"p{index + 1}.png")
    picture(("red", 0, 0, 20), ("green", 50, 50, 40), ("blue", 100, 10, 30)).save(root / "group.png")
    picture().save(root / "deep" / "nobody.png")
    picture(("red", 10, 10, 50)).save(root / "broken.jpg")
    (root / "broken.jpg").write_bytes((root / "broken.jpg").read_bytes()[:700])
    (root / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    (root / "camera.NEF").write_bytes((root / "p1.png").read_bytes())
    (root / "notes.txt").write_text("no picture")
    return root


def test_a_folder_of_all_kinds_gives_a_complete_table(photos, tmp_path, capsys):
    output, classifier = tmp_path / "faces.csv", ColouredFaces()
    assert analyse(photos, "--output", output, "--batch_size", 4, classifier=classifier) == 0
    rows = list(csv.DictReader(output.open()))
    assert [row["image"].rsplit("/", 1)[1] for row in rows] == [
        "broken.jpg", "camera.NEF", "group.png", "group.png", "group.png",
        *(f"p{index}.png" for index in range(1, 21)), "phone.heic", "nobody.png",
    ]  # fmt: skip
    errors = {row["image"].rsplit("/", 1)[1]: row["error"] for row in rows if row["error"]}
    assert set(errors) == {"broken.jpg", "camera.NEF", "phone.heic"}
    assert "truncated" in errors["broken.jpg"]
    assert errors["camera.NEF"] == "cannot be read: .nef is a camera's raw format; export it as JPEG"
    assert "save it as JPEG" in errors["phone.heic"]
    nobody = rows[-1]
    assert {value for name, value in nobody.items() if name != "image"} == {""}
    group = rows[2:5]
    assert [row["face"] for row in group] == ["0", "1", "2"]
    assert [row["label"] for row in group] == ["anger", "neutral", "happiness"]
    assert group[1]["box"] == "50 50 90 90"
    for row in group:
        scores = {name: float(row[name]) for name in classifier.classes}
        assert row["label"] == max(scores, key=scores.get)
        assert float(row["score"]) == max(scores.values())
        assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
    assert classifier.batches == [4] * 5 + [3]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("simfle: 22 images, 23 faces; 3 could not be read (")
    assert line.endswith("; 1 other file left out.")


def test_without_output_a_table_is_printed(photos, capsys):
    assert analyse(photos / "p1.png", photos / "deep", photos / "broken.jpg") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[-2:] == ["anger", "0.93"]
    assert "no face" in out and "error: cannot be read" in out


def test_the_status_is_1_where_nothing_could_be_read(photos, tmp_path, capsys):
    assert analyse(photos / "broken.jpg", photos / "phone.heic", "--output", tmp_path / "x.jsonl") == 1
    assert len(list(read_rows(tmp_path / "x.jsonl"))) == 2
    (tmp_path / "empty").mkdir()
    assert analyse(tmp_path / "empty") == 1
    assert "0 images, 0 faces" in capsys.readouterr().err


def test_jsonl_has_the_box_as_the_pipeline_has_it(photos, tmp_path):
    analyse(photos / "p1.png", "--output", tmp_path / "x.jsonl")
    row = json.loads((tmp_path / "x.jsonl").read_text())
    assert row["box"] == {"xmin": 10, "ymin": 20, "xmax": 40, "ymax": 50}
    assert row["detection_score"] == 0.9 and row["error"] is None and row["face"] == 0


def test_copies_with_boxes(photos, tmp_path):
    output = tmp_path / "out"
    assert analyse(photos, "--annotate", output) == 0
    names = {str(path.relative_to(output)) for path in output.rglob("*.*")}
    assert names == {*(f"p{index}.png" for index in range(1, 21)), "group.png", "deep/nobody.png"}
    before, after = (Image.open(root / "group.png").convert("RGB") for root in (photos, output))
    assert after.size == before.size
    assert after.getpixel((50, 60)) != before.getpixel((50, 60))  # the box
    assert Image.open(output / "deep" / "nobody.png").tobytes() == Image.open(photos / "deep" / "nobody.png").tobytes()


def test_one_copy_under_a_given_name(photos, tmp_path):
    analyse(photos / "group.png", "--annotate", tmp_path / "copy.jpg")
    assert Image.open(tmp_path / "copy.jpg").format == "JPEG"


def test_copies_of_equal_names_do_not_replace_each_other(tmp_path):
    for folder, colour in (("one", "red"), ("two", "blue")):
        (tmp_path / folder).mkdir()
        picture((colour, 10, 10, 50)).save(tmp_path / folder / "x.png")
    analyse(tmp_path / "one" / "x.png", tmp_path / "two" / "x.png", "--annotate", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["x-2.png", "x.png"]
    analyse(tmp_path / "one", tmp_path / "two", "--annotate", tmp_path / "both")
    assert {str(p.relative_to(tmp_path / "both")) for p in (tmp_path / "both").rglob("*.png")} == {
        "one/x.png",
        "two/x.png",
    }


def test_a_copy_never_replaces_its_original(photos):
    before = (photos / "p1.png").read_bytes()
    with pytest.raises(InputError, match="is an input, and copies would replace the originals"):
        analyse(photos, "--annotate", photos, "--overwrite")
    with pytest.raises(RunError, match="would replace it"):
        analyse(photos / "p1.png", "--annotate", photos, "--overwrite")
    assert (photos / "p1.png").read_bytes() == before


def test_results_within_the_input_folder_are_not_inputs(photos, capsys):
    flags = [photos, "--output", photos / "faces.csv", "--annotate", photos / "out", "--overwrite"]
    assert analyse(*flags) == 0
    rows = (photos / "faces.csv").read_text()
    capsys.readouterr()
    assert analyse(*flags) == 0
    assert (photos / "faces.csv").read_text() == rows
    assert "1 other file left out" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["rows", "record", "copies"])
def test_a_full_disk_is_one_sentence_and_what_was_done_is_kept(photos, tmp_path, monkeypatch, part):
    output, calls = tmp_path / "faces.csv", []

    def full(original):
        def write(*arguments):
            calls.append(part)
            if len(calls) > 4:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*arguments)

        return write

    if part == "rows":
        monkeypatch.setattr(RowWriter, "write", full(RowWriter.write))
    elif part == "record":
        monkeypatch.setattr(results.ProgressRecord, "add", full(results.ProgressRecord.add))
    else:
        monkeypatch.setattr(results.Annotator, "write_image", full(results.Annotator.write_image))
    with pytest.raises(
        RunError, match=r"No space left on device; \d files are done in .*faces.csv, and --resume goes on"
    ):
        analyse(photos, "--output", output, "--annotate", tmp_path / "out")
    monkeypatch.undo()
    assert len(list(read_rows(output))) >= 4
    assert analyse(photos, "--output", output, "--annotate", tmp_path / "out", "--resume") == 0
    assert analyse(photos, "--output", tmp_path / "whole.csv") == 0
    assert output.read_text() == (tmp_path / "whole.csv").read_text()


def test_an_interrupt_keeps_what_was_done(photos, tmp_path, capsys):
    class Interrupted(ColouredFaces):
        def predict(self, faces):
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().predict(faces)

    flags = [photos, "--output", tmp_path / "f.parquet", "--batch_size", 4]
    assert analyse(*flags, classifier=Interrupted()) == 130
    assert "simfle: interrupted; " in capsys.readouterr().err
    assert not (tmp_path / "f.parquet").exists()
    assert len(list(read_rows(tmp_path / "f.parquet.partial.jsonl"))) >= 6
    assert analyse(*flags, "--resume") == 0
    assert analyse(photos, "--output", tmp_path / "whole.parquet") == 0
    assert list(read_rows(tmp_path / "f.parquet")) == list(read_rows(tmp_path / "whole.parquet"))
    assert not (tmp_path / "f.parquet.partial.jsonl").exists()


def test_a_bug_is_not_hidden(photos, tmp_path):
    class Wrong(ColouredFaces):
        def prepare(self, image):
            raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        analyse(photos, "--output", tmp_path / "f.csv", classifier=Wrong())


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    import tracemalloc

    for index in range(400):
        picture(("red", 10, 10, 50), size=(300, 200)).save(tmp_path / f"{index}.bmp")

    def peak(count):
        files = [tmp_path / f"{index}.bmp" for index in range(count)]
        tracemalloc.start()
        analyse(*files, "--output", tmp_path / f"{count}.csv")
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(20)
    # 360 images more are 65 MB of pixels; their names and entries in the record are less than 1 KB each.
    assert peak(400) - peak(40) < 20e6


def test_the_progress_bar_has_images_a_second_and_stands_on_terminals_alone(photos, tmp_path, capsys, monkeypatch):
    analyse(photos, "--output", tmp_path / "f.csv")
    assert "images/s" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    analyse(photos, "--output", tmp_path / "f.csv", "--overwrite")
    bar = capsys.readouterr().err.split("\r")[-1]
    assert "100%" in bar and "25/25" in bar and "images/s" in bar


def test_frames_a_second_where_there_is_a_video(tmp_path, capsys, monkeypatch):
    write_video(tmp_path / "v.avi", [picture(("red", 10, 10, 30))] * 12)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    analyse(tmp_path / "v.avi", "--output", tmp_path / "f.csv")
    bar = capsys.readouterr().err.split("\r")[-1]
    assert "12/12" in bar and "frames/s" in bar


@pytest.mark.parametrize(
    "library,flags", [("matplotlib", ["--plot", "p.png"]), ("pyarrow", ["--summary", "s.parquet"])]
)
def test_a_library_that_is_missing_is_said_before_the_work(photos, tmp_path, monkeypatch, library, flags):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf'{library} is missing; pip install "simfle\[photos\]"'):
        analyse(photos, flags[0], tmp_path / flags[1])
