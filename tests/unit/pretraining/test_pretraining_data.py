# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What a training step sees: order, shares of processes, masks, pixels, the schedule; and BatchNorm estimation."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_simfle import SimFLEImageProcessor, SimFLEModel
from tests.tiny import tiny_config
from training.data.drawn_faces import draw_face, write_image_folder
from training.data.faces import image_faces
from training.data.images import BadImages
from training.data.views import BLUR_SIGMA, normalize
from training.models.outputs import ImagePass, compute_outputs, estimate_batch_norm
from training.pretraining.arguments import PretrainingArguments
from training.pretraining.batches import (
    MakeViews,
    PretrainingSet,
    cosine_learning_rate,
    draw_masks,
    make_feeder,
)
from training.pretraining.samplers import StepSampler, StepShape


def sample(num_images=23, batch_size=2, accumulation=2, num_processes=2, rank=0, seed=0, first=0, last=10):
    return list(StepSampler(num_images, StepShape(batch_size, accumulation, num_processes, rank), seed, first, last))


def test_an_epoch_has_no_repeat_and_drops_the_last_short_step():
    both = [sample(rank=rank) for rank in (0, 1)]
    assert [len(batches) for batches in both] == [20, 20]
    for epoch in range(5):  # 2 steps of 2 micro-batches an epoch
        seen = [key for batches in both for batch in batches[4 * epoch : 4 * epoch + 4] for key in batch]
        assert len(seen) == 16 == len(set(seen))
        assert {e for e, _ in seen} == {epoch}
    orders = {tuple(batch[0][1] for batch in both[0][4 * epoch : 4 * epoch + 4]) for epoch in range(5)}
    assert len(orders) == 5


def test_one_process_of_double_batch_sees_the_images_of_two():
    one = sample(batch_size=4, accumulation=1, num_processes=1)
    two = [sample(batch_size=2, accumulation=1, num_processes=2, rank=rank) for rank in (0, 1)]
    assert one == [[*a, *b] for a, b in zip(*two, strict=True)]


def test_sampling_from_a_later_step_is_the_rest():
    assert sample(first=7) == sample()[14:]


def test_masks_are_a_function_of_seed_step_micro_batch_and_rank():
    config = tiny_config(masking="random")
    drawn = draw_masks(config, 8, 0, 5, 0, 0)
    again = draw_masks(config, 8, 0, 5, 0, 0)
    assert torch.equal(drawn["group_ids"], again["group_ids"])
    assert torch.equal(drawn["noise"], again["noise"])
    assert drawn["noise"].shape == (8, 16)
    for key in ((1, 5, 0, 0), (0, 6, 0, 0), (0, 5, 1, 0), (0, 5, 0, 1)):
        assert not torch.equal(draw_masks(config, 8, *key)["noise"], drawn["noise"])
    assert set(draw_masks(tiny_config(), 8, 0, 0, 0, 0)) == {"group_ids"}
    assert draw_masks(tiny_config(use_local_branch=False), 8, 0, 0, 0, 0) == {}
    counts = np.bincount(draw_masks(tiny_config(), 4000, 0, 0, 0, 0)["group_ids"], minlength=4)
    assert counts.min() > 900


def test_the_origin_is_what_the_image_processor_makes(tmp_path):
    write_image_folder(tmp_path / "faces", 8, seed=0, size=50)
    faces = image_faces([tmp_path / "faces"])
    for processor in (
        SimFLEImageProcessor(size=64),
        SimFLEImageProcessor(size=64, do_grayscale=True, image_mean=[0.5] * 3, image_std=[0.25] * 3),
    ):
        keys = [(0, 3), (0, 5)]

        def batch_of(keys, processor=processor):
            return MakeViews(processor, 64, 32)(PretrainingSet(faces, 256, seed=0).__getitems__(keys))

        batch = batch_of(keys)
        expected = processor([faces.image(3), faces.image(5)], return_tensors="pt")["pixel_values"]
        # Floats here, 8 bits after each side of resizing there: up to 1.3 of their steps, over the deviation
        torch.testing.assert_close(batch["pixel_values"], expected, rtol=0, atol=1.3 / 255 / 0.24)
        assert batch["view_1_pixel_values"].shape == (2, 3, 32, 32)
        assert batch["view_1_pixel_values"].dtype == torch.float32
        assert batch["index"].tolist() == [3, 5]
        same = batch_of([(0, 5), (0, 3)])  # whatever else is in the batch
        torch.testing.assert_close(same["view_2_pixel_values"].flip(0), batch["view_2_pixel_values"])
        assert not torch.equal(batch_of([(1, 3), (1, 5)])["view_2_pixel_values"], batch["view_2_pixel_values"])
        assert not torch.equal(batch["view_1_pixel_values"], batch["view_2_pixel_values"])


def test_an_unreadable_picture_gives_way_to_the_next_and_is_named(tmp_path):
    for index in range(4):
        draw_face(0, index, 32).image.save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    batch = PretrainingSet(image_faces([tmp_path]), 256, seed=0).__getitems__([(0, 1), (0, 2)])
    assert "1.png is not a readable image" in batch["problems"][0]
    assert batch["problems"][1] == ""
    assert torch.equal(batch["images"][0], batch["images"][1])


def test_huge_pictures_are_made_smaller_and_small_ones_stay(tmp_path):
    Image.new("RGB", (3000, 20)).save(tmp_path / "0.png")
    Image.new("RGB", (50, 40)).save(tmp_path / "1.png")
    batch = PretrainingSet(image_faces([tmp_path]), 100, seed=0).__getitems__([(0, 0), (0, 1)])
    assert batch["sizes"].tolist() == [[1, 100], [40, 50]]
    assert batch["images"].shape == (2, 40, 100, 3)


def test_the_blurs_range_reaches_the_views(tmp_path):
    draw_face(0, 0, 32).image.save(tmp_path / "face.png")
    faces, accelerator = image_faces([tmp_path]), SimpleNamespace(device=torch.device("cpu"))
    for given, (low, high) in (({}, BLUR_SIGMA), ({"blur_sigma": [0.03, 0.57]}, (0.03, 0.57))):
        run = PretrainingArguments(view_size=32, **given)
        sampler = StepSampler(1, StepShape(1), 0, last_step=1)
        feeder = make_feeder(accelerator, tiny_config(), SimFLEImageProcessor(size=32), faces, sampler, run, 0)
        batch = feeder.batches._dataset.__getitems__([(epoch, 0) for epoch in range(100)])
        sigma = torch.cat([batch["view_1"].sigma, batch["view_2"].sigma])
        assert low <= sigma.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < sigma.max() <= high + 1e-6


def test_learning_rate():
    assert cosine_learning_rate(0.05, 256, 0, 100) == 0.05
    assert cosine_learning_rate(0.05, 512, 50, 100) == pytest.approx(0.05)
    assert cosine_learning_rate(0.05, 256, 99, 100) == pytest.approx(0.025 * (1 + math.cos(0.99 * math.pi)))


def test_normalisation_is_the_processors():
    pixels = torch.rand(2, 3, 4, 4)
    processor = SimFLEImageProcessor()
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (processor.image_mean, processor.image_std))
    torch.testing.assert_close(normalize(pixels, processor), (pixels - mean) / std)
    processor = SimFLEImageProcessor(do_grayscale=True, image_mean=[0.5] * 3, image_std=[0.25] * 3)
    gray = normalize(pixels, processor)
    mix = 0.299 * pixels[:, 0] + 0.587 * pixels[:, 1] + 0.114 * pixels[:, 2]
    for channel in gray.unbind(1):
        torch.testing.assert_close(channel, (mix - 0.5) / 0.25)


def test_batch_norm_estimation_is_the_mean_over_the_faces(tmp_path):
    write_image_folder(tmp_path / "faces", 16, seed=0, size=64)
    faces, processor = image_faces([tmp_path / "faces"]), SimFLEImageProcessor(size=64)
    torch.manual_seed(0)
    encoder = SimFLEModel(tiny_config()).eval()
    weights = {name: p.clone() for name, p in encoder.named_parameters()}
    common = (faces, processor, ImagePass(8, 0, BadImages(0), "cpu"))
    _, pixels = compute_outputs(lambda x: x.flatten(1), *common)
    estimate_batch_norm(encoder, *common)
    first = encoder.resnet.embedder.embedder
    maps = first.convolution(pixels.view(16, 3, 64, 64))
    torch.testing.assert_close(first.normalization.running_mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    order = np.random.default_rng(0).permutation(16)  # the classes lie one after the other in a folder
    halves = torch.stack([half.transpose(0, 1).flatten(1).var(1) for half in maps[order].chunk(2)]).mean(0)
    torch.testing.assert_close(first.normalization.running_var, halves, rtol=1e-4, atol=1e-5)
    assert first.normalization.momentum == 0.1
    assert not encoder.training
    assert all(torch.equal(weights[name], p) for name, p in encoder.named_parameters())
    estimate_batch_norm(encoder, faces, processor, ImagePass(7, 0, BadImages(0), "cpu"))  # 7, 7, and 2 left out
    torch.testing.assert_close(first.normalization.running_mean, maps[order[:14]].mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
