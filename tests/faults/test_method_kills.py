# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""SIGKILL in the middle of each method's run: it goes on to the weights of a run that was never stopped."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.faults.test_faults import run_with
from training import pretrain
from training.pretraining.methods import method_names
from training.runtime.checkpoints import list_checkpoints

# MoCo has the most to lose: a queue, and a copy that follows.
NAMES = [name if name == "moco" else pytest.param(name, marks=pytest.mark.slow) for name in method_names()]


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_goes_on_bit_for_bit(name, pretraining_flags, tmp_path):
    flags = [*pretraining_flags, "--method", name, "--checkpointing_steps", "1"]
    flags += ["--method_settings", "queue_size=32"] if name == "moco" else []
    pretrain.main([*flags, "--output_dir", str(tmp_path / "straight")])
    done = run_with("SIGKILL", flags, tmp_path / "killed")
    assert done.returncode == -9, done.stdout + done.stderr
    assert list_checkpoints(tmp_path / "killed")[-1].name == "step_00000003"
    pretrain.main([*flags, "--output_dir", str(tmp_path / "killed"), "--resume_from_checkpoint", "latest"])
    # The last checkpoint has the heads, the queue and the copies too.
    folders = [list_checkpoints(tmp_path / run)[-1] for run in ("straight", "killed")]
    assert [folder.name for folder in folders] == ["step_00000006"] * 2
    for file in ("model.safetensors", "momentum.safetensors"):
        straight, killed = (load_file(folder / file) for folder in folders)
        assert [key for key in straight if not torch.equal(straight[key], killed[key])] == []
    lines = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
