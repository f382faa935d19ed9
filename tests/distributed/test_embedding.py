# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The training scripts called by another program: their main returns. Tier: `make test-all`, for two processes."""

import os
import subprocess
import sys

import pytest

from tests.new_process import ROOT

PROGRAM = """
import socket, sys
from accelerate import notebook_launcher
from training import finetune, pretrain
main = {"pretrain": pretrain, "finetune": finetune}[sys.argv[1]].main
if __name__ == "__main__":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    notebook_launcher(main, (sys.argv[3:],), num_processes=int(sys.argv[2]), use_port=port)
    print("the program goes on")
"""


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.parametrize("script", ["pretrain", "finetune"])
def test_a_notebook_gets_its_call_back(script, num_processes, faces, config_file, pretraining_flags, tmp_path):
    flags = pretraining_flags
    if script == "finetune":
        flags = ["--model_config", config_file, "--dataset", faces, "--view_size", 64, "--num_workers", 0]
        flags += ["--per_device_train_batch_size", 8, "--num_train_epochs", 1]
    command = [sys.executable, "-c", PROGRAM, script, num_processes, *flags, "--output_dir", tmp_path / "run"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=ROOT, env=environment, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "the program goes on" in done.stdout
    assert (tmp_path / "run" / "model.safetensors").is_file()
