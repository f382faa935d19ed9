# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The evaluate module: loads by path, agrees with scikit-learn, and names bad inputs."""

import os
import subprocess
import sys

import evaluate
import numpy as np
import pytest
import sklearn.metrics
from scipy.stats import binom
from sklearn.calibration import calibration_curve

from tests.new_process import ROOT
from training.fer_metrics.fer_metrics import bootstrap_interval, expected_calibration_error
from training.measuring.classification import classification_measures

FOLDER = ROOT / "training" / "fer_metrics"
NAMES = ("a", "b", "c", "never")


@pytest.fixture(scope="module")
def drawn():
    """Labels (never the last class), probabilities and predictions of 500 images."""
    generator = np.random.default_rng(0)
    labels = generator.integers(3, size=500)
    logits = generator.normal(size=(500, 4)) + 1.5 * np.eye(4)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return labels, probabilities, probabilities.argmax(1)


def test_agreement_with_scikit_learn(drawn):
    labels, probabilities, predictions = drawn
    found = classification_measures(labels, predictions, NAMES, probabilities)
    occurring = {"labels": [0, 1, 2], "average": "macro"}
    assert found["accuracy"] == sklearn.metrics.accuracy_score(labels, predictions)
    assert found["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(labels, predictions, **occurring))
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        balanced = sklearn.metrics.balanced_accuracy_score(labels, predictions)
    assert found["mean_class_accuracy"] == pytest.approx(balanced)
    report = sklearn.metrics.classification_report(
        labels, predictions, labels=range(4), target_names=NAMES, output_dict=True, zero_division=0
    )
    for name in NAMES:
        for ours, theirs in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score"), ("count", "support")):
            assert found["per_class"][name][ours] == pytest.approx(report[name][theirs])
    matrix = sklearn.metrics.confusion_matrix(labels, predictions, labels=range(4))
    assert found["confusion_matrix"] == matrix.tolist()


def test_calibration_error_agrees_with_scikit_learns_bins(drawn):
    labels, probabilities, predictions = drawn
    confidence, correct = probabilities.max(1), labels == predictions
    shares, means = calibration_curve(correct, confidence, n_bins=15)
    counts = np.histogram(confidence, np.linspace(0, 1, 16))[0]
    by_hand = (np.abs(shares - means) * counts[counts > 0]).sum() / len(labels)
    assert expected_calibration_error(labels, predictions, probabilities) == pytest.approx(by_hand)
    certain = np.eye(4)[predictions]
    assert expected_calibration_error(labels, predictions, certain) == pytest.approx(1 - correct.mean())
    assert expected_calibration_error(labels, labels, np.eye(4)[labels]) == 0


def test_interval_of_an_accuracy_is_the_binomials():
    correct = np.arange(1000) < 700
    assert bootstrap_interval(correct) == pytest.approx(np.array(binom.interval(0.95, 1000, 0.7)) / 1000, abs=0.002)
    assert bootstrap_interval(correct) == bootstrap_interval(correct)
    assert bootstrap_interval(np.ones(5)) == [1, 1]


def test_interval_by_person_is_wider_than_by_image():
    generator = np.random.default_rng(0)
    persons = np.repeat(np.arange(30), 10)
    values = generator.normal(size=30)[persons] + 0.1 * generator.normal(size=300)
    low, high = bootstrap_interval(values, [f"person {i}" for i in persons])
    image_low, image_high = bootstrap_interval(values)
    assert 2 * (image_high - image_low) < high - low
    assert low < values.mean() < high
    error = 1.96 * np.array([values[persons == i].mean() for i in range(30)]).std() / 30**0.5
    assert high - low == pytest.approx(2 * error, rel=0.05)


def test_as_a_module_of_evaluate_by_path(drawn, tmp_path):
    labels, probabilities, predictions = drawn
    metric = evaluate.load(str(FOLDER), cache_dir=str(tmp_path))
    whole = metric.compute(references=labels, predictions=predictions, class_names=NAMES, probabilities=probabilities)
    assert whole == classification_measures(labels, predictions, NAMES, probabilities)
    for start in range(0, 500, 128):
        rows = slice(start, start + 128)
        metric.add_batch(references=labels[rows], predictions=predictions[rows])
    assert metric.compute(class_names=NAMES, probabilities=probabilities) == whole
    plain = metric.compute(references=[0, 2], predictions=[0, 1])
    assert plain["class_names"] == ["0", "1", "2"]
    assert "expected_calibration_error" not in plain


def test_in_a_new_process_from_a_copy_with_no_network_and_no_sibling(tmp_path):
    folder = tmp_path / "fer_metrics"
    folder.mkdir()
    (folder / "fer_metrics.py").write_bytes((FOLDER / "fer_metrics.py").read_bytes())
    compute = "evaluate.load('fer_metrics').compute(references=[0, 1], predictions=[1, 1])"
    code = f"import evaluate; print({compute}['accuracy'])"
    modules = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, **modules}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "0.5", done.stderr


@pytest.mark.parametrize(
    "labels,predictions,probabilities,sentence",
    [
        ([], [], None, "N at least 1"),
        ([0, 1], [0], None, r"labels of shape \(2,\) and predictions of shape \(1,\)"),
        ([0, 4], [0, 1], None, r"labels lie in \[0, 4\]; with 4 classes \[0, 3\]"),
        ([0, 1], [0, -1], None, r"predictions lie in \[-1, 0\]"),
        ([0, 1], [0, 1], [[1, 0]], r"probabilities of shape \(1, 2\); \(2, 4\) was expected"),
        ([0], [0], [[2, 1, 0, 0]], "sum to 1 in every row; give the softmax"),
        ([0], [0], [[np.nan, 1, 0, 0]], "sum to 1 in every row"),
    ],
)
def test_bad_inputs(labels, predictions, probabilities, sentence):
    with pytest.raises(ValueError, match=sentence):
        classification_measures(labels, predictions, NAMES, probabilities)
