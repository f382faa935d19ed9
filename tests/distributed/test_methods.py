# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Two processes see what one of the double batch sees, where a method's paper has it so."""

import json

import pytest
import torch

from tests.distributed.launcher import launch


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder, both = tmp_path_factory.mktemp("methods"), {}
    for processes in (1, 2):
        file = folder / f"{processes}.pt"
        status, output = launch("tests/distributed/methods_child.py", file, num_processes=processes)
        assert status == 0, output[-3000:]
        both[processes] = torch.load(file)
    return both


@pytest.mark.parametrize("name", ["simclr", "moco", "simsiam"])
def test_two_processes_equal_one_of_double_batch(found, name):
    """Losses and weights; MoCo's queue holds the keys of both in the order of the faces."""
    one, two = found[1][name], found[2][name]
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-9)
    for key, tensor in one["weights"].items():
        torch.testing.assert_close(two["weights"][key], tensor, rtol=1e-7, atol=1e-10, msg=key)


def test_barlow_twins_averages_the_correlations_of_the_processes(found):
    two = found[2]["barlow_twins"]
    views = [view.requires_grad_() for view in two["views"]]
    total = torch.zeros(5, 5, dtype=torch.float64)
    for half in (slice(0, 4), slice(4, 8)):
        a, b = (view[half] - view[half].mean(0) for view in views)
        total = total + torch.einsum("ni,nj->ij", a, b) / torch.outer(a.norm(dim=0), b.norm(dim=0)) / 2
    identity = torch.eye(5, dtype=torch.bool)
    loss = (1 - total[identity]).square().sum() + 0.005 * total[~identity].square().sum()
    assert two["loss"] == pytest.approx(loss.item(), rel=1e-12)
    for ours, view in zip(two["gradients"], torch.autograd.grad(loss, views), strict=True):
        torch.testing.assert_close(ours, view, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simclr", "moco", "barlow_twins"])
def test_a_run_of_two_processes(name, pretraining_flags, tmp_path):
    flags = [*pretraining_flags, "--per_device_train_batch_size", 4, "--method", name, "--output_dir", tmp_path / "run"]
    flags += ["--method_settings", "queue_size=32"] if name == "moco" else []
    status, output = launch("training/pretrain.py", *flags, "--max_train_steps", 3)
    assert status == 0, output[-3000:]
    status, output = launch("training/pretrain.py", *flags, "--resume_from_checkpoint", "latest")
    assert status == 0 and "resuming from step 3" in output, output[-3000:]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["num_processes"] == 2
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
