# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
SIGKILL at random moments loses nothing: the run ends bit for bit as one that was never stopped.

SIMFLE_KILLS=20 python -m pytest tests/faults/test_kills.py -s     (6 kills by default)
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.new_process import ROOT

KILLS = int(os.environ.get("SIMFLE_KILLS", 6))


def start(flags, folder, num_processes=1):
    command = [sys.executable, str(ROOT / "training" / "pretrain.py")]
    if num_processes > 1:
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={num_processes}", "--standalone"]
        command += [str(ROOT / "training" / "pretrain.py")]
    log = open(f"{folder}.log", "a")  # noqa: SIM115 - the child's
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *map(str, flags), "--output_dir", str(folder), "--resume_from_checkpoint", "latest"],
        stdout=log,
        stderr=log,
        cwd=ROOT,
        env=environment,
    )


def kill_all(folder) -> None:
    """SIGKILL for every process that names the folder: torchrun's workers are no children of its group."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if str(folder).encode() in arguments:
            os.kill(int(entry.name), signal.SIGKILL)


def resumed_from(folder) -> list[int]:
    """The step at which each start began, as printed."""
    words = ("resuming from step ", "no checkpoint found; starting from step ")
    lines = Path(f"{folder}.log").read_text().splitlines()
    return [int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(words)]


def kill_at_random_moments(flags, folder, kills, draw, num_processes=1) -> int:
    """Returns how many kills landed inside a save."""
    inside_save = 0
    for life in range(kills):
        process = start(flags, folder, num_processes)
        while process.poll() is None and len(resumed_from(folder)) <= life:
            time.sleep(0.02)
        time.sleep(draw.uniform(0.3, 1.5))
        assert process.poll() is None, Path(f"{folder}.log").read_text()[-3000:]
        kill_all(folder)
        process.wait()
        inside_save += any((Path(folder) / "checkpoints").glob("*.tmp"))
    return inside_save


def assert_same_end(folder, straight):
    ours, theirs = (load_file(Path(f) / "model.safetensors") for f in (folder, straight))
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    lines = [[json.loads(x) for x in (Path(f) / "metrics.jsonl").read_text().splitlines()] for f in (folder, straight)]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    assert [line["loss"] for line in lines[0]] == [line["loss"] for line in lines[1]]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("num_processes", [1, 2])
def test_kills_lose_nothing(pretraining_flags, tmp_path, num_processes):
    kills = KILLS if num_processes == 1 else max(2, KILLS // 3)
    steps = 40 * kills  # more than the lives can do
    flags = [*pretraining_flags, "--per_device_train_batch_size", 4, "--num_train_epochs", 4 * steps]
    flags += ["--max_train_steps", steps, "--checkpointing_steps", 2]
    straight, folder = tmp_path / "straight", tmp_path / "killed"
    inside_save = kill_at_random_moments(flags, folder, kills, random.Random(num_processes), num_processes)
    for one in (folder, straight):
        assert start(flags, one, num_processes).wait() == 0, Path(f"{one}.log").read_text()[-3000:]
    began = resumed_from(folder)
    print(f"{num_processes} processes: {kills} kills, {inside_save} inside a save, starts from steps {began}")
    assert len(began) == kills + 1
    assert sum(step > 0 for step in began[1:]) >= 0.75 * kills
    assert began == sorted(began)
    assert json.loads((folder / "run.json").read_text())["num_processes"] == num_processes  # really so many
    assert_same_end(folder, straight)
    assert not list((folder / "checkpoints").glob("*.tmp"))
