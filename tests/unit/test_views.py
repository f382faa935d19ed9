# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The view augmentation: what is drawn, and each operation against Pillow's own or the formula."""

import colorsys
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from PIL import Image

from training.views import ViewParameters, apply_view, blur_matrix, draw_crop, draw_view, shift_hue, view_generator

NOTHING = ViewParameters((0, 0, 40, 30), False, False, 1, 1, 1, 0, (0, 1, 2, 3), False, 1e-3)


def picture(height=40, width=30):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def to_array(image):
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 255


def test_draws_are_a_function_of_seed_epoch_image_and_view():
    first = draw_view(view_generator(0, 1, 2, 1), 48, 48)
    assert first == draw_view(view_generator(0, 1, 2, 1), 48, 48)
    others = [(1, 1, 2, 1), (0, 2, 2, 1), (0, 1, 3, 1), (0, 1, 2, 2)]
    assert all(first != draw_view(view_generator(*key), 48, 48) for key in others)


def test_draws_have_the_methods_ranges_and_probabilities():
    views = [draw_view(view_generator(0, 0, index, 1), 100, 100) for index in range(4000)]
    area = np.array([v.crop[2] * v.crop[3] / 1e4 for v in views])
    ratio = np.array([v.crop[3] / v.crop[2] for v in views])
    assert 0.07 < area.min() < 0.1 < 0.9 < area.max() <= 1
    assert 0.73 < ratio.min() < 0.8 < 1.25 < ratio.max() < 1.37
    for name, probability in (("flip", 0.5), ("jitter", 0.8), ("grayscale", 0.2)):
        assert np.mean([getattr(v, name) for v in views]) == pytest.approx(probability, abs=0.03)
    for name, low, high in (
        ("brightness", 0.2, 1.8),
        ("contrast", 0.2, 1.8),
        ("saturation", 0.2, 1.8),
        ("hue", -0.2, 0.2),
        ("sigma", 0.1, 2.0),
    ):
        values = np.array([getattr(v, name) for v in views])
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
    assert {v.jitter_order for v in views} == set(permutations(range(4)))


@pytest.mark.parametrize("height,width", [(1, 1), (1, 300), (300, 1), (2, 3), (48, 48)])
def test_crop_lies_in_the_picture_whatever_its_size(height, width):
    for index in range(200):
        top, left, crop_height, crop_width = draw_crop(view_generator(0, 0, index, 1), height, width)
        assert crop_height >= 1
        assert crop_width >= 1
        assert 0 <= top <= height - crop_height
        assert 0 <= left <= width - crop_width


def test_crop_and_flip_are_pillows():
    image = picture()
    view = replace(NOTHING, crop=(5, 3, 20, 24), flip=True)
    expected = image.crop((3, 5, 27, 25)).resize((32, 32), Image.Resampling.BILINEAR)
    expected = to_array(expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    np.testing.assert_allclose(apply_view(image, view, 32), expected, atol=1e-6)


@pytest.mark.parametrize(
    "change,formula",
    [
        ({"brightness": 1.5}, lambda x: np.minimum(1.5 * x, 1)),
        ({"brightness": 0.4}, lambda x: 0.4 * x),
        ({"saturation": 0.3}, lambda x: 0.3 * x + 0.7 * luminance(x)),
        ({"contrast": 0.5}, lambda x: 0.5 * x + 0.5 * luminance(x).mean()),
    ],
)
def test_jitter_equals_the_formula_to_8_bits(change, formula):
    image = picture()
    got = apply_view(image, replace(NOTHING, jitter=True, **change), 40)
    base = apply_view(image, NOTHING, 40)
    np.testing.assert_allclose(got, formula(base), atol=7 / 255)  # the hue's way through 8-bit HSV and back


def luminance(x):
    return np.tensordot([0.299, 0.587, 0.114], x, 1)[None]


def test_jitter_order_matters_and_is_followed():
    image = picture()
    view = replace(NOTHING, jitter=True, brightness=1.7, contrast=0.3)
    first = apply_view(image, replace(view, jitter_order=(0, 1, 2, 3)), 40)
    second = apply_view(image, replace(view, jitter_order=(1, 0, 2, 3)), 40)
    assert np.abs(first - second).max() > 0.1


def test_hue_turns_the_circle():
    red = Image.new("RGB", (1, 1), (200, 50, 50))
    hue = colorsys.rgb_to_hsv(*np.array(shift_hue(red, 1 / 3).getpixel((0, 0))) / 255)[0]
    assert hue == pytest.approx(1 / 3, abs=0.01)
    hue = colorsys.rgb_to_hsv(*np.array(shift_hue(red, -0.2).getpixel((0, 0))) / 255)[0]
    assert hue == pytest.approx(0.8, abs=0.01)


def test_grayscale_is_luminance():
    gray = apply_view(picture(), replace(NOTHING, grayscale=True), 40)
    assert np.array_equal(gray[0], gray[1])
    np.testing.assert_allclose(gray[:1], luminance(apply_view(picture(), NOTHING, 40)), atol=1 / 255)


@pytest.mark.parametrize("size,kernel", [(224, 23), (112, 11), (64, 7), (40, 5), (5, 1)])
def test_blur_kernel_is_a_tenth_of_the_side_made_odd(size, kernel):
    matrix = blur_matrix(size, 1000.0)
    assert (matrix[size // 2] > 0).sum() == kernel
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)


def test_blur_is_a_gaussian_with_reflect_padding():
    size, sigma = 40, 1.3
    matrix = blur_matrix(size, sigma)
    row = np.random.default_rng(0).random(size).astype(np.float32)
    padded = np.pad(row, 2, mode="reflect")
    weights = np.exp(-0.5 * (np.arange(-2, 3) / sigma) ** 2)
    expected = np.convolve(padded, weights / weights.sum(), mode="valid")
    np.testing.assert_allclose(matrix @ row, expected, atol=1e-6)
    view = apply_view(picture(40, 40), replace(NOTHING, crop=(0, 0, 40, 40), sigma=sigma), 40)
    np.testing.assert_allclose(view, matrix @ to_array(picture(40, 40)) @ matrix.T, atol=1e-6)
