# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Tier: `make check`. Which files are read, and in which order."""

import os

import pytest

from simfle.inputs import Inputs


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def names(inputs, root):
    return [os.path.relpath(source.path, root) for source in inputs]


def test_natural_order_files_before_folders_and_the_same_each_time(tmp_path):
    touch(tmp_path, "b/2.png", "b/10.png", "img10.jpg", "IMG2.jpg", "img1.jpg", "a/1.png", "clip.mp4")
    inputs = Inputs([tmp_path])
    expected = ["clip.mp4", "img1.jpg", "IMG2.jpg", "img10.jpg", "a/1.png", "b/2.png", "b/10.png"]
    assert names(inputs, tmp_path) == names(inputs, tmp_path) == expected
    assert [source.is_video for source in inputs] == [True] + 6 * [False]


def test_other_files_are_counted_and_the_housekeeping_of_systems_is_not(tmp_path):
    touch(
        tmp_path,
        "a.jpg",
        "notes.txt",
        "list.csv",
        ".DS_Store",
        ".hidden/b.jpg",
        "@eaDir/c.jpg",
        "__MACOSX/d.jpg",
        "#recycle/e.jpg",
    )
    inputs = Inputs([tmp_path]).count()
    assert (inputs.images, inputs.videos, inputs.others) == (1, 0, 2)
    assert names(inputs, tmp_path) == ["a.jpg"]


@pytest.mark.parametrize("suffix", [".heic", ".HEIF", ".avif", ".cr2", ".CR3", ".nef", ".arw", ".dng", ".raf", ".jxl"])
def test_formats_that_may_not_be_readable_are_images_all_the_same(tmp_path, suffix):
    touch(tmp_path, "x" + suffix)
    assert Inputs([tmp_path]).count().images == 1


def test_what_the_command_writes_is_not_read(tmp_path):
    touch(tmp_path, "a.jpg", "plot.png", "out/a.jpg", "out/deep/b.jpg", "faces.csv")
    inputs = Inputs([tmp_path], [tmp_path / "plot.png", tmp_path / "out", tmp_path / "faces.csv"]).count()
    assert (inputs.images, inputs.others) == (1, 0)
    assert names(inputs, tmp_path) == ["a.jpg"]


def test_a_file_named_twice_is_read_once_and_a_folder_within_itself_ends(tmp_path):
    touch(tmp_path, "a/x.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    inputs = Inputs([tmp_path / "a" / "x.jpg", tmp_path])
    assert names(inputs, tmp_path) == ["a/x.jpg", "gone.jpg"]
    assert [source.size for source in inputs] == [1, -1]


def test_places_below_the_given_folder(tmp_path):
    touch(tmp_path, "one/a/x.jpg", "two/x.jpg")
    assert [str(source.place) for source in Inputs([tmp_path / "one"])] == ["a/x.jpg"]
    both = Inputs([tmp_path / "one", tmp_path / "two", tmp_path / "two" / "x.jpg"])
    assert [str(source.place) for source in both] == ["one/a/x.jpg", "two/x.jpg"]


@pytest.mark.parametrize("given", [True, False])
def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch, given):
    touch(tmp_path, "a.jpg", "secret/b.jpg")
    scandir = os.scandir

    def refuse(path):
        if path == (tmp_path if given else tmp_path / "secret"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    inputs = Inputs([tmp_path])
    if given:
        with pytest.raises(ValueError, match="cannot be listed; give a folder that may be read"):
            inputs.count()
    else:
        assert inputs.count().images == 1
        assert inputs.unlisted == [f"{tmp_path / 'secret'} cannot be listed (Permission denied)."]
