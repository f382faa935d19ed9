# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The demonstration at its smallest, and the folders that it does not replace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from tests.new_process import ROOT


def demo(*arguments):
    """The finished process of training/demo.sh under this Python."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(ROOT / "training" / "demo.sh"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})


@pytest.mark.slow
def test_demo_runs_end_to_end_and_again_over_its_own_folder(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "commands.txt").write_text("")  # an earlier demonstration
    (folder / "earlier").write_text("")
    done = demo("--output", folder, "--count", 64, "--epochs", 1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder / "earlier").exists()
    assert (folder / "reconstructions.png").is_file()
    with Image.open(folder / "annotated" / "photo.jpg") as copy, Image.open(folder / "photo.jpg") as photo:
        assert copy.size == photo.size
        assert ImageChops.difference(copy, photo).crop((178, 63, 268, 176)).getbbox()  # the box is drawn
    assert done.stdout.index("happiness") < done.stdout.index("training.data.drawn_faces")
    printed = [line.removeprefix("$ ") for line in done.stdout.splitlines() if line.startswith("$ ")]
    assert printed == (folder / "commands.txt").read_text().splitlines()
    assert len(printed) == 12
    assert done.stdout.count("'score'") == 6  # three likeliest expressions, of two models


@pytest.mark.parametrize("name", ["folder", "file"])
def test_no_other_folder_is_replaced(tmp_path, name):
    other = tmp_path / name
    if name == "folder":
        other.mkdir()
        (other / "mine.txt").write_text("mine")
    else:
        other.write_text("mine")
    done = demo("--output", other)
    assert done.returncode == 2
    assert "is not an earlier demonstration; give another --output." in done.stderr
    assert (other / "mine.txt" if name == "folder" else other).read_text() == "mine"


def test_an_unknown_argument_is_named():
    done = demo("--faces", 3)
    assert done.returncode == 2
    assert "unknown argument --faces" in done.stderr
