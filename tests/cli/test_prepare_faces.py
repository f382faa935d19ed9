# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""prepare_faces.py over every layout: what is cut, going on after a stop, bad images, the report."""

import json

import numpy as np
import pytest
from PIL import Image

from tests import official_layouts as layouts
from training import prepare_faces
from training.data.face_squares import cut_square, square_of_box, square_of_landmarks
from training.data.faces import DatasetArguments, open_faces


def prepare(dataset, output_dir, *flags):
    arguments = ["--dataset", dataset, "--output_dir", output_dir, "--size", 40, *flags]
    prepare_faces.main([str(argument) for argument in arguments])


def faces_of(dataset, split, **options):
    return open_faces(DatasetArguments(**options), str(dataset), split, with_labels=True)


@pytest.mark.parametrize(
    "write",
    [
        layouts.write_affectnet_lists,
        layouts.write_affectnet_sets,
        layouts.write_rafdb,
        lambda root: layouts.write_rafdb(root, "original"),
        layouts.write_ferplus_csv,
        layouts.write_ferplus_parquet,
        layouts.write_sfew,
        layouts.write_class_folders,
    ],
    ids=["affectnet lists", "affectnet sets", "rafdb", "rafdb original", "ferplus", "parquet", "sfew", "folders"],
)
def test_the_folder_has_the_same_splits_and_classes(write, tmp_path, capsys):
    root = write(tmp_path / "set")
    prepare(root, tmp_path / "out")
    total = 0
    for split in ("train", "validation", "test"):
        before, after = faces_of(root, split), faces_of(tmp_path / "out", split)
        assert after.class_names == before.class_names[: len(after.class_names)]  # contempt may have no image
        assert np.bincount(after.labels).tolist() == np.bincount(before.labels).tolist()
        assert {after.image(index).size for index in range(len(after))} == {(40, 40)}
        total += len(after)
    report = json.loads((tmp_path / "out" / "preparation.json").read_text())
    assert sum(sum(classes.values()) for classes in report["images"].values()) == total
    assert f"holds {total} images; 0 were bad" in capsys.readouterr().out
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_what_ferplus_loses_in_a_folder_is_said(tmp_path, capsys):
    prepare(layouts.write_ferplus_csv(tmp_path / "set"), tmp_path / "out", "--splits", "validation")
    said = capsys.readouterr().err
    assert "validation: 1 of the 16 images equal a training image, which this folder does not say" in said
    assert "validation: the votes are left behind" in said


def test_affectnet_is_aligned_by_its_landmarks(tmp_path):
    prepare(layouts.write_affectnet_lists(tmp_path / "set"), tmp_path / "out", "--margin", 0.2)
    picture, landmarks = layouts.scene(layouts.drawn("train", "happiness", 0))
    wanted = np.asarray(cut_square(picture, square_of_landmarks(landmarks), 40, 0.2), float)
    made = np.asarray(Image.open(next((tmp_path / "out").glob("*/happiness/100_train_happiness_0.png"))), float)
    assert np.abs(made - wanted).mean() < 4  # the set's file is a JPEG
    without = np.asarray(cut_square(picture, square_of_box([30, 20, 78, 68]), 40, 0.2), float)
    assert np.abs(made - without).mean() > 8


def test_a_image_that_a_list_names_twice_is_written_once(tmp_path, capsys):
    root = layouts.write_affectnet_lists(tmp_path / "set")
    file = root / "Manually_Annotated_file_lists" / "training.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[1]]) + "\n")
    prepare(root, tmp_path / "out")
    pictures = sorted((tmp_path / "out").rglob("*.png"))
    assert f"holds {len(pictures)} images; 0 were bad" in capsys.readouterr().out
    lines[1] = lines[1].replace("/", "_", 1)  # another image, of which the same file would be made
    (root / "Manually_Annotated_Images" / lines[1].split(",")[0]).write_bytes(pictures[0].read_bytes())
    file.write_text("\n".join([*file.read_text().splitlines(), lines[1]]) + "\n")
    with pytest.raises(ValueError, match="2 images would be written to"):
        prepare(root, tmp_path / "other")


def test_a_stopped_run_goes_on_and_leaves_what_is_there(tmp_path, capsys):
    root = layouts.write_sfew(tmp_path / "set")
    prepare(root, tmp_path / "out")
    pictures = sorted((tmp_path / "out").rglob("*.png"))
    kept, lost = pictures[0], pictures[5]
    lost.unlink()
    (lost.parent / f"{lost.stem}.png.tmp").write_bytes(b"half a picture")
    before = kept.stat().st_mtime_ns
    prepare(root, tmp_path / "out")
    assert f"holds {len(pictures)} images; 0 were bad" in capsys.readouterr().out
    assert sorted((tmp_path / "out").rglob("*.png")) == pictures
    assert kept.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"holds images made with --margin 0\.0, not 0\.5; give a new folder"):
        prepare(root, tmp_path / "out", "--margin", 0.5)


def test_bad_images_are_named_and_counted(tmp_path, capsys):
    root = layouts.write_affectnet_lists(tmp_path / "set")
    bad = sorted((root / "Manually_Annotated_Images").rglob("*train_fear*.jpg"))[:2]
    for path in bad:
        path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="more than --max_bad_images 1"):
        prepare(root, tmp_path / "out", "--max_bad_images", 1)
    assert bad[0].name in capsys.readouterr().err
    prepare(root, tmp_path / "out", "--max_bad_images", 2)
    assert "2 were bad" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "preparation.json").read_text())
    assert len(report["bad_images"]) == 2
    assert sorted(p.stem.split("_", 1)[1] for p in (tmp_path / "out").rglob("*_train_fear_*.png")) == sorted(
        p.stem for p in (root / "Manually_Annotated_Images").rglob("*train_fear*.jpg") if p not in bad
    )


def test_a_face_outside_of_its_image_is_a_bad_image(tmp_path, capsys):
    root = layouts.write_rafdb(tmp_path / "set", "original")
    Image.new("RGB", (10, 10)).save(root / "Image" / "original" / "test_0001.jpg")
    prepare(root, tmp_path / "out", "--max_bad_images", 1, "--splits", "test")
    assert "test_0001.jpg: the face's centre" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["preparation.json", "test"]


def test_as_a_process_and_what_is_wrong_in_one_sentence(script, tmp_path):
    root = layouts.write_rafdb(tmp_path / "set", "original")
    out = tmp_path / "out"
    done = script("prepare_faces", "--dataset", root, "--output_dir", out, "--size", 32, check=0)
    assert "holds 84 images" in done.stdout
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    done = script("prepare_faces", "--dataset", root, "--output_dir", tmp_path / "other", check=2)
    assert "is not empty" in done.stderr
    (root / "Image" / "original" / "train_00003.jpg").unlink()
    done = script("prepare_faces", "--dataset", root, "--output_dir", tmp_path / "third", check=2)
    assert "1 of the 140 files" in done.stderr
    assert "train_00003.jpg" in done.stderr
    assert "Traceback" not in done.stderr
