# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""metrics.json and predictions.csv: what is written is read back, and what is wrong is named."""

from types import SimpleNamespace

import numpy as np
import pytest

from training.measuring.classification import (
    PREDICTION_COLUMNS,
    describe_preprocessing,
    measures_without_repeats,
    read_table,
    write_predictions,
)


def test_preprocessing_of_other_processors():
    processor = SimpleNamespace(
        do_resize=True,
        size={"shortest_edge": 256},
        resample=3,
        do_center_crop=True,
        crop_size={"height": 224, "width": None},
        do_rescale=True,
        rescale_factor=1 / 255,
        do_pad=None,
        image_mean=[0.5, 0.5, 0.5],
    )
    assert describe_preprocessing(processor) == {
        "image_processor": "SimpleNamespace",
        "do_resize": True,
        "size": {"shortest_edge": 256},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 224},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "image_mean": [0.5, 0.5, 0.5],
    }
    assert describe_preprocessing(SimpleNamespace(size=224))["size"] == 224


def test_a_split_of_repeats_alone_has_no_accuracy_without_them():
    one = np.zeros(1, dtype=int)
    assert measures_without_repeats(one, one, np.array([True]), one) == {"num_images_without_repeats": 0}


def test_predictions_come_back_sorted_and_no_other_file_stays(tmp_path):
    write_predictions(tmp_path / "predictions.csv", np.array([4, 0, 2]), np.array([1, 0, 2]), [1, 1, 2])
    assert (tmp_path / "predictions.csv").read_text() == "index,label,prediction\n4,1,1\n0,0,1\n2,2,2\n"
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]
    table = read_table(tmp_path / "predictions.csv", PREDICTION_COLUMNS)
    assert table.reset_index().to_dict("list") == {"index": [0, 2, 4], "label": [0, 2, 1], "prediction": [1, 2, 1]}


@pytest.mark.parametrize(
    "text,sentence",
    [
        (None, "does not exist; measure the run again"),
        ("", "is not a table of index, label, prediction"),
        ("index,label\n", "it has the columns index, label, 0 lines"),
        ("index,label,prediction\n", "0 lines"),
        ("index,label,prediction\n0,1,1\n0,1,1\n", "an index twice"),
        ("index,label,prediction\n0,1\n", "is not a table of index, label, prediction with one line an image"),
        ("index,label,prediction\n0,1,2\n0,1\n", "is not a table of index, label, prediction with one line an image"),
        ("index,label,prediction\n0,happy,1\n", "is not a table of index, label, prediction with one line an image"),
    ],
)
def test_a_wrong_file_is_named(text, sentence, tmp_path):
    path = tmp_path / "predictions.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_table(path, PREDICTION_COLUMNS)
