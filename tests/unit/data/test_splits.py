# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Splits under other people's names: folders, files, shards; and what is not one."""

import shutil

import pytest
from PIL import Image

from tests.drawn_dataset import make_dataset
from training.data.drawn_faces import write_image_folder
from training.data.faces import DatasetArguments, open_faces
from training.data.split_checks import check_chooses, open_both
from training.data.splits import split_of, split_of_file
from training.data.streams import open_stream

SPELLINGS = {
    "capitals": ("Train", "Validation", "Test"),
    "FER+'s script": ("FER2013Train", "FER2013Valid", "FER2013Test"),
    "FER2013": ("Training", "PublicTest", "PrivateTest"),
    "short": ("train", "val", "test"),
}


def open_split(path, split="train", with_labels=True):
    return open_faces(DatasetArguments(), str(path), split, with_labels)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_image_folder(folder / "faces", 24, seed=0, size=16)
    return folder / "faces"


@pytest.mark.parametrize("names", SPELLINGS.values(), ids=SPELLINGS)
def test_split_folders_in_any_usual_spelling(drawn, tmp_path, names):
    for name in names:
        shutil.copytree(drawn, tmp_path / name)
        shutil.copy(drawn / "fear" / "000006.png", tmp_path / name / "fear" / f"{name}.png")
    for split, name in zip(("train", "validation", "test"), names, strict=True):
        for with_labels in (True, False):
            faces = open_split(tmp_path, split, with_labels)
            assert len(faces) == 25
            assert all(f"/{name}/" in faces.name(index) for index in range(25))
        assert split_of(name) == split
    assert len(open_split(tmp_path).class_names) == 8


def test_a_folder_above_the_class_folders_is_no_class(drawn, tmp_path):
    shutil.copytree(drawn, tmp_path / "set" / "basic" / "faces")
    with pytest.raises(ValueError, match="training images of a single class, 'basic'; give the folder right above"):
        open_both(DatasetArguments(dataset=str(tmp_path / "set")), None, "validation")


def test_a_file_is_the_split_that_its_name_says(tmp_path):
    for name in ("train-00000-of-00001.parquet", "Test.parquet", "faces.parquet"):
        make_dataset(8, seed=len(name), size=16).to_parquet(tmp_path / name)
    assert open_split(tmp_path / "train-00000-of-00001.parquet", "test").split == "train"
    assert open_split(tmp_path / "Test.parquet", "validation").split == "test"
    assert open_split(tmp_path / "faces.parquet", "test").split == "test"
    for name, split in (("val_03.tar", "validation"), ("train00.tar", "train"), ("test_public.parquet", None)):
        assert split_of_file(tmp_path / name) == split
    assert split_of_file(tmp_path / "test_public.parquet", loosely=True) == "test"
    assert split_of_file(tmp_path / "testimony.parquet", loosely=True) is None


@pytest.mark.parametrize("split", ["test", "Test", "test[:50%]", "validation+test", "PrivateTest"])
def test_a_test_split_does_not_choose(split):
    with pytest.raises(ValueError, match="the epoch is chosen on it; give a validation split"):
        check_chooses(split, None)


def test_nor_does_a_file_or_folder_of_one(drawn, tmp_path):
    shutil.copytree(drawn, tmp_path / "Test")
    for place in ("test.parquet", "test-00000-of-00001.parquet", "Test"):
        with pytest.raises(ValueError, match="the epoch is chosen on it"):
            check_chooses("validation", str(tmp_path / place))
    # Sets that happen to lie in a folder of that name, or to bear it.
    shutil.copytree(drawn, tmp_path / "test" / "validation")
    make_dataset(8, seed=0, size=16).to_parquet(tmp_path / "tables" / "test" / "validation.parquet")
    for place in (tmp_path / "test", tmp_path / "tables" / "test", "someone/test"):
        check_chooses("validation", str(place))
    check_chooses("validation[:50%]", None)


def write_tables(folder, *names):
    for name in names:
        make_dataset(8, seed=0, size=16).to_parquet(folder / f"{name}.parquet")
    return folder


def open_shards(path, split="train"):
    return open_stream(DatasetArguments(), str(path), split)


@pytest.mark.parametrize("opened", [open_split, open_shards], ids=["table", "stream"])
def test_shards(tmp_path, opened):
    assert len(opened(write_tables(tmp_path / "parts", "part-00000", "part-00001"))) == 16
    assert len(opened(write_tables(tmp_path / "numbered", "train_0", "train_1", "validation"))) == 16
    assert len(opened(write_tables(tmp_path / "more", "train", "train_unlabelled", "test", "test_public"))) == 8
    assert len(opened(write_tables(tmp_path / "worded", "train_faces_0", "train_faces_1", "val_faces_0"))) == 16
    assert len(opened(write_tables(tmp_path / "own", "extra", "extra_holdout"), "extra")) == 8
    both = write_tables(tmp_path / "both", "train", "data/train-00000-of-00001", "data/validation-00000-of-00001")
    assert len(opened(both)) == len(opened(both, "validation")) == 8
    beside = write_tables(tmp_path / "beside", "validation", "data/train-00000-of-00001")
    assert len(opened(beside)) == 8
    with pytest.raises(ValueError, match="has no file of split 'test'; found train_0"):
        opened(tmp_path / "numbered", "test")


def test_a_path_with_brackets_is_no_pattern(tmp_path):
    folder = tmp_path / "faces [v2]"
    folder.mkdir()
    make_dataset(8, seed=0, size=16).to_parquet(folder / "train.parquet")
    assert len(open_split(folder)) == 8
    assert len(list(open_stream(DatasetArguments(), str(folder), "train").cells())) == 8


def test_the_tenth_of_nested_class_folders_goes_by_their_whole_names(tmp_path):
    for expression in ("happy", "sad"):
        for subject in range(30):
            folder = tmp_path / expression / f"subject{subject:02d}"
            folder.mkdir(parents=True)
            for frame in (1, 2, 3):  # of which a hash of the file's name alone holds out one, of every subject
                Image.new("RGB", (4, 4)).save(folder / f"{frame:03d}.png")
    train, validation = open_split(tmp_path), open_split(tmp_path, "validation")
    assert (len(train) + len(validation), len(train.class_names)) == (180, 7)
    assert 8 <= len(validation) <= 28
