# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Opening data: folders, Parquet, a guess of the format, and the sentence for each thing that is wrong."""

import io

import numpy as np
import pytest
from PIL import Image

from training.data_formats import guess_format
from training.face_data import BadImage, DatasetArguments, open_faces, picture_faces
from training.fer_datasets import EXPRESSIONS, FERPLUS_TAGS
from training.synthetic_faces import make_dataset, write_image_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    write_image_folder(root / "train", 16, seed=0, size=32)
    write_image_folder(root / "val", 8, seed=1, size=32)
    return root


def faces_of(dataset, split="train", with_labels=True, **arguments):
    return open_faces(DatasetArguments(**arguments), str(dataset), split, with_labels)


def png(value=0, size=8):
    buffer = io.BytesIO()
    Image.new("L", (size, size), value).save(buffer, "PNG")
    return buffer.getvalue()


def write_ferplus(folder, num_train=12, num_validation=4):
    """FER+'s Parquet form in small; validation row 0 equals train row 0, train row 1 has no majority."""
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "votes": {tag: datasets.Value("int32") for tag in FERPLUS_TAGS}}
    )
    folder.mkdir(parents=True, exist_ok=True)
    for split, count, first in (("train", num_train, 0), ("validation", num_validation, 100)):
        values = [first + i if (split, i) != ("validation", 0) else 0 for i in range(count)]
        votes = [{tag: 10 * (j == i % 8) for j, tag in enumerate(FERPLUS_TAGS)} for i in range(count)]
        if split == "train":
            votes[1] = {tag: 5 * (j < 2) for j, tag in enumerate(FERPLUS_TAGS)}
        images = [{"bytes": png(value), "path": None} for value in values]
        datasets.Dataset.from_dict({"image": images, "votes": votes}, features=features).to_parquet(
            folder / f"{split}.parquet"
        )


def test_folder_of_class_folders(folder):
    faces = faces_of(folder)
    assert faces.class_names == EXPRESSIONS
    assert np.bincount(faces.labels).tolist() == [2] * 8
    for index in range(len(faces)):
        assert f"/{EXPRESSIONS[faces.labels[index]]}/" in faces.name(index)
    assert faces.image(0).size == (32, 32)
    assert len(faces_of(folder, "validation")) == 8  # written val there


def test_class_folders_of_other_names_keep_their_order(tmp_path):
    for name in ("b", "a", "empty"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        Image.new("RGB", (8, 8)).save(tmp_path / name / "x.png")
    faces = faces_of(tmp_path)
    assert faces.class_names == ("a", "b", "empty")
    assert faces.labels.tolist() == [0, 1]


def test_flat_or_nested_folder_without_labels(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for path in (tmp_path / "a.jpg", tmp_path / "deep" / "er" / "b.PNG", tmp_path / "deep" / "c.webp"):
        Image.new("RGB", (8, 8)).save(path)
    (tmp_path / "notes.txt").write_text("not a picture")
    assert len(faces_of(tmp_path, with_labels=False)) == 3
    assert len(picture_faces([tmp_path, tmp_path / "a.jpg"])) == 4


def test_parquet_with_labels(tmp_path):
    make_dataset(16, seed=0, size=32).to_parquet(tmp_path / "train.parquet")
    make_dataset(8, seed=1, size=32).to_parquet(tmp_path / "validation.parquet")
    assert len(faces_of(tmp_path)) == 16
    validation = faces_of(tmp_path, "validation")
    assert validation.class_names == EXPRESSIONS
    assert validation.labels.tolist() == list(range(8))
    assert len(faces_of(tmp_path / "train.parquet", "anything")) == 16
    with pytest.raises(ValueError, match=r"has no test\.parquet; found train\.parquet, validation\.parquet"):
        faces_of(tmp_path, "test")
    with pytest.raises(ValueError, match="picture"):
        faces_of(tmp_path, image_column="picture")
    with pytest.raises(ValueError, match="emotion"):
        faces_of(tmp_path, label_column="emotion")


def test_ferplus_parquet_is_recognised_and_its_repeats_are_left_out(tmp_path):
    write_ferplus(tmp_path)
    assert guess_format(tmp_path, str(tmp_path)) == "ferplus"
    assert len(faces_of(tmp_path, with_labels=False)) == 11  # row 0 equals a validation picture
    train, validation = faces_of(tmp_path), faces_of(tmp_path, "validation")
    assert len(train) == 10  # nor row 1, without a majority
    assert train.class_names == EXPRESSIONS
    assert validation.repeats_training.tolist() == [True, False, False, False]
    with pytest.raises(FileNotFoundError, match=r"test\.parquet is missing"):
        faces_of(tmp_path, "test")


@pytest.mark.parametrize("name", ["missing", "some/missing/folder"])
def test_missing_path(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="does not exist; --dataset takes a folder, a Parquet file or a Hub id"):
        faces_of(tmp_path / name)


def test_what_is_wrong_is_said(tmp_path, folder):
    with pytest.raises(ValueError, match="--dataset is missing"):
        faces_of("")
    with pytest.raises(ValueError, match="has no image in split 'train'"):
        faces_of(tmp_path, with_labels=False)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"is a file but no \.parquet"):
        faces_of(tmp_path / "a.txt")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="not a folder of class folders: found 0 folders and 1 loose images"):
        faces_of(tmp_path)
    with pytest.raises(ValueError, match="has no split 'test'; found val, train"):
        faces_of(folder, "test")
    with pytest.raises(FileNotFoundError, match="does not exist; give pictures"):
        picture_faces([tmp_path / "missing.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image file"):
        picture_faces([tmp_path / "empty"])


@pytest.mark.parametrize("content", [b"", b"not an image", png()[:40]], ids=["empty", "text", "cut short"])
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    faces = picture_faces([tmp_path / "bad.png"])
    with pytest.raises(BadImage, match=r"bad\.png is not a readable image"):
        faces.image(0)


def test_fingerprint_tells_data_apart(folder, tmp_path):
    one = faces_of(folder).fingerprint()
    assert one == faces_of(folder).fingerprint()
    assert one != faces_of(folder, "val").fingerprint()
