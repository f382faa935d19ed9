# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""linear_probe.py and evaluate_classifier.py from the command line."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_simfle import SimFLEForImageClassification
from training import evaluate_classifier, linear_probe
from training.data.expressions import EXPRESSIONS
from training.measuring.classification import KEYS


def call(module, *arguments):
    module.main([str(argument) for argument in arguments])


def test_cached_probe_writes_a_classifier_and_every_key(classifier, pretrained):
    folder, metrics = classifier
    assert set(KEYS) <= set(metrics)
    assert metrics["num_images"] == 16
    assert metrics["split"] == "validation"
    assert metrics["choices"] == 10 * 6
    assert metrics["preprocessing"]["size"] == {"height": 64, "width": 64}
    assert list(metrics["per_class"]) == metrics["class_names"] == list(EXPRESSIONS)
    assert np.array(metrics["confusion_matrix"]).sum() == 16
    model = SimFLEForImageClassification.from_pretrained(folder)
    assert [model.config.id2label[i] for i in range(8)] == list(EXPRESSIONS)
    encoder = SimFLEForImageClassification.from_pretrained(pretrained[0]).encoder.state_dict()
    assert all(torch.equal(encoder[name], tensor) for name, tensor in model.encoder.state_dict().items())


def test_evaluation_of_the_probe_gives_its_accuracy(classifier, faces, tmp_path):
    folder, metrics = classifier
    flags = ["--model", folder, "--dataset", faces, "--num_workers", 0, "--per_device_eval_batch_size", 5]
    call(evaluate_classifier, *flags, "--output_dir", tmp_path / "eval")
    found = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    for name in ("accuracy", "mean_class_accuracy", "macro_f1", "confusion_matrix", "per_class", "num_images"):
        assert found[name] == metrics[name], name
    assert found["images_per_second"] > 0
    with pytest.raises(ValueError, match="is not empty"):
        call(evaluate_classifier, *flags, "--output_dir", tmp_path / "eval")


def test_the_papers_probe_trains_on_augmented_images_with_an_untrained_encoder(config_file, faces, tmp_path):
    flags = ["--model_config", config_file, "--dataset", faces, "--num_workers", 0, "--view_size", 64]
    flags += ["--num_train_epochs", 2, "--per_device_train_batch_size", 16, "--estimate_batch_norm"]
    for name in ("one", "other"):
        call(linear_probe, *flags, "--output_dir", tmp_path / name)
    one, other = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "other"))
    assert one["accuracy"] == other["accuracy"]  # repeatable
    assert one["choices"] == 2
    assert one["learning_rate"] == 0.5 * 16 / 256
    assert "augmented images" in one["protocol"]
    assert "BatchNorm estimated" in one["protocol"]
    assert one["model"].startswith("untrained")


@pytest.mark.parametrize(
    "module,flags,sentence",
    [
        (evaluate_classifier, ["--dataset", "{faces}", "--output_dir", "{out}"], "--model is missing"),
        (evaluate_classifier, ["--model", "{model}", "--output_dir", "{out}"], "--dataset is missing"),
        (linear_probe, ["--model", "{pretrained}", "--dataset", "{faces}"], "--output_dir is missing"),
        (linear_probe, ["--model", "/no/such", "--dataset", "{faces}", "--output_dir", "{out}"], "/no/such"),
        (
            linear_probe,
            ["--model", "{pretrained}", "--dataset", "{faces}", "--eval_split", "best", "--output_dir", "{out}"],
            "has no split 'best'; found train, validation",
        ),
    ],
)
def test_bad_input(module, flags, sentence, classifier, pretrained, faces, tmp_path):
    places = {"model": classifier[0], "pretrained": pretrained[0], "faces": faces, "out": tmp_path / "o"}
    with pytest.raises((ValueError, OSError), match=sentence):
        call(module, *(flag.format(**places) for flag in flags))


def test_classes_that_the_model_does_not_know_are_named(classifier, tmp_path):
    for name in ("happy", "boredom"):
        (tmp_path / "faces" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "faces" / name / "x.png")
    flags = ["--model", classifier[0], "--dataset", tmp_path / "faces", "--num_workers", 0]
    with pytest.raises(ValueError, match="have classes boredom, which are none of neutral"):
        call(evaluate_classifier, *flags, "--output_dir", tmp_path / "o")
