# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Every loss against numbers worked out by hand, and against the oracle on random tensors."""

import math

import pytest
import torch

from modeling_simfle.modeling_simfle import (
    channel_similarity,
    distillation_loss,
    group_patch_scores,
    grouping_loss,
    reconstruction_loss,
    similarity_loss,
)
from tests import oracle

F64 = torch.float64


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def test_similarity_loss_by_hand():
    # p1.q1: parallel, p2.q2: orthogonal; then 60 degrees and opposite. (0 + 2 + 1 + 4) / 2
    p1 = torch.tensor([[2.0, 0.0], [1.0, 0.0]], dtype=F64)
    q1 = torch.tensor([[5.0, 0.0], [0.5, math.sqrt(3) / 2]], dtype=F64)
    p2 = torch.tensor([[0.0, 3.0], [0.0, 1.0]], dtype=F64)
    q2 = torch.tensor([[1.0, 0.0], [0.0, -7.0]], dtype=F64)
    assert similarity_loss(p1, p2, q1, q2).item() == pytest.approx(3.5, abs=1e-12)


def test_reconstruction_loss_by_hand():
    # One image of four 1-px patches of three colours; the second and the last are removed.
    image = torch.arange(12, dtype=F64).reshape(1, 3, 2, 2)  # pixel k holds k, 4 + k, 8 + k
    logits, mask = torch.zeros(1, 4, 3, dtype=F64), torch.tensor([[0.0, 1, 0, 1]], dtype=F64)
    by_hand = ((1 + 25 + 81) / 3 + (9 + 49 + 121) / 3) / 2
    assert reconstruction_loss(image, logits, mask, 1, norm_pix_loss=False).item() == pytest.approx(by_hand, abs=1e-12)
    # normalised: (k, k + 4, k + 8) has unbiased variance 16, so targets are -1, 0, 1 (but for the 1e-6)
    scale = 16 / (16 + 1e-6)
    loss = reconstruction_loss(image, logits, mask, 1, norm_pix_loss=True)
    assert loss.item() == pytest.approx(2 / 3 * scale, abs=1e-12)


def test_reconstruction_loss_averages_over_the_removed_patches_of_the_batch():
    image = torch.zeros(2, 3, 2, 2, dtype=F64)
    logits = torch.zeros(2, 4, 3, dtype=F64)
    logits[0] = 1
    mask = torch.tensor([[1.0, 1, 1, 0], [1.0, 0, 0, 0]], dtype=F64)  # 3 patches of error 1, 1 of error 0
    assert reconstruction_loss(image, logits, mask, 1, norm_pix_loss=False).item() == pytest.approx(0.75)


def test_distillation_loss_by_hand():
    # T = 2, two entries: students (2a, 0) have probabilities sigmoid(a)
    a1, a2, a3 = 0.3, -0.7, 1.9
    d1, d2, d3 = (torch.tensor([[2 * a, 0.0]], dtype=F64) for a in (a1, a2, a3))
    teacher = 1 / (1 + math.exp(-(a1 + a2 + a3) / 3))
    expected = 0.0
    for a in (a1, a2, a3):
        student = 1 / (1 + math.exp(-a))
        expected += teacher * math.log(teacher / student) + (1 - teacher) * math.log((1 - teacher) / (1 - student))
    assert distillation_loss(d1, d2, d3, 2.0).item() == pytest.approx(4 * expected, abs=1e-12)


def test_distillation_teacher_gets_no_gradient():
    d1, d2, d3 = (random(3, 5, seed=s).requires_grad_() for s in range(3))
    distillation_loss(d1, d2, d3, 4.0).backward()
    # With a constant teacher t: dL/dd_i = T (softmax(d_i / T) - softmax(t / T)) / B
    teacher = ((d1 + d2 + d3) / 12).softmax(1)
    for d in (d1, d2, d3):
        torch.testing.assert_close(d.grad, 4 * ((d / 4).softmax(1) - teacher) / 3, rtol=1e-10, atol=1e-12)


def test_grouping_loss_by_hand():
    # Four channels on a map of two cells, two groups. Channels 0, 1 live on cell 0, channels 2, 3 on cell 1 (up to the
    # 0.001): rows are (1.001, 0.001) and (0.001, 1.001), their inner product r.
    activations = torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]]], dtype=F64)
    r = 2 * 1.001 * 0.001 / (1.001**2 + 0.001**2)
    expected_l = 0.001 * 8 * r**2 / (4 / 512) ** 2
    assert grouping_loss(activations, 2).item() == pytest.approx(expected_l**2, rel=1e-12)
    # The same channels in the order 0, 2, 1, 3: within the groups r - 1 at 4 places, between them 1 at 4 and r at 4
    mixed = activations[:, [0, 2, 1, 3]]
    expected_l = 0.001 * (4 * (r - 1) ** 2 + 4 * 1 + 4 * r**2) / (4 / 512) ** 2
    assert grouping_loss(mixed, 2).item() == pytest.approx(expected_l**2, rel=1e-12)


def test_grouping_loss_of_equal_channels_is_the_documented_number():
    # method.md section 4: S is 1 everywhere, l about 254 at C = 2048, G = 32; here at C = 512: 0.001 * 512^2 * 31 / 32
    loss = grouping_loss(torch.ones(2, 512, 2, 2), 32)
    assert loss.item() == pytest.approx(253.952**2, rel=1e-4)


def test_grouping_loss_never_builds_or_changes_its_input():
    activations = random(2, 8, 2, 2).abs()
    before = activations.clone()
    grouping_loss(activations, 4)
    assert torch.equal(activations, before)


def test_groups_are_runs_of_consecutive_channels():
    maps = torch.zeros(1, 8, 2, 2, dtype=F64)
    maps[0, :, 0, 0] = torch.tensor([1.0, 2, 4, 8, 16, 32, 64, 128], dtype=F64)
    for group, total in enumerate([3.0, 12.0, 48.0, 192.0]):
        scores = group_patch_scores(maps, torch.tensor([group]), 4, 2, 1)
        assert scores.tolist() == [[total, 0, 0, 0]]


def test_each_image_is_scored_by_its_own_group():
    activations = random(4, 8, 2, 2).abs()
    ids = torch.tensor([3, 0, 2, 0])
    together = group_patch_scores(activations, ids, 4, 8, 2)
    for i in range(4):
        alone = group_patch_scores(activations[i : i + 1], ids[i : i + 1], 4, 8, 2)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=0)


def test_losses_equal_the_oracles_to_1e_10():
    p1, p2, q1, q2 = (random(5, 16, seed=s) for s in range(4))
    activations = random(5, 24, 3, 2, seed=4).relu()
    d1, d2, d3 = (random(5, 16, seed=s) for s in range(5, 8))
    origin, logits = random(5, 3, 16, 16, seed=8), random(5, 16, 48, seed=9)
    mask = (random(5, 16, seed=10) > 0).double()
    ids = torch.tensor([0, 5, 2, 3, 5])
    pairs = [
        (similarity_loss(p1, p2, q1, q2), oracle.similarity(p1, p2, q1, q2)),
        (grouping_loss(activations, 6), oracle.grouping(activations, 6)),
        (group_patch_scores(activations, ids, 6, 16, 4), oracle.patch_scores(activations, ids, 6, 16, 4)),
        (distillation_loss(d1, d2, d3, 4.0), oracle.distillation(d1, d2, d3, 4.0)),
        (reconstruction_loss(origin, logits, mask, 4, True), oracle.reconstruction(origin, logits, mask, 4, True)),
        (reconstruction_loss(origin, logits, mask, 4, False), oracle.reconstruction(origin, logits, mask, 4, False)),
    ]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_half_precision_is_raised_and_float64_kept():
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float16, torch.float32), (F64, F64)):
        x = random(4, 8).to(dtype)
        assert similarity_loss(x, x, x, x).dtype == expected
        assert distillation_loss(x, x, x, 4.0).dtype == expected
        maps = random(2, 8, 2, 2).to(dtype)
        assert channel_similarity(maps).dtype == grouping_loss(maps, 4).dtype == expected
        assert group_patch_scores(maps, torch.tensor([0, 1]), 4, 4, 2).dtype == expected
