# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""A Hub on loopback, what is published there, and publish.py in this process."""

import shutil

import pytest
from huggingface_hub import constants

from tests.hub.hub_server import running_hub
from tests.hub.hub_state import REPO, STAYS, TOKEN
from training import publish, publishing
from training.synthetic_faces import draw_face


@pytest.fixture
def hub():
    with running_hub() as found:
        yield found


@pytest.fixture(scope="session")
def finished_run(classifier, tmp_path_factory):
    """A probe's folder as it may lie on a disk: with checkpoints, logs, pictures, data and secrets beside the model."""
    folder = shutil.copytree(classifier[0], tmp_path_factory.mktemp("publish") / "run")
    draw_face(0, 0, 32).image.save(folder / "confusion_matrix.png")
    secrets = (".env", ".git/config", "token", "metrics.jsonl", "checkpoints/step_00000001/momentum.safetensors")
    for name in (*secrets, "faces.parquet", "pictures/000.png", "onnx/.hidden.onnx", "optimizer.pt", "weights.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(STAYS)
    return folder


@pytest.fixture
def folder(finished_run, tmp_path):
    """A copy, to be spoilt."""
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def hub_here(hub, monkeypatch):
    """The client of this process talks to `hub`, without waits between tries; no model is loaded in a new process."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setattr(publishing, "compare_in_new_process", lambda folder, staged: "not compared in this test")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


@pytest.fixture
def here(hub_here):
    """publish.main in this process, with --push."""

    def run(folder, *flags):
        publish.main([str(folder), "--repo_id", REPO, "--push", *flags])

    return run
