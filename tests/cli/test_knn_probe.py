# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""knn_probe.py from the command line."""

import csv
import json

import pytest
import torch

from modeling_simfle import SimFLEForPreTraining
from training import knn_probe, linear_probe
from training.data.faces import DatasetArguments, open_faces
from training.data.images import BadImages
from training.measuring.classification import KEYS
from training.measuring.knn import knn_predict
from training.models.loading import load_processor
from training.models.outputs import ImagePass, compute_outputs


def call(*arguments):
    knn_probe.main([str(argument) for argument in arguments])


def read(folder, name="metrics.json"):
    return json.loads((folder / name).read_text())


def predictions(folder):
    return [int(row["prediction"]) for row in csv.DictReader((folder / "predictions.csv").open())]


@pytest.fixture(scope="module")
def flags(pretrained, faces):
    return ["--model", pretrained[0], "--dataset", faces, "--num_workers", 0]


def by_hand(encoder, folder, faces, k, temperature):
    """Predictions of the encoder's features for the drawn faces."""
    found = []
    for split in ("train", "validation"):
        opened = open_faces(DatasetArguments(), str(faces), split, True)
        _, features = compute_outputs(
            lambda pixels: encoder(pixels).pooler_output,
            opened,
            load_processor(folder),
            ImagePass(64, 0, BadImages(0), "cpu"),
        )
        found.append((features, torch.from_numpy(opened.labels)))
    return knn_predict(*found[0], found[1][0], 8, k, temperature).tolist()


def test_both_encoders_of_a_pretraining_folder(flags, pretrained, faces, tmp_path):
    model = SimFLEForPreTraining.from_pretrained(pretrained[0]).eval()
    call(*flags, "--output_dir", tmp_path / "encoder")
    call(*flags, "--which", "target", "--k", 3, "--temperature", 0.5, "--output_dir", tmp_path / "target")
    assert predictions(tmp_path / "encoder") == by_hand(model.encoder, pretrained[0], faces, 20, 0.07)
    assert predictions(tmp_path / "target") == by_hand(model.target_encoder, pretrained[0], faces, 3, 0.5)
    metrics = read(tmp_path / "encoder")
    assert set(KEYS) <= set(metrics)
    assert (metrics["method"], metrics["choices"], metrics["label_percent"]) == ("k-NN", 0, 100)
    assert "k 20, temperature 0.07, nothing chosen" in metrics["protocol"]
    assert (metrics["num_images"], metrics["num_training_images"]) == (16, 48)
    assert {path.name for path in (tmp_path / "encoder").iterdir()} == {"metrics.json", "predictions.csv", "run.json"}


def test_shares_of_the_labels_over_the_linear_probes_features(flags, tmp_path, capsys):
    kept = ["--features_dir", tmp_path / "features"]
    linear = [*flags, *kept, "--cache_features", "--num_train_epochs", 1, "--output_dir", tmp_path / "linear"]
    linear_probe.main([str(flag) for flag in linear])
    capsys.readouterr()
    call(*flags, *kept, "--few_shot", "25", "100", "--seeds", "0", "1", "--output_dir", tmp_path / "run")
    assert capsys.readouterr().out.count("_features from ") == 2
    for percent, images in ((25, 16), (100, 48)):
        for seed in (0, 1):
            metrics = read(tmp_path / "run" / f"labels_{percent}_percent" / f"seed_{seed}")
            assert (metrics["label_percent"], metrics["seed"]) == (percent, seed)
            assert metrics["num_training_images"] == images
    call(*flags, "--output_dir", tmp_path / "all")  # without the store
    assert predictions(tmp_path / "all") == predictions(tmp_path / "run" / "labels_100_percent" / "seed_0")


def test_an_untrained_encoder_repeats_itself(config_file, faces, tmp_path):
    flags = ["--model_config", config_file, "--view_size", 64, "--dataset", faces, "--num_workers", 0]
    for name in ("one", "other"):
        call(*flags, "--estimate_batch_norm", "--output_dir", tmp_path / name)
    assert predictions(tmp_path / "one") == predictions(tmp_path / "other")
    assert "BatchNorm estimated" in read(tmp_path / "one")["protocol"]
    assert read(tmp_path / "one")["model"].startswith("untrained")


@pytest.mark.parametrize(
    "more,sentence",
    [
        (["--k", 0], r"--k 0 must be in \[1"),
        (["--temperature", 0], r"--temperature 0.0 must be in \[0.02"),
        (["--seeds", "0", "1"], "--seeds 0 1 without --few_shot would give one result several times"),
        (["--eval_split", "test"], "has no split 'test'; found train, validation"),
    ],
)
def test_bad_values(more, sentence, flags, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        call(*flags, *more, "--output_dir", tmp_path / "out")


def test_as_a_process(script, flags, tmp_path):
    done = script("knn_probe", *flags, "--output_dir", tmp_path / "run", check=0)
    assert "100 % of the labels, seed 0: accuracy" in done.stdout
    done = script("knn_probe", *flags, "--output_dir", tmp_path / "run", check=2)
    assert "is not empty" in done.stderr
