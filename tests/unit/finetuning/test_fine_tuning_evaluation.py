# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Which figure chooses the epoch, and unreadable pictures that count once."""

import numpy as np
import pytest

from training.data.images import BadImage, BadImages
from training.finetuning.loop import epoch_accuracies
from training.measuring.classification import measures_without_repeats

LABELS = np.array([0, 1, 2, 3])


def test_the_epoch_is_chosen_without_pictures_that_repeat_training_ones():
    repeats, kept = np.array([True, False, True, True, False, False]), np.array([0, 2, 4, 5])
    learnt_by_heart = np.array([0, 1, 0, 0])  # right on the two repeats alone
    understood = np.array([1, 0, 2, 3])
    one, other = (epoch_accuracies(LABELS, found, repeats, kept) for found in (learnt_by_heart, understood))
    assert one == {"accuracy": 0.5, "accuracy_without_repeats": 0.0}
    assert other == {"accuracy": 0.5, "accuracy_without_repeats": 1.0}
    assert list(one)[-1] == "accuracy_without_repeats"
    reported = measures_without_repeats(LABELS, understood, repeats, kept)
    assert reported["accuracy_without_repeats"] == other["accuracy_without_repeats"]


@pytest.mark.parametrize("repeats", [None, np.ones(4, bool)], ids=["not known", "all repeat"])
def test_else_all_pictures_choose(repeats):
    assert epoch_accuracies(LABELS, np.array([0, 1, 2, 0]), repeats, np.arange(4)) == {"accuracy": 0.75}


def test_a_bad_image_counts_once_and_is_named_once(capsys):
    bad = BadImages(2)
    for _ in range(3):  # epochs
        bad.add({"train 3": "a.png", "evaluation 3": "b.png"})
    assert capsys.readouterr().err.splitlines() == ["bad image 1 (limit 2): a.png", "bad image 2 (limit 2): b.png"]
    resumed = BadImages(2, sorted(bad.known))
    assert resumed.fresh({"train 3": "moved/a.png", "train 4": "c.png"}) == {"train 4": "c.png"}
    with pytest.raises(BadImage, match="3 bad images are more than --max_bad_images 2"):
        resumed.add({"train 3": "moved/a.png", "train 4": "c.png"})
