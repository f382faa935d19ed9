# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Probe, k-NN, fine-tuning and evaluation straight from every layout that the sets' owners pack."""

import json

import pytest

from tests import official_layouts as layouts
from training import evaluate_classifier, finetune, knn_probe, linear_probe

WRITERS = {
    "affectnet8 lists": layouts.write_affectnet_lists,
    "affectnet7 sets": layouts.write_affectnet_sets,
    "rafdb aligned": layouts.write_rafdb,
    "rafdb original": lambda root: layouts.write_rafdb(root, "original"),
    "ferplus csv": layouts.write_ferplus_csv,
    "ferplus parquet": layouts.write_ferplus_parquet,
    "sfew": layouts.write_sfew,
    "imagefolder": layouts.write_class_folders,
}


def call(script, *flags):
    script.main([str(flag) for flag in flags])


@pytest.mark.parametrize("name", WRITERS)
def test_probe_chooses_on_validation_and_the_test_split_is_evaluated(name, tmp_path, config_file):
    root = WRITERS[name](tmp_path / "set")
    data = ["--dataset", root, "--data_format", name.split()[0], "--num_workers", 0]
    encoder = ["--model_config", config_file, "--view_size", 32]
    batch = ["--per_device_train_batch_size", 7]  # does not divide
    epochs = ["--num_train_epochs", 2]
    call(linear_probe, *data, *encoder, *batch, "--cache_features", *epochs, "--output_dir", tmp_path / "p")
    call(knn_probe, *data, *encoder, "--output_dir", tmp_path / "k")
    # Not 7: see test_finetune.py on odd batches.
    call(finetune, *data, *encoder, "--per_device_train_batch_size", 6, *epochs, "--output_dir", tmp_path / "f")
    evaluation = ["--model", tmp_path / "p", "--eval_split", "test", "--per_device_eval_batch_size", 3]
    call(evaluate_classifier, *data, *evaluation, "--output_dir", tmp_path / "e")
    probe, knn, tuned, test = (json.loads((tmp_path / run / "metrics.json").read_text()) for run in "pkfe")
    classes = 7 if name.startswith(("affectnet7", "rafdb", "sfew")) else 8
    assert test["num_images"] == layouts.NUM_TEST * classes
    assert test["split"] == "test"
    assert len(test["confusion_matrix"]) == classes
    assert probe["num_images"] == knn["num_images"] == tuned["num_images"] > 0


def test_class_folders_without_splits_are_measured_on_the_tenth_and_never_on_what_was_trained(tmp_path, config_file):
    root = layouts.write_class_folders(tmp_path / "set") / "train"
    data = ["--dataset", root, "--num_workers", 0]
    encoder = ["--model_config", config_file, "--view_size", 32]
    epochs = ["--per_device_train_batch_size", 6, "--num_train_epochs", 1]
    call(linear_probe, *data, *encoder, "--cache_features", *epochs, "--output_dir", tmp_path / "p")
    for run, more, count in (("e", ["--eval_split", "validation"], 8), ("a", [], 80)):
        call(evaluate_classifier, *data, "--model", tmp_path / "p", *more, "--output_dir", tmp_path / run)
        metrics = json.loads((tmp_path / run / "metrics.json").read_text())
        assert (metrics["num_images"], metrics["split"]) == (count, "validation" if more else "all")
    probe = json.loads((tmp_path / "p" / "metrics.json").read_text())
    assert (probe["num_images"], probe["num_training_images"], probe["split"]) == (8, 72, "validation")
    other = layouts.write_class_folders(tmp_path / "other") / "train"  # a set of its own: both are taken whole
    for path in other.rglob("*.png"):
        path.rename(path.with_name(f"other_{path.name}"))
    call(knn_probe, *data, *encoder, "--eval_dataset", other, "--output_dir", tmp_path / "k")
    knn = json.loads((tmp_path / "k" / "metrics.json").read_text())
    assert (knn["num_images"], knn["num_training_images"]) == (80, 80)
    for script in (linear_probe, knn_probe, finetune):
        with pytest.raises(ValueError, match="are training images too"):
            call(script, *data, *encoder, "--eval_split", "all", "--output_dir", tmp_path / "no" / script.__name__)
        sentence = "has no split 'test'" if script is knn_probe else "the epoch is chosen on it"
        with pytest.raises(ValueError, match=sentence):
            call(script, *data, *encoder, "--eval_split", "test", "--output_dir", tmp_path / script.__name__)
