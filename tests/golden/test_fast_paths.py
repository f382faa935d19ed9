# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The golden losses hold with each fast path on: in float64 as exactly as without, in float32 to rounding."""

import json
from contextlib import nullcontext

import pytest
import torch

from modeling_simfle import SimFLEForPreTraining
from tests.golden.test_golden_losses import FILE, RUNS, run
from tests.tiny import tiny_config, tiny_inputs
from training.data.views import apply_views, draw_view, stack_views, view_generator

GOLDEN = json.loads(FILE.read_text())


def assert_close(ours, name, rel):
    for step, (found, golden) in enumerate(zip(ours, GOLDEN[name], strict=True)):
        assert found == pytest.approx(golden, rel=rel), f"step {step}"


@pytest.mark.parametrize("name", RUNS)
def test_channels_last_and_fused_sgd(name):
    assert_close(run(RUNS[name], memory_format=torch.channels_last, fused=True), name, 1e-7)


@pytest.mark.parametrize("name", RUNS)
def test_float32_drifts_by_rounding_only(name):
    """Two steps: from the third on, rounding turns single ReLUs in batches of six, plain against plain as well."""
    plain = run(RUNS[name], dtype=torch.float32, steps=2)
    fast = run(RUNS[name], dtype=torch.float32, memory_format=torch.channels_last, fused=True, steps=2)
    for found, expected in zip(fast, plain, strict=True):
        assert found == pytest.approx(expected, rel=5e-5)


def test_bfloat16_autocast_drifts_by_percents():
    """Stated drift: 10 % of any loss over the first three steps, whose masks may differ by a patch."""
    ours = run({}, dtype=torch.float32, autocast=torch.bfloat16, steps=3)
    for found, golden in zip(ours, GOLDEN["semantic"], strict=False):
        assert found == pytest.approx(golden, rel=0.1)


@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
def test_compiled_model_is_one_graph_of_equal_losses(backend):
    """
    Captured by torch.compile; with aot_eager differentiated by it too.

    With code generated as well ("inductor") it takes minutes on a CPU.
    """
    assert_close(run({}, compiled=backend), "semantic", 1e-7)


def test_neither_step_nor_views_read_a_value_from_the_device(monkeypatch):
    """Meta tensors have none, so a host that reads one raises; so do most operations with a tensor of the CPU."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # has no meta device
    with torch.device("meta"):
        model = SimFLEForPreTraining(tiny_config()).train()
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    images = {name: tensor.to("meta") for name, tensor in tiny_inputs().items() if name.endswith("pixel_values")}
    output = model(**images)
    output.loss.backward()
    optimizer.step()
    model.update_target()
    assert output.loss.device.type == "meta"

    drawn = stack_views([draw_view(view_generator(0, 0, index, 1), 48, 48) for index in range(2)])
    pictures = torch.empty(2, 48, 48, 3, dtype=torch.uint8, device="meta")
    assert apply_views(pictures, drawn.to("meta"), 64).shape == (2, 3, 64, 64)
