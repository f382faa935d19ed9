# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Augmentation, order and targets of fine-tuning."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_simfle import SimFLEImageProcessor
from training.data.faces import Faces as OpenedFaces
from training.data.rows import rows_of_paths
from training.finetuning.arguments import FineTuningArguments
from training.finetuning.batches import (
    AugmentedFaces,
    affine_coefficients,
    augment,
    class_weights,
    count_draws,
    epoch_batches,
    epoch_order,
    erase,
    make_targets,
    mix,
)
from training.finetuning.setup import schedule

NOTHING = FineTuningArguments(rotation=0, zoom=0, shift=0, jitter=0, random_erasing=0, flip=False)


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
        changed = np.asarray(augment(image, np.random.default_rng(seed), replace(NOTHING, flip=True), 48))
        assert np.array_equal(changed, np.asarray(image)) or np.array_equal(changed, np.asarray(image)[:, ::-1])
        mirrored += not np.array_equal(changed, np.asarray(image))
    assert 10 < mirrored < 30


@pytest.mark.parametrize("width,height", [(48, 48), (30, 60)])
def test_the_centre_stays_and_a_turn_keeps_lengths_on_the_result(width, height):
    changed = replace(NOTHING, rotation=90)
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


@pytest.mark.parametrize("margin", [-0.2, 0.25])
def test_a_margin_frames_the_face_by_1_plus_2_margins_of_its_side_and_its_reflection_surrounds_it(margin):
    ramp = np.repeat(np.linspace(20, 220, 60)[None, :, None], 60, 0).repeat(3, 2).astype(np.uint8)
    wanted = replace(NOTHING, margins=[margin, margin], border="reflect")
    row = np.asarray(augment(Image.fromarray(ramp), np.random.default_rng(0), wanted, 60))[30, :, 0].astype(int)
    places = (np.arange(60) + 0.5 - 30) * (1 + 2 * margin) + 30  # in the face, from its left edge
    places = np.where(places < 0, -places, np.where(places > 60, 120 - places, places))
    assert np.abs(row - np.interp(places, np.arange(60) + 0.5, ramp[0, :, 0])).max() <= 3


def test_the_share_of_tight_and_of_softened_faces():
    image = picture(96, 96)
    wanted = replace(NOTHING, margins=[0.1, 0.3], tight_share=0.6)
    faces = [np.asarray(augment(image, np.random.default_rng(seed), wanted, 96)) for seed in range(100)]
    assert 45 < sum(np.array_equal(face, np.asarray(image)) for face in faces) < 75
    wanted = replace(NOTHING, softening=0.3)
    faces = [np.asarray(augment(image, np.random.default_rng(seed), wanted, 96)) for seed in range(100)]
    changed = [face for face in faces if not np.array_equal(face, np.asarray(image))]
    assert 15 < len(changed) < 45
    detail = [np.abs(np.diff(face.astype(int), axis=1)).mean() for face in changed]
    assert max(detail) < 0.7 * np.abs(np.diff(np.asarray(image).astype(int), axis=1)).mean()


def test_erasing_leaves_a_rectangle_of_the_mean():
    pixels = np.ones((3, 40, 40), np.float32)
    erase(pixels, np.random.default_rng(0))
    rows, columns = np.nonzero(pixels[0] == 0)
    assert 0.01 < (pixels[0] == 0).mean() < 0.25
    assert (pixels[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == 0).all()


def test_processes_share_an_epoch_without_repeats():
    class Labelled:
        labels = np.zeros(50, np.int64)

    run = FineTuningArguments(per_device_train_batch_size=8)
    keys = [epoch_batches(Labelled, 3, run, rank, 2) for rank in (0, 1)]
    seen = [index for batches in keys for batch in batches for _, index, _ in batch]
    assert len(seen) == len(set(seen)) == 48
    assert all((epoch, draw) == (3, 0) for batches in keys for batch in batches for epoch, _, draw in batch)
    assert epoch_batches(Labelled, 4, run, 0, 2) != [[(4, i, 0) for _, i, _ in b] for b in keys[0]]


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


@pytest.fixture
def one_face(tmp_path):
    """Faces of one picture, 60 x 60."""
    picture(60, 60).save(tmp_path / "face.png")
    return OpenedFaces(rows_of_paths([tmp_path / "face.png"]), "image")


def test_two_draws_of_a_picture_in_an_epoch_differ(one_face):
    class Labelled:
        labels = np.array([0] * 31 + [1])  # the last one makes half of a balanced epoch

    run = FineTuningArguments(per_device_train_batch_size=4, class_balance="sampling")
    keys = [key for batch in epoch_batches(Labelled, 2, run, 0, 1) for key in batch]
    draws = [draw for _, index, draw in keys if index == 31]
    assert len(draws) > 1
    assert draws == list(range(len(draws)))
    assert keys == [key for batch in epoch_batches(Labelled, 2, run, 0, 1) for key in batch]
    faces = AugmentedFaces(one_face, SimFLEImageProcessor(), FineTuningArguments(), 48)
    first, second, again = (faces[2, 0, draw][1] for draw in (0, 1, 0))
    assert np.array_equal(first, again)
    assert not np.allclose(first, second, atol=0.1)


def test_draws_are_counted_in_the_order_given():
    assert count_draws(np.array([5, 2, 5, 5, 2, 0])).tolist() == [0, 0, 1, 2, 1, 0]
    assert not count_draws(np.random.default_rng(0).permutation(20)).any()


@pytest.mark.parametrize(
    "gray,levels,more",
    [
        (False, 1, {}),
        (True, 2, {}),
        (False, 1, {"do_normalize": False}),
        (False, 1, {"rescale_factor": 1 / 127.5}),
        (False, 1, {"do_rescale": False}),
    ],
)
def test_without_augmentation_a_picture_is_what_the_processor_makes_of_it(one_face, gray, levels, more):
    """Up to steps of the 8 bits: one of the resize, and in gray one more of the luminance."""
    options = {"do_grayscale": gray, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], **more}
    if gray:
        options |= {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    processor = SimFLEImageProcessor(size={"height": 48, "width": 48}, **options)
    expected = processor(one_face.image(0), return_tensors="np")["pixel_values"][0]
    index, found, problem = AugmentedFaces(one_face, processor, NOTHING, 48)[0, 0, 0]
    assert (index, problem, found.dtype, found.shape) == (0, "", np.float32, (3, 48, 48))
    deviation = np.asarray(options["image_std"]).reshape(3, 1, 1) if processor.do_normalize else 1
    level = processor.rescale_factor if processor.do_rescale else 1
    assert abs((found - expected) * deviation).max() <= (levels + 0.01) * level


class Voted:
    source, class_names = "votes", ("neutral", "happiness", "fear")
    labels = np.array([1, 0])
    soft_labels = np.array([[0.2, 0.8, 0.0], [0.5, 0.25, 0.25]])


def test_targets_are_votes_or_labels_smoothed():
    assert make_targets(Voted, soft=False, smoothing=0).tolist() == [[0, 1, 0], [1, 0, 0]]
    votes = make_targets(Voted, soft=True, smoothing=0)
    assert votes.dtype == torch.float32
    assert torch.equal(votes, torch.tensor(Voted.soft_labels, dtype=torch.float32))
    for soft in (False, True):
        smoothed = make_targets(Voted, soft, smoothing=0.3)
        torch.testing.assert_close(smoothed, 0.7 * make_targets(Voted, soft, 0) + 0.1)
        torch.testing.assert_close(smoothed.sum(1), torch.ones(2))


def test_mixup_keeps_soft_smoothed_targets_distributions():
    targets = make_targets(Voted, soft=True, smoothing=0.3)
    _, mixed = mix(torch.zeros(2, 3, 4, 4), targets, 0.4, np.random.default_rng(1))
    torch.testing.assert_close(mixed.sum(1), torch.ones(2))
    assert (mixed >= targets.min(0).values - 1e-6).all() and (mixed <= targets.max(0).values + 1e-6).all()
