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
# Other ways to call a main, in one process each: argv[1] names the way, then come the flags; {} is the run's number.
OTHER_WAYS = """
import sys, threading
import torch
from accelerate import debug_launcher
from training import pretrain

def run(number=0, *_):
    flags = [word.replace("{}", str(number)) for word in sys.argv[2:]]
    assert pretrain.main(flags) == 0

def twice():
    run(0)
    run(1)

def in_a_thread():
    failures = []
    def call():
        try:
            run()
        except BaseException as error:
            failures.append(error)
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert not failures, failures

def spawned():
    torch.multiprocessing.spawn(run, nprocs=1)

def debugged():
    debug_launcher(run, num_processes=2)

if __name__ == "__main__":
    {"twice": twice, "thread": in_a_thread, "spawn": spawned, "debug": debugged}[sys.argv[1]]()
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


@pytest.mark.slow
@pytest.mark.parametrize("way", ["twice", "thread", "spawn", "debug"])
def test_other_programs_get_their_call_back(way, pretraining_flags, tmp_path):
    program = tmp_path / "program.py"  # what spawn imports again
    program.write_text(OTHER_WAYS)
    command = [sys.executable, program, way, *pretraining_flags, "--output_dir", tmp_path / "run{}"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=ROOT, env=environment, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "the program goes on" in done.stdout
    weights = [(tmp_path / f"run{number}" / "model.safetensors") for number in range(1 + (way == "twice"))]
    assert len({path.read_bytes() for path in weights}) == 1, "the second call computes what the first one does"
