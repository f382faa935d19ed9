# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""finetune.py from the command line: trains, chooses, goes on, refuses."""

import csv
import json
import shutil

import pytest
from accelerate.state import AcceleratorState
from PIL import Image

from modeling_simfle import SimFLEForImageClassification
from tests.new_process import ROOT
from tests.official_layouts import write_ferplus_parquet
from tests.tiny import FIELDS, tiny_config
from training import finetune
from training.fer_datasets import EXPRESSIONS
from training.run_metrics import KEYS
from training.script_arguments import read_recipe


def call(*arguments):
    AcceleratorState._reset_state(reset_partial_state=True)  # a new process has none, and precision may differ
    finetune.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def flags(faces, config_file):
    flags = ["--model_config", config_file, "--dataset", faces, "--view_size", 64, "--num_workers", 0]
    return [*flags, "--per_device_train_batch_size", 20, "--num_train_epochs", 3]


def read(folder, name="metrics.json"):
    return json.loads((folder / name).read_text())


def test_a_run_keeps_its_best_epoch_and_reports_it(flags, pretrained, tmp_path):
    call(*flags, "--model", pretrained[0], "--output_dir", tmp_path / "run", "--ema_decay", 0.5)
    metrics, folder = read(tmp_path / "run"), tmp_path / "run"
    assert set(KEYS) <= set(metrics)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]  # 48 faces, batches of 20: the short one is dropped
    assert metrics["accuracy"] == max(line["accuracy"] for line in lines)
    assert metrics["epoch"] == [line["accuracy"] for line in lines].index(metrics["accuracy"]) + 1
    assert (metrics["method"], metrics["choices"], metrics["num_images"]) == ("fine-tuning", 3, 16)
    assert lines[-1]["learning_rate"] == 0
    model = SimFLEForImageClassification.from_pretrained(folder)
    assert [model.config.id2label[i] for i in range(8)] == list(EXPRESSIONS)
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    assert sum(row["label"] == row["prediction"] for row in rows) == round(metrics["accuracy"] * 16)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_resumed_run_ends_with_the_same_weights(flags, ema_decay, tmp_path):
    more = ["--ema_decay", ema_decay, "--mixup_alpha", 0.4, "--early_epochs", 1, "--early_view_size", 48]
    call(*flags, *more, "--output_dir", tmp_path / "whole")
    call(*flags, *more, "--output_dir", tmp_path / "parts", "--max_train_minutes", 0)
    assert read(tmp_path / "parts")["choices"] == 1
    call(*flags, *more, "--output_dir", tmp_path / "parts", "--resume_from_checkpoint", "latest")
    whole, parts = (next((tmp_path / name / "checkpoints").iterdir()) for name in ("whole", "parts"))
    assert whole.name == parts.name == "step_00000006"
    for name in ("model", "momentum", *(["average"] if ema_decay else [])):
        assert (whole / f"{name}.safetensors").read_bytes() == (parts / f"{name}.safetensors").read_bytes(), name
    one, other = read(tmp_path / "whole"), read(tmp_path / "parts")
    assert one["confusion_matrix"] == other["confusion_matrix"]
    changed = ["--mixup_alpha", 0.1, "--resume_from_checkpoint", "latest"]
    with pytest.raises(ValueError, match=r"mixup_alpha 0\.4, not 0\.1"):
        call(*flags, *more, *changed, "--output_dir", tmp_path / "parts")


@pytest.mark.parametrize("balance", ["sampling", "weights"])
def test_soft_labels_and_balanced_classes(balance, config_file, tmp_path):
    faces = write_ferplus_parquet(tmp_path / "ferplus")
    flags = ["--model_config", config_file, "--dataset", faces, "--view_size", 64, "--num_workers", 1]
    flags += ["--per_device_train_batch_size", 8, "--num_train_epochs", 1, "--mixed_precision", "bf16"]
    flags += ["--labels", "soft", "--class_balance", balance, "--label_smoothing", 0.1, "--layer_decay", 0.5]
    call(*flags, "--output_dir", tmp_path / "run")
    assert read(tmp_path / "run")["method"] == "supervised from scratch"


def test_the_run_ends_when_patience_is_over(flags, tmp_path):
    call(*flags, "--base_learning_rate", 0, "--early_stopping_patience", 1, "--output_dir", tmp_path / "run")
    metrics = read(tmp_path / "run")
    assert (metrics["epoch"], metrics["choices"]) == (1, 2)  # nothing learnt, nothing better


def test_a_class_missing_from_validation_and_an_unreadable_picture(flags, faces, tmp_path):
    # torch 2.13.0 (CPU, two threads): an odd batch backward through a 1x1 convolution of 8 channels and stride 2, which
    # the tiny encoder has, writes beyond its memory.
    wider = {**FIELDS, "embedding_size": 16, "hidden_sizes": [16, 16, 24, 32]}
    (tmp_path / "wider.json").write_text(json.dumps(wider))
    shutil.copytree(faces, tmp_path / "faces")
    shutil.rmtree(tmp_path / "faces" / "validation" / "contempt")
    (tmp_path / "faces" / "train" / "fear" / "broken.png").write_bytes(b"no image")
    Image.new("RGBA", (90, 30)).save(tmp_path / "faces" / "train" / "fear" / "wide.png")
    more = ["--dataset", tmp_path / "faces", "--output_dir", tmp_path / "run", "--num_train_epochs", 1]
    more += ["--model_config", tmp_path / "wider.json"]
    with pytest.raises(ValueError, match="1 bad images are more than --max_bad_images 0"):
        call(*flags, *more, "--per_device_train_batch_size", 25)
    shutil.rmtree(tmp_path / "run")
    call(*flags, *more, "--per_device_train_batch_size", 25, "--max_bad_images", 1)
    assert read(tmp_path / "run")["num_bad_images"] == 1
    assert read(tmp_path / "run")["per_class"]["contempt"]["count"] == 0


@pytest.mark.parametrize(
    "more,sentence",
    [
        (["--labels", "soft"], "has one label a picture and no votes; use --labels hard"),
        (["--per_device_train_batch_size", 49], "has 48 images, fewer than one batch of 49"),
        (["--per_device_train_batch_size", 1], "BatchNorm needs at least 2 images"),
        (["--early_epochs", 1], "--early_epochs 1 needs --early_view_size"),
        (["--ema_decay", 1.5], r"--ema_decay 1.5 must be in \[0, 1\]"),
        (["--base_learning_rate", 1e30], "the loss of epoch 1 is nan; use a smaller --base_learning_rate"),
    ],
)
def test_bad_input(flags, more, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        call(*flags, "--output_dir", tmp_path / "run", *more)


@pytest.mark.parametrize("path", sorted((ROOT / "training" / "recipes").glob("finetune_*.yaml")), ids=lambda p: p.stem)
def test_recipes_are_read(path):
    kinds = (finetune.DatasetArguments, finetune.ModelArguments, finetune.ProcessorArguments)
    assert read_recipe(path, (*kinds, finetune.FineTuningArguments))["data_format"] in path.stem


def test_layer_decay_and_weight_decay_by_parameter():
    from training.fine_tuning_loop import make_optimizer

    model = SimFLEForImageClassification(tiny_config())
    run = finetune.FineTuningArguments(layer_decay=0.5, weight_decay=0.1)
    groups = make_optimizer(model, run, 1.0).param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    found = {id(p): (group["rate"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert found[id(model.classifier.weight)] == (1.0, 0.1)
    assert found[id(model.classifier.bias)] == (1.0, 0.0)
    assert found[id(model.encoder.resnet.encoder.stages[3].layers[0].layer[0].convolution.weight)] == (0.5, 0.1)
    assert found[id(model.encoder.resnet.embedder.embedder.convolution.weight)] == (0.5**5, 0.1)
