# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What breaks a run from outside: one sentence, a status that is not 0, and a run that goes on to the same end."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
import torch
from safetensors.torch import load_file

from modeling_simfle import SimFLEForPreTraining
from tests.drawn_dataset import make_dataset
from tests.fork_server import forking_python
from tests.new_process import ROOT
from training import pretrain
from training.runtime.arguments import run_main
from training.runtime.checkpoints import list_checkpoints
from training.runtime.errors import run_errors


@pytest.fixture(scope="module")
def flags(pretraining_flags):
    return [*pretraining_flags, "--checkpointing_steps", "1"]


def run_with(fault, flags, folder):
    command = [forking_python(), ROOT / "tests" / "faults" / "child.py", fault, *flags, "--output_dir", folder]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, env=environment)


def assert_goes_on_to_the_same_end(flags, folder, straight):
    pretrain.main([*map(str, flags), "--output_dir", str(folder), "--resume_from_checkpoint", "latest"])
    ours, theirs = (load_file(f / "model.safetensors") for f in (folder, straight))
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "fault,sentence",
    [
        ("full_disk", "the disk is full, or a limit on its files is reached (Error while serializing"),
        ("full_disk_for_logs", "the disk is full, or a limit on its files is reached ([Errno 27] File too large"),
        ("not_finite", "the loss is not finite in 1 of 1 processes; nothing was updated"),
        ("dead_worker", "a data worker died or hung"),
        pytest.param(
            "hung_worker",
            "a data worker died or hung (DataLoader timed out after 20 seconds",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_one_sentence_and_nothing_lost(flags, pretrained, tmp_path, fault, sentence):
    workers = ["--num_workers", 1, "--timeout_seconds", 20] if fault.endswith("worker") else []
    done = run_with(fault, [*flags, *workers], tmp_path / "run")
    assert done.returncode == 1, done.stdout + done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("pretrain: ")
    assert re.search(r"(the last checkpoint|what was saved before) stands(\.|$)", done.stderr.strip())
    assert not (tmp_path / "run" / "error.log").exists()
    assert list_checkpoints(tmp_path / "run")[-1].name in ("step_00000002", "step_00000003", "step_00000004")
    assert_goes_on_to_the_same_end(flags, tmp_path / "run", pretrained[0])


def test_a_vanished_folder(flags, tmp_path):
    done = run_with("vanished", flags, tmp_path / "run")
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name,status", [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_saves_a_checkpoint_and_a_loadable_model(flags, pretrained, tmp_path, name, status):
    done = run_with(name, [*flags, "--checkpointing_steps", "1000"], tmp_path / "run")
    assert done.returncode == status, done.stdout + done.stderr
    assert f"{name}: saving a checkpoint after this step" in done.stdout
    assert "stopped, to go on by --resume_from_checkpoint latest, at step 4" in done.stdout
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["step_00000004"]
    SimFLEForPreTraining.from_pretrained(tmp_path / "run")
    assert_goes_on_to_the_same_end(flags, tmp_path / "run", pretrained[0])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stopped_stream_goes_on_to_the_same_end(flags, tmp_path, num_workers):
    """In the middle of a block: the images that were read and not yet trained on are read again."""
    faces = make_dataset(48, seed=0, size=40)
    for number, part in enumerate((range(10), range(10, 30), range(30, 48))):
        faces.select(part).to_parquet(tmp_path / "faces" / f"train-{number:05d}.parquet")
    stream = [*flags, "--dataset", tmp_path / "faces", "--streaming", "true", "--shuffle_block", 20]
    stream = [str(flag) for flag in [*stream, "--num_workers", num_workers]]
    pretrain.main([*stream, "--output_dir", str(tmp_path / "straight")])
    done = run_with("SIGTERM", [*stream, "--checkpointing_steps", "1000"], tmp_path / "run")
    assert done.returncode == 143, done.stdout + done.stderr
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["step_00000004"]
    assert_goes_on_to_the_same_end(stream, tmp_path / "run", tmp_path / "straight")


def test_a_time_limit_ends_with_a_loadable_model_and_status_0(flags, pretrained, tmp_path, capsys):
    pretrain.main([*flags, "--max_train_minutes", "0", "--output_dir", str(tmp_path / "run")])
    assert "stopped, to go on by --resume_from_checkpoint latest, at step 1" in capsys.readouterr().out
    SimFLEForPreTraining.from_pretrained(tmp_path / "run")
    assert_goes_on_to_the_same_end(flags, tmp_path / "run", pretrained[0])


def test_half_written_checkpoints_are_passed_over(flags, pretrained, tmp_path, capsys):
    folder = tmp_path / "run"
    pretrain.main([*flags, "--max_train_steps", "2", "--output_dir", str(folder)])
    (folder / "checkpoints" / "step_00000005.tmp").mkdir()
    (folder / "checkpoints" / "step_00000005.tmp" / "model.safetensors").write_bytes(b"half")
    (folder / "checkpoints" / "step_00000004").mkdir()  # no training_state.json, which comes last
    capsys.readouterr()
    assert_goes_on_to_the_same_end(flags, folder, pretrained[0])
    assert "resuming from step 2" in capsys.readouterr().out


def test_images_that_vanish_mid_run_count_as_bad(flags, faces, tmp_path, capsys):
    copy = tmp_path / "faces"
    shutil.copytree(faces, copy)
    pretrain.main([*flags, "--dataset", str(copy), "--max_train_steps", "1", "--output_dir", str(tmp_path / "run")])
    victims = sorted((copy / "train").rglob("*.png"))[-2:]
    for victim in victims:
        victim.write_bytes(b"")
    resume = ["--output_dir", str(tmp_path / "run"), "--resume_from_checkpoint", "latest", "--dataset", str(copy)]
    pretrain.main([*flags, *resume, "--max_bad_images", "2"])
    assert victims[0].name in capsys.readouterr().err


def test_an_unreadable_picture_counts_once_over_epochs_and_a_resume(flags, faces, tmp_path, capsys):
    copy = tmp_path / "faces"
    shutil.copytree(faces, copy)
    sorted((copy / "train").rglob("*.png"))[0].write_bytes(b"")
    more = [*flags, "--dataset", str(copy), "--num_train_epochs", "3", "--max_bad_images", "1"]
    more += ["--checkpointing_steps", "6", "--output_dir", str(tmp_path / "run")]
    pretrain.main([*more, "--max_train_steps", "12"])
    pretrain.main([*more, "--resume_from_checkpoint", "latest"])
    printed = capsys.readouterr()
    assert printed.err.count("bad image") == 1
    assert "finished at step 18" in printed.out
    state = json.loads((list_checkpoints(tmp_path / "run")[-1] / "training_state.json").read_text())
    assert len(state["bad_images"]) == 1


def test_found_inf_skips_a_fused_update_on_the_device():
    """What StepGuard relies on where nobody waits for the device (torch's fused SGD, here on the CPU)."""
    parameter = torch.nn.Parameter(torch.ones(64))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9, weight_decay=0.1, fused=True)
    for found_inf, moved in ((0.0, True), (1.0, False), (0.0, True)):
        before = parameter.detach().clone()
        parameter.grad = torch.full((64,), torch.nan if found_inf else 1.0)
        optimizer.found_inf = torch.tensor([found_inf])
        optimizer.step()
        assert parameter.isfinite().all()
        assert torch.equal(parameter, before) != moved


def test_a_signal_to_the_whole_group_spares_the_workers_and_saves(flags, tmp_path):
    """What torchrun, Slurm and Ctrl-C do: the data workers get the signal too."""
    done = run_with("group_SIGTERM", [*flags, "--num_workers", 1, "--checkpointing_steps", "1000"], tmp_path / "run")
    assert done.returncode == 143, done.stdout + done.stderr
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["step_00000004"]


def test_going_on_from_an_earlier_checkpoint_sets_the_later_ones_aside(flags, pretrained, tmp_path):
    folder = tmp_path / "run"
    pretrain.main([*flags, "--checkpoints_total_limit", "9", "--output_dir", str(folder)])
    chosen = str(folder / "checkpoints" / "step_00000002")
    resume = ["--checkpoints_total_limit", "9", "--output_dir", str(folder), "--resume_from_checkpoint", chosen]
    pretrain.main([*flags, "--max_train_steps", "3", *resume])
    assert [path.name for path in list_checkpoints(folder)][-1] == "step_00000003"
    assert (folder / "checkpoints" / "abandoned_step_00000006").is_dir()
    assert_goes_on_to_the_same_end(flags, folder, pretrained[0])


def test_a_gradient_that_is_not_finite_stops_before_the_update(flags, tmp_path):
    done = run_with("gradient", flags, tmp_path / "run")
    assert done.returncode == 1
    assert "the gradient of the loss of images" in done.stderr
    assert [path.name for path in list_checkpoints(tmp_path / "run")][-1] == "step_00000003"


def test_a_workers_death_is_told_once(capsys):
    """torch's handler of SIGCHLD raises wherever the process is by then."""

    def tell(*_):
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    def lose_a_worker():
        with run_errors("the last checkpoint stands"):
            raise RuntimeError("DataLoader worker (pid 1) exited unexpectedly")

    previous = signal.signal(signal.SIGCHLD, tell)
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    worker.start()
    try:
        with pytest.raises(SystemExit) as end:
            run_main("pretrain", lose_a_worker)
        assert end.value.code == 1
        assert capsys.readouterr().err.count("a data worker died or hung") == 1
        assert worker.exitcode == -signal.SIGKILL
        assert signal.getsignal(signal.SIGCHLD) is tell
    finally:
        signal.signal(signal.SIGCHLD, previous)
