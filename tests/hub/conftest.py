# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""A Hub on loopback, what is published there, publish.py in this process, and folders as they are published."""

import shutil

import pytest
from huggingface_hub import constants

from tests.hub.hub_server import running_hub
from tests.hub.hub_state import REPO, STAYS, TOKEN
from tests.hub.published_folders import call
from training import assemble_release, export, finetune, publish
from training.data.drawn_faces import draw_face
from training.publishing import publishing


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


@pytest.fixture(scope="session")
def tuned_run(pretrained, faces, tmp_path_factory):
    """A fine-tuned run over the pretrained encoder, of two steps."""
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    flags = ["--dataset", faces, "--num_workers", 0, "--num_train_epochs", 1, "--per_device_train_batch_size", 20]
    call(finetune, "--model", pretrained[0], *flags, "--output_dir", folder)
    return folder


@pytest.fixture(scope="session")
def gray_run(faces, config_file, tmp_path_factory):
    """A run from scratch that sees luminance."""
    folder = tmp_path_factory.mktemp("runs") / "gray"
    flags = ["--dataset", faces, "--num_workers", 0, "--num_train_epochs", 2, "--per_device_train_batch_size", 12]
    flags += ["--model_config", config_file, "--use_local_branch", "false", "--view_size", 64]
    gray = ["--do_grayscale", "true", "--image_mean", 0.5, "--image_std", 0.25]
    call(finetune, *flags, *gray, "--output_dir", folder)
    return folder


@pytest.fixture(scope="session")
def assembled(tuned_run, gray_run, pretrained, faces, tmp_path_factory):
    """
    Name to folder: a classifier measured on drawn faces; an encoder that nobody measured; a classifier trained in gray,
    its run, what export.py makes of it, and the plain folder that is published of that.
    """
    root = tmp_path_factory.mktemp("hub_cards")
    flags = ["--dataset", faces, "--num_workers", 0, "--more_choices", 2, "--data_terms", "Drawn by code."]
    flags += ["--hardware", "two cores", "--assumed_watts", 30]
    call(assemble_release, tuned_run, root / "classifier", *flags)
    more = ["--max_shard_size", "15MB", "--license", "cc-by-nc-4.0"]
    call(assemble_release, pretrained[0], root / "encoder", "--encoder_only", *more)
    call(assemble_release, gray_run, root / "gray", *flags)
    exported = gray_run.parent / "gray-plain"
    call(export, root / "gray", exported, *flags[:4], "--timing_rounds", 1)
    call(assemble_release, exported, root / "gray-plain", *flags[:4], "--hardware", "two cores", "--assumed_watts", 30)
    made = {"classifier": root / "classifier", "encoder": root / "encoder", "gray": root / "gray"}
    return {**made, "run": gray_run, "export": exported, "plain": root / "gray-plain"}


@pytest.fixture
def copies(assembled, tmp_path):
    """Copies of the gray classifier's folder and of its plain one, side by side."""
    return tuple(shutil.copytree(assembled[name], tmp_path / assembled[name].name) for name in ("gray", "plain"))


@pytest.fixture
def copied(assembled, tmp_path):
    """A copy of the classifier's folder, to be spoilt."""
    return shutil.copytree(assembled["classifier"], tmp_path / "classifier")
