# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The golden losses hold with each fast path on: in float64 as exactly as without, in float32 to rounding."""

import json

import pytest
import torch

from tests.golden.test_golden_losses import FILE, RUNS, run

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


def test_compiled_model_is_one_graph_of_equal_losses():
    """Captured and differentiated by torch.compile; with code generated too ("inductor") it takes minutes on a CPU."""
    assert_close(run({}, compiled="aot_eager"), "semantic", 1e-7)
