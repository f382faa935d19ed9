# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""finetune.py with two gloo processes: really two, resumed, and agreed on pictures that only one of them meets."""

import json
import shutil

import pytest

from modeling_simfle.hub_folder_simfle import weights_sha256
from tests.distributed.launcher import launch
from training.runtime.checkpoints import list_checkpoints


@pytest.fixture(scope="module")
def flags(faces, config_file):
    flags = ["--model_config", config_file, "--dataset", faces, "--view_size", 64, "--num_workers", 0]
    return [*flags, "--per_device_train_batch_size", 2, "--num_train_epochs", 2]


def read(folder, name="metrics.json"):
    return json.loads((folder / name).read_text())


def steps_of(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_go_on_to_the_same_end(flags, tmp_path):
    """Two starts, an epoch each."""
    folder, straight = tmp_path / "parts", tmp_path / "straight"
    status, output = launch("training/finetune.py", *flags, "--output_dir", straight)
    assert status == 0, output[-3000:]
    about = read(straight, "run.json")
    assert (about["num_processes"], about["global_batch_size"]) == (2, 4)  # really two
    status, output = launch("training/finetune.py", *flags, "--output_dir", folder, "--max_train_minutes", 0)
    assert status == 0, output[-3000:]
    resume = ["--output_dir", folder, "--resume_from_checkpoint", "latest"]
    status, output = launch("training/finetune.py", *flags, *resume)
    assert status == 0, output[-3000:]
    assert output.count("resuming from step 12") == 1
    assert steps_of(folder) == [12, 24]
    ours, theirs = (list_checkpoints(f)[-1] for f in (folder, straight))
    assert weights_sha256(ours) == weights_sha256(theirs)
    assert read(folder)["weights_sha256"] == weights_sha256(folder)
    assert read(folder)["confusion_matrix"] == read(straight)["confusion_matrix"]


@pytest.mark.slow
def test_pictures_that_one_process_cannot_read(flags, faces, tmp_path):
    """With two a batch, one broken picture leaves too few in one process: both skip the step, and count it once."""
    shutil.copytree(faces, tmp_path / "faces")
    sorted((tmp_path / "faces" / "train").rglob("*.png"))[0].write_bytes(b"no image")
    more = ["--dataset", tmp_path / "faces", "--output_dir", tmp_path / "run"]
    status, output = launch("training/finetune.py", *flags, *more, "--max_bad_images", 1)
    assert status == 0, output[-3000:]
    assert output.count("bad image 1 (limit 1)") == 1
    assert steps_of(tmp_path / "run") == [12, 24]
    assert (read(tmp_path / "run")["num_bad_images"], read(tmp_path / "run")["num_training_images"]) == (1, 47)
    shutil.rmtree(tmp_path / "run")
    status, output = launch("training/finetune.py", *flags, *more)  # its time limit: no process waits for ever
    assert status != 0
    assert output.count("finetune: 1 bad images are more than --max_bad_images 0") >= 1
    assert "Traceback" not in output.split("finetune: 1 bad images")[0]
