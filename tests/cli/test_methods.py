# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""training/pretrain.py --method: every method trains, and a method's file can be deleted."""

import json
import math
import os
import shutil
import subprocess

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from tests.cli.test_landmark_probe import rows_of, write
from tests.fork_server import forking_python
from tests.new_process import ROOT
from training import pretrain
from training.pretraining.method import load_method
from training.pretraining.methods import method_names

QUEUE = ["--method_settings", "queue_size=32"]


def run(*arguments):
    pretrain.main([str(argument) for argument in arguments])


def read_metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", method_names())
def test_two_steps_and_a_model_that_auto_model_loads(name, pretraining_flags, faces, tmp_path):
    flags = [*pretraining_flags, "--monitor_dataset", faces, *(QUEUE if name == "moco" else [])]
    run(*flags, "--method", name, "--max_train_steps", 2, "--output_dir", tmp_path / "run")
    lines = read_metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [1, 2]
    assert all(math.isfinite(line["loss"]) for line in lines)
    method = load_method(name)
    assert ("similarity_loss" in lines[0]) == method.is_simfle
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["pretraining_method"]["name"] == name and about["pretraining_method"]["paper"] == method.paper
    assert about["num_trained_parameters"] > 0
    assert json.loads((tmp_path / "run" / "progress.json").read_text())["peak_memory_bytes"] > 1e6
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["architectures"] == ["SimFLEForPreTraining" if method.is_simfle else "SimFLEModel"]
    model = AutoModel.from_pretrained(tmp_path / "run").eval()
    assert model(torch.rand(2, 3, 64, 64)).pooler_output.isfinite().all()
    watched = json.loads((tmp_path / "run" / "monitor.jsonl").read_text().splitlines()[-1])
    assert 0 <= watched["encoder_knn_accuracy"] <= 1 and "effective_rank" in watched


def test_byol_is_simfle_without_its_local_branch_bit_for_bit(pretraining_flags, tmp_path):
    flags = [*pretraining_flags, "--max_train_steps", 3]
    run(*flags, "--use_local_branch", "false", "--output_dir", tmp_path / "flag")
    run(*flags, "--method", "byol", "--output_dir", tmp_path / "method")
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("method", "flag"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    losses = [[line["loss"] for line in read_metrics(tmp_path / name)] for name in ("method", "flag")]
    assert losses[0] == losses[1]


def test_start_from_weights_and_resume_of_another_method(pretrained, pretraining_flags, tmp_path):
    flags = [*pretraining_flags, "--method", "simclr", "--max_train_steps", 1, "--output_dir", tmp_path / "run"]
    run(*flags, "--model", pretrained[0], "--base_learning_rate", 0)
    ours, theirs = load_file(tmp_path / "run" / "model.safetensors"), load_file(pretrained[0] / "model.safetensors")
    name = "resnet.embedder.embedder.convolution.weight"
    assert torch.equal(ours[name], theirs[f"encoder.{name}"])
    again = [*flags, "--base_learning_rate", 0, "--resume_from_checkpoint", "latest"]
    with pytest.raises(ValueError, match=r"was made with pretraining_method.settings.temperature 0.1, not 0.2"):
        run(*again, "--method_settings", "temperature=0.2")
    with pytest.raises(ValueError, match="was made with pretraining_method"):
        run(*[flag if flag != "simclr" else "simsiam" for flag in again])


def test_a_checkpoint_from_before_there_were_methods_goes_on(pretrained, pretraining_flags, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(pretrained[0], folder)
    for path in folder.glob("checkpoints/*/training_state.json"):
        state = json.loads(path.read_text())
        del state["pretraining_method"]
        path.write_text(json.dumps(state))
    resume = ["--output_dir", folder, "--resume_from_checkpoint", "latest"]
    run(*pretraining_flags, *resume, "--method", "simfle")
    with pytest.raises(ValueError, match="was made with"):
        run(*pretraining_flags, *resume, "--method", "byol")


@pytest.mark.parametrize("deleted", [["moco"], [name for name in method_names() if name != "moco"]])
def test_deleting_a_methods_file_removes_the_method_alone(deleted, pretraining_flags, tmp_path):
    for room in ("modeling_simfle", "training"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in deleted:
        (tmp_path / "training" / "pretraining" / "methods" / f"{name}.py").unlink()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def call(name, *more):
        flags = [*pretraining_flags, "--method", name, "--max_train_steps", 1, *more, "--output_dir", tmp_path / name]
        command = [forking_python(), tmp_path / "training" / "pretrain.py", *flags]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=tmp_path, env=environment)

    gone, there = deleted[0], next(name for name in method_names() if name not in deleted)
    done = call(gone)
    assert done.returncode == 2 and "invalid choice" in done.stderr, done.stderr
    done = call(there, *(QUEUE if there == "moco" else []))
    assert done.returncode == 0, done.stderr
    assert "finished at step 1" in done.stdout


@pytest.mark.slow
def test_the_comparison_of_two_methods(faces, config_file, tmp_path):
    """Twice: the second start finds every row there."""
    write(tmp_path / "landmarks", train=rows_of(30, 0, 0), validation=rows_of(12, 1, 100))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"model_config: {config_file}\nview_size: 64\nper_device_train_batch_size: 8\nnum_workers: 0\n")
    given = {"FACES": faces, "FERPLUS": faces, "LANDMARKS": tmp_path / "landmarks", "OUT": tmp_path / "out"}
    given |= {"RECIPE": recipe, "RATES": "0.05 0.1", "SEEDS": "0", "METHODS": "simfle simsiam"}
    given |= {"PYTHON": forking_python(), "OMP_NUM_THREADS": 1}
    environment = {**os.environ, **{name: str(value) for name, value in given.items()}}
    command = ["bash", "training/recipes/compare_methods.sh", "--budget", "images", "--amount", "16"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "out" / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith(("| simfle |", "| simsiam |"))]
    assert len(rows) == 8, text  # linear probe and k-NN, landmarks, costs: of both
    assert "## Differences" in text and text.count("| 2 (1,200 choices) |") == 2
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("metrics.json*")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("metrics.json*")}
