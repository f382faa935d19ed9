# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
The script of docs/several_gpus.md on a Slurm cluster of two nodes: the signal before the time limit saves a
checkpoint, the job is queued again and goes on from there. Tier: `make test-all`.
"""

import re
import sys
from pathlib import Path

import pytest

from tests.distributed.launcher import launch
from tests.faults.test_kills import assert_same_end
from tests.hosts.documented import bash_script, console_command
from tests.hosts.slurm import Cluster, skip_without_slurm
from tests.hosts.two_hosts import skip_without_namespaces
from tests.new_process import ROOT
from training.runtime.checkpoints import list_checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
STOPPED = "stopped, to go on by --resume_from_checkpoint latest, at step "


@pytest.fixture
def cluster(tmp_path):
    skip_without_namespaces()
    skip_without_slurm()
    with Cluster(tmp_path) as nodes:
        yield nodes


def last_step(folder: Path) -> int:
    checkpoints = list_checkpoints(folder)
    return int(checkpoints[-1].name.removeprefix("step_")) if checkpoints else 0


def test_the_time_limit_loses_nothing(cluster, pretraining_flags, faces, tmp_path):
    flags = [*pretraining_flags, "--per_device_train_batch_size", 4, "--num_train_epochs", 10_000]
    flags = [*map(str, flags), "--checkpointing_steps", "2", "--mixed_precision", "no"]
    folder, script = tmp_path / "run", tmp_path / "pretrain.sbatch"
    script.write_text(bash_script("several_gpus.md", "#SBATCH"))

    words = console_command("several_gpus.md", "sbatch --nodes")
    resources = [word for word in words[words.index("sbatch") + 1 :] if word.startswith(("--nodes", "--time"))]
    output = tmp_path / "job.log"
    output.touch()
    environment = {"PROCESSES": "1", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    path = f"PATH={Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    exported = ["env", path, f"PYTHONPATH={ROOT}", *(f"{name}={value}" for name, value in environment.items())]
    submit = [*exported, "sbatch", "--parsable", f"--output={output}", f"--chdir={ROOT}", *resources, script]
    job = cluster.command(*submit, *flags, "--output_dir", folder)
    assert job, "sbatch refused the script"

    def state() -> str:
        return cluster.command("squeue", "-h", "-j", job, "-o", "%T")

    def wait_for(condition) -> None:
        cluster.wait_for(condition, lambda: f"job {job} is {state()}\n{output.read_text()[-6000:]}")

    def run_until(step: int) -> None:
        """Waits for a step; then leaves the job less time than the signal comes before its end."""
        wait_for(lambda: last_step(folder) >= step)
        hours, minutes, _ = cluster.command("squeue", "-h", "-j", job, "-o", "0:%M").split(":")[-3:]
        limit = 60 * int(hours) + int(minutes) + 2
        cluster.command("scontrol", "update", f"JobId={job}", f"TimeLimit={limit}")

    run_until(4)
    wait_for(lambda: STOPPED in output.read_text())
    wait_for(lambda: state() == "PENDING")
    first_end = last_step(folder)
    assert f"{STOPPED}{first_end}" in output.read_text()
    cluster.command("scontrol", "update", f"JobId={job}", "TimeLimit=60")  # Slurm starts it again after two minutes
    wait_for(lambda: f"resuming from step {first_end}" in output.read_text())
    run_until(first_end + 4)
    wait_for(lambda: output.read_text().count(STOPPED) == 2 and state() == "PENDING")
    cluster.command("scancel", job)

    straight, end = tmp_path / "straight", last_step(folder) + 3
    for run in (folder, straight):
        ending = ["--output_dir", run, "--resume_from_checkpoint", "latest", "--max_train_steps", end]
        status, printed = launch("training/pretrain.py", *flags, *ending)
        assert status == 0, printed[-3000:]
    assert_same_end(folder, straight)
    assert re.search(rf"resuming from step {first_end}\b", output.read_text())
