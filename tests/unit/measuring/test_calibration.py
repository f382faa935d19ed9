# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The temperature of a classifier, and the paired comparison of benchmarks/robustness.py. Runs in `make check`."""

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from training.benchmarks.robustness import CONDITIONS, compare
from training.measuring.classification import classification_measures, fit_temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_fitted_temperature_is_the_one_that_labels_were_drawn_with(temperature):
    generator = np.random.default_rng(0)
    logits = 3 * generator.normal(size=(20000, 4))
    draws = generator.random((len(logits), 1))
    labels = (softmax(logits / temperature, axis=1).cumsum(1) < draws).sum(1).clip(max=3)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)
    probabilities = softmax(logits / temperature, axis=1)
    measures = classification_measures(labels, probabilities.argmax(1), list("abcd"), probabilities)
    assert measures["expected_calibration_error"] < 0.02


def test_every_condition_changes_the_crop_and_the_tight_one_is_the_face():
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    photo, face = Image.fromarray(pixels), {"box": {"xmin": 50, "ymin": 40, "xmax": 130, "ymax": 140}}
    crops = {name: change(photo, face) for name, change in CONDITIONS.items()}
    tight = crops.pop("margin 0")
    assert np.array_equal(np.asarray(tight), pixels[40:140, 40:140])
    assert crops["margin 0.2"].size == (140, 140) and crops["24 px"].size == (24, 24)
    assert crops["rotated by 30 degrees"].size == (100, 100)
    assert all(crop.mode == "RGB" for crop in crops.values())
    same = [name for name, crop in crops.items() if crop.tobytes() == tight.tobytes()]
    assert not same
    eyes = np.asarray(crops["eyes covered"])
    assert (eyes[25:50, 10:90] == 127).all() and np.array_equal(eyes[50:], pixels[90:140, 40:140])


def test_models_are_compared_on_the_same_photographs():
    labels = np.array([0] * 80 + [1] * 20)
    first, second = np.zeros(100, int), np.where(np.arange(100) < 90, labels, 0)
    predictions = {"margin 0": {"a": first, "b": second}, "margin 0.1": {"a": first, "b": first}}
    table = compare(labels, predictions)
    row = table["margin 0"]["b"]
    assert (row["accuracy"], row["mean_recall"]) == (0.9, 0.75)
    assert row["difference"] == 0.25 and 0.1 < row["interval"][0] < 0.25 < row["interval"][1] < 0.4
    assert table["margin 0.1"]["b"]["interval"] == [0, 0]
    assert table["all margins"]["b"]["mean_recall"] == pytest.approx((0.75 + 0.5) / 2)
    assert table["margin 0"]["a"]["difference"] == 0
