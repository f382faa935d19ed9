# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""A Hub on loopback, what is published there, publish.py in this process, and folders as they are published."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants

from tests.conftest import build_once
from tests.fork_server import forking_python
from tests.hub.drawn_classifier import save_classifier
from tests.hub.hub_server import running_hub
from tests.hub.hub_state import REPO, STAYS, TOKEN
from tests.hub.published_folders import call
from training import export, finetune, publish, release
from training.data.drawn_faces import draw_face
from training.models import fresh_process
from training.publishing import hub as publishing_hub


@pytest.fixture(autouse=True)
def forked_comparisons(monkeypatch):
    """The new process in which publish.py loads the staged folder."""
    monkeypatch.setattr(fresh_process, "sys", SimpleNamespace(executable=forking_python()))


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
def client(hub, monkeypatch, tmp_path):
    """The client of this process talks to `hub`, without waits between tries."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


@pytest.fixture
def hub_here(client, monkeypatch):
    """`client`, and no model is loaded in a new process."""
    monkeypatch.setattr(publishing_hub, "compare_in_new_process", lambda folder, staged: "not compared in this test")
    return client


@pytest.fixture
def here(hub_here):
    """publish.main in this process, with --push."""

    def run(folder, *flags):
        publish.main([str(folder), "--repo_id", REPO, "--push", *flags])

    return run


@pytest.fixture(scope="session")
def tuned_run(pretrained, faces, tmp_path_factory):
    """A fine-tuned run over the pretrained encoder, of two steps."""
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    flags = ["--dataset", faces, "--num_workers", 0, "--num_train_epochs", 1, "--per_device_train_batch_size", 20]
    call(finetune, "--model", pretrained[0], *flags, "--output_dir", folder)
    return folder


@pytest.fixture(scope="session")
def released(tuned_run, pretrained, faces, tmp_path_factory):
    """Name to folder: a measured classifier, an encoder that nobody measured, an export and its plain folder."""
    flags = ["--dataset", faces, "--num_workers", 0, "--hardware", "two cores", "--data_terms", "Drawn by code."]

    def build(root):
        (root / "notes.md").write_text("This sentence was written by hand.\n")
        call(release, tuned_run, root / "classifier", *flags, "--more_choices", 2, "--notes", root / "notes.md")
        call(release, pretrained[0], root / "encoder", "--encoder_only", "--license", "cc-by-nc-4.0")
        call(export, root / "classifier", root / "export", *flags[:4], "--timing_rounds", 1)
        call(release, root / "export", root / "classifier-plain", *flags[:4], "--base_model", "classifier")

    root = build_once(tmp_path_factory, "hub_cards", build)
    names = {"classifier": "classifier", "encoder": "encoder", "export": "export", "plain": "classifier-plain"}
    return {name: root / folder for name, folder in names.items()}


@pytest.fixture(scope="session")
def exported(faces, tmp_path_factory):
    """exported("gray") or exported("colour") -> the folder that holds a classifier, simfle/, and its export, plain/."""

    def build(root):
        simfle, threads = save_classifier(root / "simfle", do_grayscale=root.name == "gray"), torch.get_num_threads()
        flags = ["--dataset", faces, "--num_workers", 0, "--timing_rounds", 1, "--per_device_eval_batch_size", 16]
        call(export, simfle, root / "plain", *flags)
        assert torch.get_num_threads() == threads

    return lambda name: build_once(tmp_path_factory, name, build)


@pytest.fixture
def copied(released, tmp_path):
    """A copy of the classifier's folder, to be spoilt."""
    return shutil.copytree(released["classifier"], tmp_path / "classifier")


@pytest.fixture
def copied_plain(released, tmp_path):
    return shutil.copytree(released["plain"], tmp_path / "classifier-plain")
