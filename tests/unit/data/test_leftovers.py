# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What lies about in real folders: leftovers of file servers, empty folders, relative paths, a single expression."""

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from training.data.faces import DatasetArguments, open_faces
from training.data.facts import facts_of
from training.data.formats import DATA_SETS
from training.data.image_files import list_images
from training.data.split_checks import open_both
from training.pretraining.arguments import PretrainingArguments
from training.pretraining.setup import open_monitored


def save_image(path, color=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (color, color, color)).save(path)
    return path


@pytest.mark.parametrize("name", ["@eaDir", "lost+found", ".hidden", "__MACOSX"])
def test_leftovers_hold_no_images_and_are_no_classes(name, tmp_path, capsys):
    for number, expression in enumerate(("fear", "anger")):
        save_image(tmp_path / expression / "a.png", number)
        save_image(tmp_path / expression / name / "thumbnail.png", number)
    save_image(tmp_path / name / "fear.png")
    (tmp_path / "fear" / "Thumbs.db").write_bytes(b"no image")
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "a.png"]
    list_images(tmp_path)
    assert capsys.readouterr().err.count(f"images below {name} are skipped") == 1
    faces = open_faces(DatasetArguments(), str(tmp_path), "train", with_labels=True, whole=True)
    assert [faces.class_names[label] for label in faces.labels] == ["anger", "fear"]


def test_an_empty_folder_is_no_class(tmp_path):
    save_image(tmp_path / "train" / "cat" / "a.png")
    save_image(tmp_path / "train" / "dog" / "a.png", 9)
    (tmp_path / "train" / "cow" / "deep").mkdir(parents=True)
    assert open_faces(DatasetArguments(), str(tmp_path), "train", with_labels=True).class_names == ("cat", "dog")


def test_a_relative_path_is_looked_for_beside_its_table_first(tmp_path, monkeypatch):
    save_image(tmp_path / "set" / "a.png", 10)
    save_image(tmp_path / "work" / "a.png", 20)
    save_image(tmp_path / "work" / "b.png", 30)
    cells = [{"bytes": None, "path": "a.png"}, {"bytes": None, "path": "b.png"}]
    pyarrow.parquet.write_table(pyarrow.table({"image": cells}), tmp_path / "set" / "train.parquet")
    monkeypatch.chdir(tmp_path / "work")
    faces = open_faces(DatasetArguments(), str(tmp_path / "set"), "train", with_labels=False)
    assert [faces.image(index).getpixel((0, 0))[0] for index in range(2)] == [10, 30]
    assert faces.name(0) == str(tmp_path / "set" / "a.png")


def test_a_training_set_of_one_expression_is_refused(tmp_path):
    for number in range(3):
        save_image(tmp_path / "train" / "fear" / f"{number}.png", number)
        save_image(tmp_path / "validation" / "fear" / f"{number}.png", 9 + number)
    with pytest.raises(ValueError, match="training images of a single class, 'fear'"):
        open_both(DatasetArguments(dataset=str(tmp_path)), None, "validation")
    with pytest.raises(ValueError, match="training images of a single class, 'fear'"):
        open_monitored(DatasetArguments(), PretrainingArguments(monitor_dataset=str(tmp_path)))


def test_every_owners_set_says_its_terms():
    for name in DATA_SETS:
        facts = facts_of(name)
        assert facts.name and facts.homepage and facts.terms.endswith(".")
        assert facts.citation.startswith("@") and facts.research_only
    assert facts_of("imagefolder") is None
