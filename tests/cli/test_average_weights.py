# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""average_weights.py from the command line. Runs in `make test`."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.benchmarks import average_weights
from training.publishing.record import read_record


def call(*arguments):
    average_weights.main([str(argument) for argument in arguments])


def test_the_mean_of_two_classifiers_is_a_run_that_can_be_released(classifier, faces, tmp_path):
    one, other = classifier[0], tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "preprocessor_config.json", "run.json"):
        (other / name).write_bytes((one / name).read_bytes())
    weights = load_file(one / "model.safetensors")
    moved = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    save_file(moved, other / "model.safetensors", metadata={"format": "pt"})
    flags = ["--dataset", faces, "--num_workers", 0]
    call(one, other, "--shares", 0.75, 0.25, *flags, "--output_dir", tmp_path / "mean")
    mean = load_file(tmp_path / "mean" / "model.safetensors")
    for name, tensor in weights.items():
        torch.testing.assert_close(mean[name], tensor + 0.25 if tensor.is_floating_point() else tensor)
    record = read_record(tmp_path / "mean")
    assert record.lineage[-1]["method"] == "averaging of weights" and len(record.lineage) > 2
    metrics = json.loads((tmp_path / "mean" / "metrics.json").read_text())
    assert metrics["split"] == "validation" and metrics["num_images"] == 16
    checkpoint = other / "checkpoints" / "step_00000001"
    checkpoint.mkdir(parents=True)
    for name in ("config.json", "preprocessor_config.json"):
        (checkpoint / name).write_bytes((one / name).read_bytes())
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    averaged = {f"module.{name}": tensor for name, tensor in moved.items()} | {"n_averaged": torch.tensor(3)}
    save_file(averaged, checkpoint / "average.safetensors")
    (checkpoint / "training_state.json").write_text('{"epochs": 7}')
    call(one, checkpoint, "--shares", 0.75, 0.25, *flags, "--output_dir", tmp_path / "ema")
    ema = load_file(tmp_path / "ema" / "model.safetensors")
    assert all(torch.equal(tensor, ema[name]) for name, tensor in mean.items())
    source = read_record(tmp_path / "ema").lineage[-2]
    assert source["results"]["epoch"] == 7 and [*source["weights_sha256"]] == ["average.safetensors"]
    with pytest.raises(ValueError, match=r"--shares \[0\.5\] must be 2 numbers that sum to 1"):
        call(one, other, "--shares", 0.5, *flags, "--output_dir", tmp_path / "no")
