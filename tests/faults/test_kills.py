# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
SIGKILL loses nothing: the run ends bit for bit as one that was never stopped.

A kill waits for a state of the run, never for a time: a line of metrics.jsonl, or the temporary folder of a checkpoint.
SIMFLE_KILLS=50 python -m pytest tests/faults/test_kills.py -s     (20 kills by default)
"""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.new_process import ROOT
from training import pretrain
from training.runtime.checkpoints import images_seen, list_checkpoints

KILLS = int(os.environ.get("SIMFLE_KILLS", 20))
BATCH = 4


class KilledRun:
    """A run of pretrain.py that is started, killed and started again in one folder. Its output is kept in a file."""

    def __init__(self, flags, folder: Path, num_processes: int = 1):
        self.folder, self.log, self.num_processes = folder, Path(f"{folder}.log"), num_processes
        self.flags = [*map(str, flags), "--output_dir", str(folder), "--resume_from_checkpoint", "latest"]
        self.command = [sys.executable]
        if num_processes > 1:
            self.command += ["-m", "torch.distributed.run", f"--nproc_per_node={num_processes}", "--standalone"]
        self.command += [str(ROOT / "training" / "pretrain.py"), *self.flags]

    def start(self, *more) -> subprocess.Popen:
        environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        with open(self.log, "a") as log:
            command = [*self.command, *map(str, more)]
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment)

    def finish(self, *more) -> None:
        """Runs to the end; a run of one process does that in this one."""
        if self.num_processes > 1:
            assert self.start(*more).wait() == 0, self.log.read_text()[-3000:]
        else:
            with open(self.log, "a") as log, redirect_stdout(log):
                pretrain.main([*self.flags, *map(str, more)])

    def signal_all(self, number: signal.Signals) -> None:
        """To every process that names the folder: torchrun's workers are not in its process group."""
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.folder).encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), number)
            except OSError:  # it has just ended
                continue

    def started_from(self) -> list[int]:
        """The step at which each start began, as printed."""
        words = ("resuming from step ", "no checkpoint found; starting from step ")
        lines = self.log.read_text().splitlines()
        return [int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(words)]

    def is_saving(self) -> bool:
        return any((self.folder / "checkpoints").glob("*.tmp"))

    def last_logged_step(self) -> int:
        try:
            text = (self.folder / "metrics.jsonl").read_text()
        except FileNotFoundError:
            return 0
        return text.count("\n")  # --logging_steps 1, each step once

    def kill(self, steps: int, inside_save: bool) -> None:
        """
        Starts the run, lets it log `steps` steps of its own and kills it; inside_save: while a checkpoint is written.

        A stopped process cannot finish its save between the look and the kill.
        """
        starts = len(self.started_from()) if self.log.exists() else 0
        process = self.start()

        def wait_for(condition) -> None:
            while not condition():
                assert process.poll() is None, self.log.read_text()[-3000:]
                time.sleep(0.002)

        wait_for(lambda: len(self.started_from()) > starts)
        wait_for(lambda: self.last_logged_step() >= self.started_from()[-1] + steps)
        while inside_save:
            wait_for(self.is_saving)
            self.signal_all(signal.SIGSTOP)
            if self.is_saving():
                break
            self.signal_all(signal.SIGCONT)
        self.signal_all(signal.SIGKILL)
        process.wait()


def assert_kills_lose_nothing(flags, tmp_path, kills: list[bool], num_processes: int = 1) -> None:
    """kills: for each whether it lands inside a save."""
    # So many epochs that no life reaches the end, however late its kill comes.
    flags = [*flags, "--per_device_train_batch_size", BATCH, "--num_train_epochs", 10_000, "--checkpointing_steps", 2]
    draw = random.Random(num_processes)
    killed = KilledRun(flags, tmp_path / "killed", num_processes)
    unfinished_saves = 0
    for inside_save in kills:
        killed.kill(draw.randint(3, 8), inside_save)
        unfinished_saves += killed.is_saving()
    steps = images_seen(list_checkpoints(killed.folder)[-1]) // (BATCH * num_processes) + 3
    straight = KilledRun(flags, tmp_path / "straight", num_processes)
    for run in (killed, straight):
        run.finish("--max_train_steps", steps)
    starts = killed.started_from()
    print(
        f"{num_processes} processes: {len(kills)} kills, {unfinished_saves} inside a save, starts from steps {starts}"
    )
    assert unfinished_saves >= sum(kills)
    assert len(starts) == len(kills) + 1
    assert all(before < after for before, after in itertools.pairwise(starts))  # all but the first resume above step 0
    assert not killed.is_saving()
    assert json.loads((killed.folder / "run.json").read_text())["num_processes"] == num_processes
    assert_same_end(killed.folder, straight.folder)


def assert_same_end(folder: Path, straight: Path) -> None:
    ours, theirs = (load_file(f / "model.safetensors") for f in (folder, straight))
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    lines = [[json.loads(x) for x in (f / "metrics.jsonl").read_text().splitlines()] for f in (folder, straight)]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    assert [line["loss"] for line in lines[0]] == [line["loss"] for line in lines[1]]


def test_a_kill_of_each_kind_loses_nothing(pretraining_flags, tmp_path):
    assert_kills_lose_nothing(pretraining_flags, tmp_path, [False, True])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("num_processes", [1, 2])
def test_many_kills_lose_nothing(pretraining_flags, tmp_path, num_processes):
    kills = KILLS if num_processes == 1 else max(2, KILLS // 4)
    assert_kills_lose_nothing(pretraining_flags, tmp_path, [k % 2 == 1 for k in range(kills)], num_processes)
