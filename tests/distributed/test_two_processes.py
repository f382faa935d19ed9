# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Two gloo processes: really two, what they share, what each keeps to itself, and what happens when one breaks."""

import json
import re
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file

from modeling_simfle import SimFLEForPreTraining
from tests.distributed.launcher import launch
from tests.drawn_dataset import make_dataset
from training.runtime.checkpoints import list_checkpoints


@pytest.fixture(scope="module")
def flags(pretraining_flags):
    return [*pretraining_flags, "--per_device_train_batch_size", 4, "--checkpointing_steps", 2]


@pytest.fixture(scope="module")
def two(flags, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "run"
    status, output = launch("training/pretrain.py", *flags, "--output_dir", folder)
    assert status == 0, output[-3000:]
    return folder, output


def read_metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_are_really_two_and_share_the_images(two):
    folder, output = two
    about = json.loads((folder / "run.json").read_text())
    assert (about["num_processes"], about["global_batch_size"]) == (2, 8)
    lines = read_metrics(folder)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[0]["learning_rate"] == pytest.approx(0.05 * 8 / 256)
    assert output.count("finished at step 6") == 1
    assert "Grad strides do not match" not in output


def test_each_process_sees_its_own_batch_norm_and_grouping(two, pretrained):
    """Two processes of 4 are two replicas, not one batch of 8: the first step's losses differ from one process's."""
    ours, theirs = read_metrics(two[0])[0], read_metrics(pretrained[0])[0]
    for name in ("loss", "similarity_loss"):  # the sum of all is mostly the grouping's
        assert ours[name] != pytest.approx(theirs[name], rel=1e-3)


def test_going_on_with_one_process_is_allowed_and_said(two, script, flags, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(two[0], folder)
    shutil.rmtree(list_checkpoints(folder)[-1])
    resume = ["--output_dir", folder, "--resume_from_checkpoint", "latest"]
    done = script("pretrain", *flags, *resume, check=0)
    assert "resuming from step 8" in done.stdout  # 4 steps of 8 images are 8 of 4
    assert "the checkpoint was made with num_processes 2; this run has" in done.stdout + done.stderr
    kept = (folder / "metrics_in_steps_of_8.jsonl").read_text()  # as it was: lines beyond step 8 of the new count too
    assert kept == (two[0] / "metrics.jsonl").read_text()
    assert (folder / "monitor_in_steps_of_8.jsonl").is_file()
    assert [line["step"] for line in read_metrics(folder)][-1] == 12
    done = script("pretrain", *flags, "--per_device_train_batch_size", 2, *resume, check=2)
    assert "was made with per_device_train_batch_size 4, not 2" in done.stderr


@pytest.mark.slow
def test_a_stream_in_two_processes_goes_on_in_one(flags, script, tmp_path):
    faces = make_dataset(48, seed=0, size=40)
    for number, part in enumerate((range(10), range(10, 30), range(30, 48))):
        faces.select(part).to_parquet(tmp_path / "faces" / f"train-{number:05d}.parquet")
    stream = [*flags, "--dataset", tmp_path / "faces", "--streaming", "true", "--shuffle_block", 8]
    stream += ["--output_dir", tmp_path / "run"]
    status, output = launch("training/pretrain.py", *stream, "--max_train_steps", 3)
    assert status == 0, output[-3000:]
    done = script("pretrain", *stream, "--resume_from_checkpoint", "latest", check=0)
    printed = done.stdout + done.stderr
    assert "the checkpoint was made with num_processes 2; this run has 1" in printed
    assert "8 images of the blocks that the earlier processes had begun are left out of this epoch" in printed
    assert "resuming from step 8" in printed and "finished at step 12" in printed  # 16 of 48 images are left


@pytest.fixture(scope="module")
def grouping(tmp_path_factory):
    file, child = tmp_path_factory.mktemp("grouping") / "grouping.pt", "tests/distributed/grouping_child.py"
    status, output = launch(child, file, "own", num_processes=1)
    assert status == 0, output[-3000:]
    one = torch.load(file)["own"]
    status, output = launch(child, file, "global", "own")
    assert status == 0, output[-3000:]
    return {"one": one, **torch.load(file)}


def test_global_grouping_on_two_processes_equals_one_of_double_batch(grouping):
    torch.testing.assert_close(grouping["global"]["losses"], grouping["one"]["losses"], rtol=1e-6, atol=1e-9)
    for name, tensor in grouping["one"]["weights"].items():
        torch.testing.assert_close(grouping["global"]["weights"][name], tensor, rtol=1e-6, atol=1e-9, msg=name)


def test_without_it_the_grouping_loss_alone_differs(grouping):
    own, one = grouping["own"]["losses"][0], grouping["one"]["losses"][0]
    torch.testing.assert_close(own[1:4], one[1:4], rtol=1e-6, atol=1e-9)
    assert abs(own[4] / one[4] - 1) > 1e-4


def test_sync_batchnorm_on_the_cpu_is_refused_with_a_sentence(flags, tmp_path, monkeypatch):
    from training import pretrain

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--sync_batchnorm needs GPUs"):
        pretrain.main([str(f) for f in [*flags, "--sync_batchnorm", "true", "--output_dir", tmp_path / "o"]])


def test_a_loss_that_is_not_finite_on_one_rank_stops_both_before_the_update(flags, two, tmp_path):
    folder = tmp_path / "run"
    status, output = launch("tests/distributed/child.py", "not_finite", *flags, "--output_dir", folder)
    assert status != 0
    assert "the loss is not finite in 1 of 2 processes; nothing was updated" in output
    assert len(re.findall(r"the loss of images \[[\d, ]+\] is not finite", output)) == 1
    assert [path.name for path in list_checkpoints(folder)] == ["step_00000002"]
    assert [line["step"] for line in read_metrics(folder)] == [1, 2, 3]
    # It goes on from there to the same end.
    resume = ["--output_dir", folder, "--resume_from_checkpoint", "latest"]
    status, output = launch("training/pretrain.py", *flags, *resume)
    assert status == 0, output[-3000:]
    ours, theirs = load_file(folder / "model.safetensors"), load_file(two[0] / "model.safetensors")
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["hang", "die"])
def test_no_rank_waits_for_ever(flags, tmp_path, fault):
    folder = tmp_path / "run"
    options = ["--output_dir", folder, "--timeout_seconds", 30]
    status, output = launch("tests/distributed/child.py", fault, *flags, *options)
    assert status != 0
    assert fault == "die" or "another process of the run died or did not answer in time" in output
    assert [path.name for path in list_checkpoints(folder)] == ["step_00000002"]


@pytest.mark.slow
def test_machines_whose_folders_are_not_shared_do_not_go_on(flags, two, tmp_path):
    folder = shutil.copytree(two[0], tmp_path / "run")
    resume = ["--output_dir", folder, "--resume_from_checkpoint", "latest"]
    status, output = launch("tests/distributed/child.py", "own_disk", *flags, *resume)
    assert status != 0
    assert re.search(r"the processes would go on from different steps \(\d+, 0\); --output_dir must be", output)


@pytest.mark.slow
def test_an_unreadable_picture_counts_once_whichever_process_meets_it(flags, faces, tmp_path):
    """In three epochs of two processes, each of which draws it at some time."""
    shutil.copytree(faces, tmp_path / "faces")
    sorted((tmp_path / "faces" / "train").rglob("*.png"))[0].write_bytes(b"no image")
    more = ["--dataset", tmp_path / "faces", "--num_train_epochs", 3, "--max_bad_images", 1]
    status, output = launch("training/pretrain.py", *flags, *more, "--output_dir", tmp_path / "run")
    assert status == 0, output[-3000:]
    assert output.count("bad image") == 1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["num_processes"] == 2
    state = json.loads((list_checkpoints(tmp_path / "run")[-1] / "training_state.json").read_text())
    assert len(state["bad_images"]) == 1


def test_sigterm_to_one_rank_saves_and_stops_both(flags, tmp_path):
    folder = tmp_path / "run"
    status, output = launch("tests/distributed/child.py", "sigterm", *flags, "--output_dir", folder)
    assert status != 0
    assert "SIGTERM: saving a checkpoint" in output
    assert "stopped, to go on by --resume_from_checkpoint latest, at step 4" in output
    assert [path.name for path in list_checkpoints(folder)][-1] == "step_00000004"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_launcher_and_ranks_alike_saves(flags, tmp_path, name):
    """Each rank gets it twice: from outside, and from the launcher, which sends on its own."""
    folder = tmp_path / "run"
    options = ["--checkpointing_steps", 1000, "--output_dir", folder]
    status, output = launch("tests/distributed/child.py", f"everybody_{name}", *flags, *options, python=sys.executable)
    assert status != 0
    assert f"{name}: saving a checkpoint" in output
    assert "stopped, to go on by --resume_from_checkpoint latest, at step" in output, output[-3000:]
    assert [path.name for path in list_checkpoints(folder)][-1] in ("step_00000003", "step_00000004")
    SimFLEForPreTraining.from_pretrained(folder)
