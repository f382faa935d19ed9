# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Augmentation, order and targets of fine-tuning."""

import numpy as np
import pytest
import torch
from PIL import Image

from training.fine_tuning_data import (
    Augmentation,
    affine_coefficients,
    augment,
    class_weights,
    epoch_batches,
    epoch_order,
    erase,
    mix,
)
from training.fine_tuning_loop import schedule

NOTHING = Augmentation(rotation=0, zoom=0, shift=0, jitter=0, erasing=0, flip=False)


def picture(width=48, height=48):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_no_change_leaves_the_picture():
    image = picture()
    changed = augment(image, np.random.default_rng(1), NOTHING, 48)
    assert np.array_equal(np.asarray(changed), np.asarray(image))


def test_half_of_the_pictures_are_mirrored_exactly():
    image, mirrored = picture(), 0
    for seed in range(40):
        changed = np.asarray(augment(image, np.random.default_rng(seed), Augmentation(0, 0, 0, 0, 0, True), 48))
        assert np.array_equal(changed, np.asarray(image)) or np.array_equal(changed, np.asarray(image)[:, ::-1])
        mirrored += not np.array_equal(changed, np.asarray(image))
    assert 10 < mirrored < 30


@pytest.mark.parametrize("width,height", [(48, 48), (30, 60)])
def test_the_centre_stays_and_a_turn_keeps_lengths_on_the_result(width, height):
    changed = Augmentation(rotation=90, zoom=0, shift=0, jitter=0, erasing=0, flip=False)
    a, b, c, d, e, f = affine_coefficients(np.random.default_rng(0), changed, width, height, 64)
    assert a * 32 + b * 32 + c == pytest.approx(width / 2)
    assert d * 32 + e * 32 + f == pytest.approx(height / 2)
    turn = np.array([[a / width, b / width], [d / height, e / height]]) * 64
    assert turn @ turn.T == pytest.approx(np.eye(2))


def test_a_large_picture_is_made_smaller_without_aliasing():
    stripes = np.zeros((480, 480, 3), np.uint8)
    stripes[:, ::2] = 255
    changed = np.asarray(augment(Image.fromarray(stripes), np.random.default_rng(0), NOTHING, 48))
    assert np.ptp(changed[:, 2:-2]) <= 2


def test_erasing_leaves_a_rectangle_of_the_mean():
    pixels = np.ones((3, 40, 40), np.float32)
    erase(pixels, np.random.default_rng(0))
    rows, columns = np.nonzero(pixels[0] == 0)
    assert 0.01 < (pixels[0] == 0).mean() < 0.25
    assert (pixels[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == 0).all()


def test_processes_share_an_epoch_without_repeats():
    class Labelled:
        labels = np.zeros(50, np.int64)

    keys = [epoch_batches(Labelled, 3, 8, 0, False, rank, 2) for rank in (0, 1)]
    seen = [index for batches in keys for batch in batches for _, index in batch]
    assert len(seen) == len(set(seen)) == 48
    assert all(epoch == 3 for batches in keys for batch in batches for epoch, _ in batch)
    assert epoch_batches(Labelled, 4, 8, 0, False, 0, 2) != [[(4, i) for _, i in b] for b in keys[0]]


def test_balanced_sampling_and_weights():
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    drawn = np.bincount(labels[epoch_order(labels, 0, 0, balanced=True)])
    assert (abs(drawn / 1000 - 1 / 3) < 0.06).all()
    weights = class_weights(labels, 4)
    assert weights[3] == 0
    assert weights[labels].mean() == pytest.approx(1)
    assert weights[2] / weights[0] == pytest.approx(90)


def test_mixup_mixes_pictures_and_targets_alike():
    targets = torch.eye(6)
    pixels, mixed = mix(targets[:, :, None, None], targets, 0.5, np.random.default_rng(0))
    assert torch.equal(pixels[:, :, 0, 0], mixed)
    assert torch.allclose(mixed.sum(1), torch.ones(6))
    assert not torch.equal(mixed, targets)
    assert mix(targets, targets, 0, np.random.default_rng(0))[1] is targets


def test_the_schedule_rises_then_falls_to_zero():
    shares = [schedule(progress, 1, 10) for progress in (0.5, 1, 5.5, 10)]
    assert shares == pytest.approx([0.5, 1, 0.5, 0])
    assert schedule(0, 0, 10) == 1
