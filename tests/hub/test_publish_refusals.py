# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What publish.py refuses to send, and says so before it asks the Hub for anything."""

import json
import os
import pickle
import sys

import pytest
import torch

from modeling_simfle import SimFLEForImageClassification
from modeling_simfle.hub_folder_simfle import file_sha256
from tests.hub.from_hub import hub_environment
from tests.hub.hub_state import REPO, TOKEN
from training import publish
from training.data.drawn_faces import draw_face
from training.models import fresh_process
from training.publishing.record import EXAMPLE, LICENSE_FILE
from training.publishing.staging import stage_model


class Evil:
    def __reduce__(self):
        return os.system, ("echo evil",)


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def tamper(folder):
    """One bit of one weight; metrics.json knows the hash, as in a folder made for publishing."""
    path = folder / "model.safetensors"
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**metrics, "weights_sha256": {path.name: file_sha256(path)}}))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def pickled(name, protocol=4):
    return lambda folder: (folder / name).write_bytes(pickle.dumps(Evil(), protocol))


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def elsewhere(folder):
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"]["AutoModel"] = "someone/else--modeling.Model"
    (folder / "config.json").write_text(json.dumps(config))


def pipeline_elsewhere(folder):
    config = json.loads((folder / "config.json").read_text())
    config["custom_pipelines"] = {"image-classification": {"impl": "someone/else--pipe.Pipe"}}
    (folder / "config.json").write_text(json.dumps(config))


def hidden_token(folder):
    """Behind a picture's end, where no viewer shows it."""
    draw_face(3, 1, 32).image.save(folder / EXAMPLE)
    with open(folder / EXAMPLE, "ab") as file:
        file.write(TOKEN.encode())


def link(folder):
    (folder / LICENSE_FILE).symlink_to(folder / ".env")


def torch_zip(folder):
    torch.save({"weight": torch.zeros(2)}, folder / EXAMPLE)


@pytest.mark.parametrize(
    "spoil,sentence",
    [
        (truncate, "model.safetensors is damaged, cut off or no safetensors file"),
        (tamper, "model.safetensors is not the file whose hash stands in metrics.json"),
        (pickled("model.safetensors"), "model.safetensors is a pickle or a zip archive by its bytes"),
        (pickled("confusion_matrix.png"), "confusion_matrix.png is a pickle"),
        (pickled(EXAMPLE, protocol=0), f"{EXAMPLE} is a pickle"),
        (pickled(LICENSE_FILE, protocol=0), f"{LICENSE_FILE} is a pickle"),
        (torch_zip, f"{EXAMPLE} is a pickle or a zip archive by its bytes"),
        (write(EXAMPLE, "text"), f"{EXAMPLE} is no .png file by its bytes"),
        (write("onnx/model.onnx", "text"), "model.onnx is no .onnx file by its bytes"),
        (write(LICENSE_FILE, f"my token is {TOKEN}"), f"{LICENSE_FILE} holds what looks like a token"),
        (write("metrics.json", "{"), "metrics.json is not JSON"),
        (write("model-00001-of-00002.safetensors", ""), "model-00001-of-00002.safetensors is damaged, cut off"),
        (write("README.md", "# a card without YAML"), "YAML"),
        (elsewhere, "names the code 'someone/else--modeling.Model'"),
        (pipeline_elsewhere, "which is not in the folder; save it again"),
        (hidden_token, f"{EXAMPLE} holds what looks like a token"),
        (link, f"{LICENSE_FILE} is a link"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds none"),
        (lambda folder: (folder / "config.json").unlink(), "config.json does not exist"),
    ],
)
def test_what_is_wrong_with_a_folder(spoil, sentence, hub, here, folder):
    spoil(folder)
    with pytest.raises(ValueError, match=sentence) as caught:
        here(folder)
    assert TOKEN not in str(caught.value)
    assert "simfle_publish" not in str(caught.value)  # the temporary folder is nothing to its user
    assert hub.requests == []


def test_a_folder_that_does_not_load_or_says_something_else(finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr(fresh_process, "sys", sys)  # Python itself, as publish.py starts it; other tests fork
    staged = tmp_path / "name"
    stage_model(finished_run, staged, REPO)
    assert "a drawn face comes out the same" in fresh_process.compare_in_new_process(finished_run, staged)
    model = SimFLEForImageClassification.from_pretrained(finished_run)
    model.classifier.bias.data += 1
    model.save_pretrained(staged)
    with pytest.raises(ValueError, match="gives other outputs in a new process than the folder does here"):
        fresh_process.compare_in_new_process(finished_run, staged)
    (staged / "facemae_simfle.py").unlink()
    with pytest.raises(ValueError, match=r"does not load in a new process .*facemae_simfle"):
        fresh_process.compare_in_new_process(finished_run, staged)


@pytest.mark.parametrize(
    "flags,sentence",
    [
        ([], "--repo_id is missing"),
        (["--repo_id", "name"], "--repo_id name must be org/name"),
        (["--repo_id", "a/b/c"], "--repo_id a/b/c is no name of a repository"),
        (["--repo_id", REPO, "--create_pr", "--revision", "v2"], "--revision does not go with it"),
        (["--repo_id", REPO, "--revision", ""], "--revision is empty; give the name of a branch"),
    ],
)
def test_bad_flags(flags, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        publish.main([str(tmp_path), *flags])


def test_a_failure_is_one_sentence_and_a_status(script, hub, finished_run, tmp_path):
    environment = hub_environment(hub.url, tmp_path)  # no token
    done = script("publish", tmp_path, "--repo_id", REPO, "--push", env=environment, check=2)
    assert done.stderr.splitlines() == [
        f"publish: {tmp_path / 'config.json'} does not exist; give the folder of a finished run, or a published one."
    ]
