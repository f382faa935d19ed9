# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""--push_to_hub of the training scripts: a finished run goes the way of publish.py."""

import json

import pytest
from accelerate.state import AcceleratorState

from tests.hub.from_hub import hub_environment
from tests.hub.hub_state import REPO, TOKEN
from training import finetune, linear_probe, pretrain

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
PUSH = ["--push_to_hub", "--hub_model_id", REPO]


def call(script, *arguments):
    AcceleratorState._reset_state(reset_partial_state=True)
    script.main([str(argument) for argument in arguments])


@pytest.fixture
def probe_flags(pretrained, faces):
    return ["--model", pretrained[0], "--dataset", faces, "--num_workers", 0, "--num_train_epochs", 1]


def test_pretraining(script, hub, pretraining_flags, tmp_path):
    environment = hub_environment(hub.url, tmp_path, HF_TOKEN=TOKEN)
    flags = [*pretraining_flags, "--max_train_steps", 2, *PUSH, "--hub_private_repo", "--output_dir", tmp_path / "run"]
    done = script("pretrain", *flags, env=environment, check=0)
    assert "finished at step 2" in done.stdout and "are equal" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    assert hub.repositories[REPO].private
    sent = hub.files(REPO)
    assert sent["model.safetensors"] == (tmp_path / "run" / "model.safetensors").read_bytes()
    assert "run.json" not in sent and "metrics.jsonl" not in sent
    assert TOKEN not in (tmp_path / "run" / "run.json").read_text()


def test_an_unfinished_pretraining_is_not_published(hub_here, pretraining_flags, tmp_path):
    flags = [*pretraining_flags, "--max_train_minutes", 1e-6, *PUSH, "--output_dir", tmp_path / "run"]
    call(pretrain, *flags)
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert hub_here.requests == []


def test_probe_and_fine_tuning(hub_here, probe_flags, tmp_path):
    call(linear_probe, *probe_flags, *PUSH, "--output_dir", tmp_path / "probe")
    call(finetune, *probe_flags, "--per_device_train_batch_size", 20, *PUSH, "--output_dir", tmp_path / "tuned")
    first, second = list(hub_here.repositories[REPO].commits.values())[1:]
    for files, run, method in ((first, "probe", "linear probe"), (second, "tuned", "fine-tuning")):
        assert files["model.safetensors"] == (tmp_path / run / "model.safetensors").read_bytes()
        metrics = json.loads(files["metrics.json"])
        assert metrics["method"] == method
        assert [training["method"] for training in metrics["lineage"]] == ["pretraining", method]
        assert f'model="{REPO}"' in files["README.md"].decode()


def test_a_failure_keeps_the_run_and_says_how_to_go_on(hub_here, probe_flags, tmp_path):
    hub_here.faults["commit"] = 500
    output = tmp_path / "my probe"
    with pytest.raises(ValueError, match=r"the run is finished in .* but not published: .*HTTP 500") as caught:
        call(linear_probe, *probe_flags, *PUSH, "--hub_private_repo", "--output_dir", output)
    assert str(caught.value).endswith(f"publish.py '{output}' --repo_id {REPO} --push --private")
    assert (output / "metrics.json").is_file()


def test_what_can_be_known_before_the_training(hub_here, probe_flags, tmp_path, monkeypatch):
    common = [*probe_flags, "--output_dir", tmp_path / "run"]
    with pytest.raises(ValueError, match="--hub_model_id is missing"):
        call(linear_probe, *common, "--push_to_hub")
    with pytest.raises(ValueError, match="--push_to_hub is for one run, not for 2"):
        call(linear_probe, *common, *PUSH, "--seeds", "0", "1")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="there is no token of the Hub"):
        call(linear_probe, *common, *PUSH)
    assert hub_here.requests == []
