# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""linear_probe.py from the command line: seeds, shares of the labels, kept features, odd data, errors."""

import csv
import json
import os
import shutil

import pytest
import torch
from PIL import Image

from modeling_simfle import SimFLEForImageClassification, SimFLEForPreTraining
from modeling_simfle.hub_folder_simfle import weights_sha256
from training import evaluate_classifier, linear_probe
from training.data.drawn_faces import write_image_folder
from training.data.expressions import EXPRESSIONS
from training.measuring.classification import KEYS
from training.models.loading import load_processor
from training.probing.linear_classifier import feature_statistics


def call(*arguments):
    linear_probe.main([str(argument) for argument in arguments])


def read(folder, name="metrics.json"):
    return json.loads((folder / name).read_text())


@pytest.fixture(scope="module")
def flags(pretrained):
    return ["--model", pretrained[0], "--num_workers", 0, "--num_train_epochs", 5, "--cache_features"]


@pytest.fixture(scope="module")
def runs(flags, faces, tmp_path_factory):
    """Two seeds of 25 % and of all labels."""
    folder = tmp_path_factory.mktemp("probes")
    common = [*flags, "--dataset", faces, "--features_dir", folder / "features"]
    call(*common, "--few_shot", 25, 100, "--seeds", 0, 1, "--output_dir", folder / "all")
    return folder, common


def test_each_seed_and_share_has_a_complete_folder(runs):
    folders = [runs[0] / "all" / f"labels_{p}_percent" / f"seed_{s}" for p in (25, 100) for s in (0, 1)]
    assert sorted(runs[0].rglob("metrics.json")) == sorted(folder / "metrics.json" for folder in folders)
    for folder, percent, seed in zip(folders, (25, 25, 100, 100), (0, 1, 0, 1), strict=True):
        metrics, run = read(folder), read(folder, "run.json")
        assert set(KEYS) <= set(metrics)
        assert (metrics["method"], metrics["label_percent"], metrics["seed"]) == ("linear probe", percent, seed)
        assert metrics["num_training_images"] == (16 if percent == 25 else 48)  # 6 a class: 2 of each, or all
        assert (metrics["choices"], metrics["num_bad_images"]) == (30, 0)
        assert metrics["dataset"]["fingerprint"] == run["dataset_fingerprint"]["eval"]
        assert (run["seed"], run["label_percent"], run["arguments"]["few_shot"]) == (seed, percent, [25, 100])
        rows = list(csv.DictReader((folder / "predictions.csv").open()))
        assert [int(row["index"]) for row in rows] == list(range(16))
        assert sum(row["label"] == row["prediction"] for row in rows) == round(16 * metrics["accuracy"])
        SimFLEForImageClassification.from_pretrained(folder)
        load_processor(folder)
        assert metrics["weights_sha256"] == weights_sha256(folder)


def test_seeds_and_shares_differ_and_one_run_repeats_them(runs, tmp_path):
    folder, common = runs
    weights = {
        (p, s): SimFLEForImageClassification.from_pretrained(
            folder / "all" / f"labels_{p}_percent" / f"seed_{s}"
        ).classifier.weight
        for p in (25, 100)
        for s in (0, 1)
    }
    assert not torch.equal(weights[25, 0], weights[25, 1])
    assert not torch.equal(weights[25, 0], weights[100, 0])
    call(*common, "--seed", 1, "--output_dir", tmp_path / "one")  # no subfolder
    again = SimFLEForImageClassification.from_pretrained(tmp_path / "one").classifier.weight
    assert torch.equal(again, weights[100, 1])


def test_standardized_features_do_not_feel_their_scale_and_the_classifier_takes_them_as_they_are(runs, tmp_path):
    _, common = runs
    call(*common, "--standardize_features", "--output_dir", tmp_path / "one")
    metrics, faces = read(tmp_path / "one"), common[common.index("--dataset") + 1]
    assert "standardized cached features" in metrics["protocol"]
    flags = ["--model", tmp_path / "one", "--dataset", faces, "--num_workers", 0, "--output_dir", tmp_path / "again"]
    evaluate_classifier.main([str(flag) for flag in (*flags, "--eval_split", "validation")])
    assert read(tmp_path / "again")["confusion_matrix"] == metrics["confusion_matrix"]
    features = 50 * torch.randn(64, 6) * torch.tensor([0, 1, 2, 3, 4, 5]) + 7
    mean, deviation = feature_statistics(features)
    scaled = (features - mean) / deviation
    torch.testing.assert_close(scaled.std(0, correction=0), torch.tensor([0.0, 1, 1, 1, 1, 1]))


def test_kept_features_are_used_again_without_a_picture_being_read(runs, tmp_path, monkeypatch, capsys):
    def refuse(self, index):
        raise AssertionError("a picture was read")

    monkeypatch.setattr("training.data.faces.Faces.image", refuse)
    call(*runs[1], "--few_shot", 50, "--output_dir", tmp_path / "run")
    assert read(tmp_path / "run" / "labels_50_percent" / "seed_0")["num_training_images"] == 24
    assert capsys.readouterr().out.count("_features from ") == 2
    with pytest.raises(AssertionError, match="a picture was read"):
        call(*runs[1], "--view_size", 48, "--output_dir", tmp_path / "another_size")


def test_changed_weights_are_not_served_old_features(runs, pretrained, tmp_path, capsys):
    changed = tmp_path / "changed"
    shutil.copytree(pretrained[0], changed, ignore=shutil.ignore_patterns("checkpoints"))
    model = SimFLEForPreTraining.from_pretrained(changed)
    with torch.no_grad():
        next(model.encoder.parameters()).mul_(2)
    model.save_pretrained(changed)
    capsys.readouterr()
    call(*runs[1], "--model", changed, "--output_dir", tmp_path / "run")
    assert "_features from " not in capsys.readouterr().out


def test_kept_batch_norm_gives_the_same_encoder(config_file, faces, tmp_path, capsys):
    flags = ["--model_config", config_file, "--view_size", 64, "--num_workers", 0, "--num_train_epochs", 1]
    flags += ["--cache_features", "--estimate_batch_norm", "--dataset", faces]
    for name, more in (("plain", []), ("first", ["--features_dir"]), ("again", ["--features_dir"])):
        call(*flags, *more, *([tmp_path / "features"] if more else []), "--output_dir", tmp_path / name)
    assert capsys.readouterr().out.count(" from ") == 3  # statistics and two splits
    plain, first, again = (
        SimFLEForImageClassification.from_pretrained(tmp_path / name).state_dict()
        for name in ("plain", "first", "again")
    )
    assert all(torch.equal(plain[name], first[name]) and torch.equal(plain[name], again[name]) for name in plain)
    call(*[flag for flag in flags if flag != "--estimate_batch_norm"], "--features_dir", tmp_path / "features",
         "--output_dir", tmp_path / "as_loaded")  # fmt: skip
    assert "_features from " not in capsys.readouterr().out


@pytest.mark.parametrize("protocol", [["--cache_features"], []], ids=["cached", "augmented"])
def test_odd_data(protocol, pretrained, tmp_path, capsys):
    """A class missing from validation, an empty class folder, odd pictures, an unreadable one, a batch of a rest."""
    root = tmp_path / "faces"
    write_image_folder(root / "train", 24, seed=0, size=40)
    write_image_folder(root / "validation", 16, seed=1, size=40)
    shutil.rmtree(root / "validation" / "fear")
    shutil.rmtree(root / "train" / "fear")
    (root / "train" / "fear").mkdir()
    for name, mode in (("gray", "L"), ("rgba", "RGBA"), ("deep", "I;16")):
        Image.new(mode, (30, 50)).save(root / "train" / "anger" / f"{name}.png")
    (root / "train" / "anger" / "broken.png").write_bytes(b"no picture")
    flags = ["--model", pretrained[0], "--dataset", root, "--num_workers", 0, *protocol]
    flags += ["--num_train_epochs", 3, "--per_device_train_batch_size", 7]
    with pytest.raises(ValueError, match="1 bad images are more than --max_bad_images 0"):
        call(*flags, "--output_dir", tmp_path / "strict")
    capsys.readouterr()
    call(*flags, "--max_bad_images", 1, "--output_dir", tmp_path / "run", "--features_dir", tmp_path / "features")
    assert capsys.readouterr().err.count("broken.png is not a readable image") == 1
    metrics = read(tmp_path / "run")
    assert (metrics["num_images"], metrics["num_bad_images"], len(metrics["class_names"])) == (14, 1, 8)
    assert metrics["num_training_images"] == 24 if protocol else 25  # 21 drawn and three of the four others
    assert metrics["per_class"]["fear"]["count"] == 0
    with pytest.raises(ValueError, match="1 bad images"):  # from the disk too
        call(*flags, "--output_dir", tmp_path / "strict_again", "--features_dir", tmp_path / "features")


def test_one_rate_takes_the_sweeps_place(runs, tmp_path):
    call(*runs[1], "--base_learning_rate", 0.03, "--output_dir", tmp_path / "run")
    assert (read(tmp_path / "run")["learning_rate"], read(tmp_path / "run")["choices"]) == (0.12, 10)
    with pytest.raises(ValueError, match="both name rates; leave one of them out"):
        call(*runs[1], "--base_learning_rate", 0.03, "--sweep_learning_rates", 1, "--output_dir", tmp_path / "no")


def test_broken_features_are_no_accuracy(pretrained, faces, tmp_path):
    model = SimFLEForPreTraining.from_pretrained(pretrained[0])
    model.encoder.resnet.embedder.embedder.normalization.running_var.fill_(torch.nan)
    model.save_pretrained(tmp_path / "broken")
    shutil.copy(pretrained[0] / "preprocessor_config.json", tmp_path / "broken")
    flags = ["--model", tmp_path / "broken", "--num_workers", 0, "--dataset", faces, "--cache_features"]
    with pytest.raises(ValueError, match=r"output is not finite for 16 of the 16 images of .*faces"):
        call(*flags, "--output_dir", tmp_path / "run")


def test_the_papers_protocol_with_a_share_of_the_labels(pretrained, faces, tmp_path):
    flags = ["--model", pretrained[0], "--dataset", faces, "--num_workers", 0, "--num_train_epochs", 2]
    call(*flags, "--few_shot", 25, "--seeds", 0, 3, "--output_dir", tmp_path / "run")
    for seed in (0, 3):
        metrics = read(tmp_path / "run" / "labels_25_percent" / f"seed_{seed}")
        assert (metrics["num_training_images"], metrics["choices"], metrics["learning_rate"]) == (16, 2, 2.0)


def test_the_target_encoder(flags, faces, pretrained, classifier, tmp_path):
    call(*flags, "--dataset", faces, "--which", "target", "--output_dir", tmp_path / "target")
    ours = SimFLEForImageClassification.from_pretrained(tmp_path / "target")
    assert [ours.config.id2label[i] for i in range(8)] == list(EXPRESSIONS)
    theirs = SimFLEForPreTraining.from_pretrained(pretrained[0]).target_encoder.state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in ours.encoder.state_dict().items())
    with pytest.raises(ValueError, match="holds a SimFLEForImageClassification, which has no target"):
        call("--model", classifier[0], "--dataset", faces, "--which", "target", "--output_dir", tmp_path / "none")


@pytest.mark.parametrize(
    "more,sentence",
    [
        (["--few_shot", 0], r"--few_shot 0 must be in \[1, 100\]"),
        (["--few_shot", "1", "200"], r"--few_shot 200 must be in \[1, 100\]"),
        (["--seeds", "0", "0"], "--seeds 0 0 names one twice"),
        (["--sweep_learning_rates", -1, "--cache_features"], r"--sweep_learning_rates -1.0 must be in \[0"),
        (["--cache_features", "false", "--sweep_learning_rates", 0.1], "--sweep_learning_rates needs --cache_features"),
        (["--num_train_epochs", 0], r"--num_train_epochs 0 must be in \[1"),
        (
            ["--eval_split", "test"],
            "--eval_split test of --dataset: the epoch is chosen on it; give a validation",
        ),
        (["--cache_features", "false", "--standardize_features"], "--standardize_features needs --cache_features"),
        (["--eval_dataset", "x/test.parquet"], r"of x/test\.parquet: the epoch is chosen on it"),
    ],
)
def test_bad_values(more, sentence, flags, faces, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        call(*flags, "--dataset", faces, *more, "--output_dir", tmp_path / "out")


@pytest.mark.parametrize("name", ["runs/simfel", "too/many/parts"])
def test_a_misspelt_model_is_one_sentence_and_leaves_no_folder(name, faces, tmp_path):
    with pytest.raises(ValueError, match=f"^--model {name} is no local folder,? and"):
        call("--model", name, "--dataset", faces, "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_flag_is_offered_that_the_script_lacks(runs, tmp_path):
    with pytest.raises(ValueError, match=r"is not empty; give a new folder\.$"):
        call(*runs[1], "--output_dir", runs[0] / "all")


def test_a_damaged_store_and_an_untrained_target_are_named(runs, config_file, faces, tmp_path):
    shutil.copytree(runs[0] / "features", tmp_path / "features")
    for path in (tmp_path / "features").iterdir():
        path.write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"is damaged .*; delete it"):
        call(*runs[1], "--features_dir", tmp_path / "features", "--output_dir", tmp_path / "out")
    with pytest.raises(ValueError, match="an untrained encoder has no target"):
        call("--model_config", config_file, "--dataset", faces, "--which", "target", "--output_dir", tmp_path / "no")


def test_flags_of_a_new_encoder_beside_a_model_may_only_say_the_same(flags, faces, config_file, tmp_path):
    same = ["--model_config", config_file, "--image_std", 0.2769, 0.2473, 0.2412, "--dataset", faces]
    call(*flags, *same, "--output_dir", tmp_path / "run")
    with pytest.raises(ValueError, match=r"--image_std \[0\.3\] is not what"):
        call(*flags, "--dataset", faces, "--image_std", 0.3, "--output_dir", tmp_path / "other")


def test_as_a_process(script, flags, runs, tmp_path):
    more = ["--few_shot", "1", "50", "--output_dir", tmp_path / "run"]
    done = script("linear_probe", *runs[1], *more, env=os.environ, check=0)
    assert done.stdout.count("_features from ") == 2  # another process finds the same key
    assert "1 % of the labels, seed 0: accuracy" in done.stdout
    assert read(tmp_path / "run" / "labels_1_percent" / "seed_0")["num_training_images"] == 8  # one of each class
    done = script("linear_probe", *flags, "--dataset", "/no/such", "--output_dir", tmp_path / "other", check=2)
    assert done.stderr.startswith("linear_probe: /no/such does not exist")
