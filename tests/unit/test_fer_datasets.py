# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Expression names and FER+'s protocols; the counts on the real Parquet files where they are."""

import numpy as np
import pytest

from tests.real_data import FOLDER, needs_real_faces
from training.fer_datasets import (
    EXPRESSIONS,
    FERPLUS_TAGS,
    expression_names,
    ferplus_majority,
    load_ferplus,
    match_labels,
)


def test_names_and_order():
    assert EXPRESSIONS == ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
    assert expression_names(["Angry", "happy", "NEUTRAL"]) == EXPRESSIONS[:7]
    assert expression_names(["contempt", "sad"]) == EXPRESSIONS
    assert expression_names(["cat", "happy"]) is None
    assert expression_names([]) is None


def test_match_labels_goes_by_name_and_names_what_it_cannot_place():
    labels = match_labels(["happy", "sad"], np.array([0, 1, 1]), ("sadness", "neutral", "happiness"))
    assert labels.tolist() == [2, 0, 0]
    assert match_labels(["happy", "cat"], np.array([0, 0]), EXPRESSIONS).tolist() == [1, 1]  # no cat occurs
    with pytest.raises(ValueError, match="have classes cat, which are none of"):
        match_labels(["happy", "cat"], np.array([0, 1]), EXPRESSIONS)


@pytest.mark.parametrize(
    "votes,label,soft",
    [
        ({"happiness": 10}, "happiness", {"happiness": 1.0}),
        ({"happiness": 6, "neutral": 4}, "happiness", {"happiness": 0.6, "neutral": 0.4}),
        (
            {"happiness": 5, "neutral": 4, "fear": 1},
            "happiness",
            {"happiness": 5 / 9, "neutral": 4 / 9},
        ),  # one vote: none
        ({"happiness": 5, "neutral": 5}, None, {"happiness": 0.5, "neutral": 0.5}),  # half is not more than half
        ({"anger": 4, "disgust": 3, "sadness": 3}, None, {"anger": 0.4, "disgust": 0.3, "sadness": 0.3}),
        ({"unknown": 8, "fear": 2}, None, {"fear": 1.0}),
        ({"not_face": 10}, None, {}),
        ({"anger": 4, "unknown": 4, "fear": 2}, None, {"anger": 2 / 3, "fear": 1 / 3}),
        (dict.fromkeys(FERPLUS_TAGS, 1), None, {}),
    ],
)
def test_majority_protocol(votes, label, soft):
    row = np.array([[votes.get(tag, 0) for tag in FERPLUS_TAGS]])
    keep, labels, soft_labels = ferplus_majority(row)
    assert bool(keep[0]) == (label is not None)
    if label is not None:
        assert EXPRESSIONS[labels[0]] == label
    assert soft_labels[0] == pytest.approx([soft.get(name, 0) for name in EXPRESSIONS])


@needs_real_faces
def test_counts_of_the_real_files(capsys):
    labelled = load_ferplus(FOLDER / "ferplus")
    train, validation = labelled["train"], labelled["validation"]
    everything = load_ferplus(FOLDER / "ferplus", splits=["train"], with_labels=False)["train"]
    assert len(validation) == 3191
    assert 0 < sum(validation["repeats_training"]) < 279
    assert len(everything) == 28558 - 340  # without those that equal a validation picture
    assert 24700 < len(train) < 25045
    np.testing.assert_allclose(np.sum(train["soft_label"][:], 1), 1, rtol=1e-6)
    assert capsys.readouterr().err.count("as its authors count") == 2


@needs_real_faces
def test_majority_count_of_the_whole_train_file():
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(FOLDER / "ferplus" / "train.parquet", columns=["votes"]).to_pylist()
    votes = np.array([[row["votes"][tag] for tag in FERPLUS_TAGS] for row in rows])
    assert ferplus_majority(votes)[0].sum() == 25045
