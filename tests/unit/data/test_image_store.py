# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Images decoded once: equal pixels, bad images still named, another data set never met."""

import os

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from modeling_simfle import SimFLEImageProcessor
from training.data import image_store
from training.data.drawn_faces import write_image_folder
from training.data.faces import Faces, image_faces
from training.data.image_store import StoredFaces, build_store, store_faces, store_key
from training.data.images import BadImage
from training.pretraining.batches import Feeder, MakeViews, PretrainingSet


@pytest.fixture
def folder(tmp_path):
    write_image_folder(tmp_path / "faces", 12, seed=0, size=40)
    return tmp_path / "faces"


def test_stored_pixels_are_the_decoded_ones(folder, tmp_path):
    Image.new("RGB", (300, 50), (9, 8, 7)).save(folder / "wide.png")
    (folder / "zz_bad.png").write_bytes(b"no image")
    faces = image_faces([folder])
    for _ in range(2):  # built, then opened
        stored = store_faces(faces, tmp_path / "cache", 64, 0)
        assert isinstance(stored, StoredFaces)
        assert len(stored) == len(faces) == 14
        for index in range(13):
            assert np.array_equal(stored.pixels(index, 64), faces.pixels(index, 64))
        with pytest.raises(BadImage, match=r"zz_bad\.png is not a readable image"):
            stored.pixels(13, 64)
        assert stored.fingerprint() == faces.fingerprint()
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_two_machines_may_build_one_store(folder, tmp_path):
    faces, place = image_faces([folder]), tmp_path / "cache" / "key"
    for _ in range(2):  # the second finds the first one's when it is done
        build_store(faces, place, 64, 0)
    assert [path.name for path in place.parent.iterdir()] == ["key"]
    assert np.array_equal(StoredFaces(faces, place).pixels(3, 64), faces.pixels(3, 64))


def test_a_damaged_store_is_built_again_and_what_a_killed_process_left_is_removed(folder, tmp_path, capsys):
    faces = image_faces([folder])
    place = tmp_path / "cache" / store_key(faces, 64)
    store_faces(faces, tmp_path / "cache", 64, 0)
    for name, content in (("pixels.bin", b"short"), ("index.json", b'{"image_side": 64')):
        (place / name).write_bytes(content)
        left, beside = (place.with_name(f"{place.name}.{machine}.7.tmp") for machine in ("killed", "another"))
        for folder_of_one in (left, beside):
            folder_of_one.mkdir(exist_ok=True)
            (folder_of_one / "pixels.bin").write_bytes(b"half")
        os.utime(left / "pixels.bin", (0, 0))
        stored = store_faces(faces, tmp_path / "cache", 64, 0)
        assert np.array_equal(stored.pixels(3, 64), faces.pixels(3, 64))
        assert f"{place} is damaged" in capsys.readouterr().err
        assert not left.exists()
        assert beside.exists()  # may be building still


def test_a_changed_file_or_another_side_makes_another_store(folder):
    key = store_key(image_faces([folder]), 64)
    assert key == store_key(image_faces([folder]), 64)
    assert key != store_key(image_faces([folder]), 32)
    Image.new("RGB", (40, 41)).save(next(folder.rglob("*.png")))
    assert key != store_key(image_faces([folder]), 64)


def test_missing_images_have_a_key_too(tmp_path):
    cells = [None, {"bytes": None, "path": str(tmp_path / "a.png")}]
    rows = datasets.Dataset.from_dict({"image": cells}, features=datasets.Features({"image": datasets.Image()}))
    faces = Faces(rows.cast_column("image", datasets.Image(decode=False)), "image")
    before = store_key(faces, 64)
    write_image_folder(tmp_path / "faces", 1, seed=0, size=16)
    next((tmp_path / "faces").rglob("*.png")).rename(tmp_path / "a.png")
    assert store_key(faces, 64) != before


def test_a_full_disk_falls_back_to_decoding_and_says_so(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(image_store.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    faces = image_faces([folder])
    assert store_faces(faces, tmp_path / "cache", 64, 0) is faces
    assert "--cache_images: 0.0 GB are needed" in capsys.readouterr().err


def test_views_from_the_store_and_from_the_device_are_the_same(folder, tmp_path):
    faces, make_views = image_faces([folder]), MakeViews(SimFLEImageProcessor(), 64, 32)
    stored = store_faces(faces, tmp_path / "cache", 64, 0)
    pictures = stored.on_device(torch.device("cpu"))
    assert pictures.shape == (12, 40, 40, 3)
    keys = [(0, 5), (0, 1), (0, 11)]
    plain = PretrainingSet(faces, 64, 0).__getitems__(keys)
    resident = PretrainingSet(stored, 64, 0, with_images=False).__getitems__(keys)
    assert "images" not in resident
    feeds = [
        Feeder([batch], torch.device("cpu"), make_views, where).next()["inputs"]
        for batch, where in ((plain, None), (resident, pictures))
    ]
    assert feeds[0].keys() == {"pixel_values", "view_1_pixel_values", "view_2_pixel_values"}
    for name in feeds[0]:
        assert torch.equal(feeds[0][name], feeds[1][name])
        assert feeds[0][name].is_contiguous(memory_format=torch.channels_last)


def test_images_of_several_sizes_stay_off_the_device(folder, tmp_path):
    Image.new("RGB", (30, 40)).save(folder / "narrow.png")
    stored = store_faces(image_faces([folder]), tmp_path / "cache", 64, 0)
    assert stored.on_device(torch.device("cpu")) is None
