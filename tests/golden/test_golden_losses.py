# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Golden losses: ten SGD-and-EMA steps of a tiny model in float64; a refactor leaves these numbers as they are.

A change that means to move them writes them anew, and says so in CHANGELOG.md:

    python -m tests.golden.test_golden_losses --write
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_simfle import SimFLEForPreTraining
from tests.tiny import tiny_config

FILE = Path(__file__).with_name("golden_losses.json")
LOSSES = ("loss", "similarity_loss", "reconstruction_loss", "distillation_loss", "grouping_loss")
RUNS = {
    "semantic": {},
    "random": {"masking": "random"},
    "no_norm_pix_loss": {"norm_pix_loss": False},
    "bottleneck": {"layer_type": "bottleneck"},
    "global_branch_alone": {"use_local_branch": False},
}


def run(
    fields: dict,
    dtype=torch.float64,
    memory_format=torch.contiguous_format,
    fused=False,
    autocast=None,
    compiled=None,
    steps=10,
) -> list[dict[str, float]]:
    """Losses of ten steps. Weights and inputs are numpy's, whose draws are the same on every machine."""
    draw = np.random.default_rng(0)
    model = SimFLEForPreTraining(tiny_config(**fields)).to(dtype).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and parameter.ndim > 1:
                fan_in = parameter[0].numel()
                parameter.copy_(torch.from_numpy(draw.normal(0, fan_in**-0.5, parameter.shape)))
            elif parameter.requires_grad and name.endswith("bias"):
                parameter.copy_(torch.from_numpy(draw.normal(0, 0.02, parameter.shape)))
    model.target_encoder.load_state_dict(model.encoder.state_dict())
    model.target_projector.load_state_dict(model.projector.state_dict())
    model.to(memory_format=memory_format)
    if compiled:
        model.compile(fullgraph=True, backend=compiled)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.02, momentum=0.9, weight_decay=1e-4, fused=fused)
    history = []
    for _ in range(steps):
        images = [torch.from_numpy(draw.normal(size=(6, 3, 64, 64))).to(dtype) for _ in range(3)]
        images = [x.contiguous(memory_format=memory_format) for x in images]
        group_ids = torch.from_numpy(draw.integers(0, 4, 6))
        noise = torch.from_numpy(draw.random((6, 16))).to(dtype)
        with torch.autocast("cpu", autocast, enabled=autocast is not None):
            output = model(*images, group_ids=group_ids, noise=noise)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        model.update_target()
        history.append({name: output[name].item() for name in LOSSES if output.get(name) is not None})
    return history


@pytest.mark.parametrize("name", RUNS)
def test_losses_are_the_golden_ones(name):
    golden = json.loads(FILE.read_text())[name]
    for step, (ours, theirs) in enumerate(zip(run(RUNS[name]), golden, strict=True)):
        assert ours == pytest.approx(theirs, rel=1e-7), f"step {step}"


if __name__ == "__main__" and "--write" in sys.argv:
    FILE.write_text(json.dumps({name: run(fields) for name, fields in RUNS.items()}, indent=1) + "\n")
