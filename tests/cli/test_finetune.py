# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""finetune.py from the command line: trains, chooses, goes on, refuses."""

import csv
import json
import shutil

import accelerate
import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset
from PIL import Image

from modeling_simfle import SimFLEForImageClassification
from modeling_simfle.hub_folder_simfle import weights_sha256
from tests.drawn_dataset import make_dataset
from tests.new_process import ROOT
from tests.official_layouts import write_ferplus_parquet
from tests.tiny import FIELDS, tiny_config
from training import finetune
from training.data.drawn_faces import write_image_folder
from training.data.expressions import EXPRESSIONS
from training.finetuning import loop as fine_tuning_loop
from training.measuring.classification import KEYS
from training.models.loading import load_classifier
from training.runtime import training_run
from training.runtime.arguments import parse_words
from training.runtime.errors import RunError


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
    assert (metrics["num_training_images"], metrics["num_bad_images"]) == (48, 0)
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


def test_the_loss_scale_goes_on_where_it_was(flags, tmp_path, monkeypatch):
    """fp16's, here with torch's scaler for the CPU: Accelerate makes one on an accelerator alone."""

    class Scaling(accelerate.Accelerator):
        def __init__(self, **options):
            super().__init__(**options)
            self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=4)

    monkeypatch.setattr(accelerate, "Accelerator", Scaling)
    call(*flags, "--output_dir", tmp_path / "whole")
    call(*flags, "--output_dir", tmp_path / "parts", "--max_train_minutes", 0)
    call(*flags, "--output_dir", tmp_path / "parts", "--resume_from_checkpoint", "latest")
    states = [
        json.loads((tmp_path / name / "checkpoints" / "step_00000006" / "training_state.json").read_text())["scaler"]
        for name in ("whole", "parts")
    ]
    assert states[0] == states[1]
    assert (states[0]["scale"], states[0]["_growth_tracker"]) == (16.0, 2)  # doubled after 4 of 6 steps


@pytest.mark.parametrize("balance", ["sampling", "weights"])
def test_soft_labels_and_balanced_classes(balance, config_file, tmp_path, capsys):
    faces = write_ferplus_parquet(tmp_path / "ferplus")
    flags = ["--model_config", config_file, "--dataset", faces, "--view_size", 64, "--num_workers", 1]
    flags += ["--per_device_train_batch_size", 8, "--num_train_epochs", 1, "--mixed_precision", "bf16"]
    flags += ["--labels", "soft", "--class_balance", balance, "--label_smoothing", 0.1, "--layer_decay", 0.5]
    call(*flags, "--output_dir", tmp_path / "run")
    metrics = read(tmp_path / "run")
    assert metrics["method"] == "supervised from scratch"
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert {name for name in line if "accuracy" in name} == {"accuracy", "accuracy_without_repeats"}
    assert (
        f"validation accuracy without repeats {100 * line['accuracy_without_repeats']:.2f} %" in capsys.readouterr().out
    )
    assert metrics["num_images_without_repeats"] < metrics["num_images"]


def files_of(folder):
    """Every file's bytes, by its name."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("patience", [None, 1], ids=["complete", "early-stopped"])
def test_a_finished_run_says_so_and_stays_as_it_is(flags, patience, tmp_path, capsys):
    folder, more = tmp_path / "run", ["--base_learning_rate", 0]  # only BatchNorm moves
    more += [] if patience is None else ["--early_stopping_patience", patience]
    call(*flags, *more, "--output_dir", folder)
    metrics, before = read(folder), files_of(folder)
    epochs = 2 if patience else 3
    assert metrics["choices"] == epochs
    resume = [*more, "--output_dir", folder, "--resume_from_checkpoint", "latest"]
    for _ in range(2):
        capsys.readouterr()
        call(*flags, *resume)
        assert f"the run is already finished at step {2 * epochs}" in capsys.readouterr().out
        assert files_of(folder) == before
    (folder / "metrics.json").unlink()  # killed before its report
    call(*flags, *resume)
    assert read(folder) == metrics
    if patience:  # more patience: there is something left to do
        call(*flags, *resume, "--early_stopping_patience", 9)
        assert read(folder)["choices"] == 3


def test_metrics_are_of_the_weights_beside_them_or_not_there(flags, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    call(*flags, "--output_dir", folder, "--max_train_minutes", 0)
    metrics = read(folder)
    assert metrics["weights_sha256"] == weights_sha256(folder)
    load_classifier(str(folder))
    stale = tmp_path / "stale"
    shutil.copytree(folder, stale)

    def broken(*_):
        raise OSError("no space left on device")

    # The next epoch is better, its model lies at the top, and the run breaks.
    accuracies = {"accuracy": 2.0}
    monkeypatch.setattr(fine_tuning_loop, "epoch_accuracies", lambda *_: accuracies)
    monkeypatch.setattr(training_run, "save_checkpoint", broken)
    with pytest.raises(OSError, match="no space left"):
        call(*flags, "--output_dir", folder, "--resume_from_checkpoint", "latest")
    assert weights_sha256(folder) != metrics["weights_sha256"]
    assert not (folder / "metrics.json").exists()
    assert not (folder / "predictions.csv").exists()
    shutil.copy(folder / "model.safetensors", stale)  # what an earlier version left: refused where it is loaded
    with pytest.raises(ValueError, match=r"model\.safetensors is not the file whose hash stands in metrics\.json"):
        load_classifier(str(stale))


def test_unreadable_pictures_count_once_and_the_data_may_move(flags, faces, tmp_path, capsys):
    first, moved = tmp_path / "first", tmp_path / "moved"
    shutil.copytree(faces, first)
    for part in ("train", "validation"):
        sorted((first / part).rglob("*.png"))[0].write_bytes(b"no image")
    common = [*flags, "--per_device_train_batch_size", 16, "--output_dir", tmp_path / "run"]
    call(*common, "--dataset", first, "--max_bad_images", 2, "--num_train_epochs", 3, "--max_train_minutes", 0)
    shutil.move(first, moved)
    more = ["--num_workers", 1, "--resume_from_checkpoint", "latest", "--max_bad_images"]
    with pytest.raises(ValueError, match="2 bad images are more than --max_bad_images 1"):
        call(*common, "--dataset", moved, *more, 1)
    capsys.readouterr()
    call(*common, "--dataset", moved, "--eval_dataset", moved, *more, 2)
    assert "bad image" not in capsys.readouterr().err  # named before
    metrics = read(tmp_path / "run")
    assert (metrics["num_bad_images"], metrics["num_images"], metrics["num_training_images"]) == (2, 15, 47)
    assert metrics["choices"] == 3
    for number, path in enumerate(sorted((shutil.copytree(moved, tmp_path / "recut") / "train").rglob("*.png"))):
        Image.new("RGB", (30 + number, 30)).save(path)
    with pytest.raises(ValueError, match="made with other images of the same names"):
        call(*common, "--dataset", tmp_path / "recut", *more, 2)
    write_image_folder(tmp_path / "other" / "validation", 8, seed=1, size=40)
    with pytest.raises(ValueError, match="made with eval_dataset_fingerprint"):
        call(*common, "--dataset", moved, "--eval_dataset", tmp_path / "other", *more, 2)


def test_other_labels_of_the_same_pictures_are_not_resumed(flags, tmp_path):
    for name, turned in (("first", 0), ("relabelled", 3)):
        for split, count in (("train", 24), ("validation", 8)):
            rows = make_dataset(count, seed=count, size=40).to_dict()
            rows["label"] = [(label + turned) % 8 for label in rows["label"]] if split == "train" else rows["label"]
            (tmp_path / name).mkdir(exist_ok=True)
            features = make_dataset(8, seed=0, size=16).features
            Dataset.from_dict(rows, features=features).to_parquet(tmp_path / name / f"{split}.parquet")
    common = [*flags, "--per_device_train_batch_size", 8, "--output_dir", tmp_path / "run", "--num_train_epochs", 2]
    call(*common, "--dataset", tmp_path / "first", "--max_train_minutes", 0)
    with pytest.raises(ValueError, match="made with labels_fingerprint"):
        call(*common, "--dataset", tmp_path / "relabelled", "--resume_from_checkpoint", "latest")


@pytest.mark.parametrize("readable", [3, 1])
def test_batches_without_two_readable_pictures_are_skipped(flags, readable, tmp_path):
    write_image_folder(tmp_path / "faces" / "train", 8, seed=0, size=40)
    write_image_folder(tmp_path / "faces" / "validation", 8, seed=1, size=40)
    for path in sorted((tmp_path / "faces" / "train").rglob("*.png"))[readable:]:
        path.write_bytes(b"no image")
    more = ["--dataset", tmp_path / "faces", "--per_device_train_batch_size", 4, "--max_bad_images", 7]
    more += ["--output_dir", tmp_path / "run", "--num_train_epochs", 2]
    if readable == 1:
        with pytest.raises(ValueError, match="no batch of epoch 1 had two images that can be read"):
            call(*flags, *more)
        return
    call(*flags, *more)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]
    assert read(tmp_path / "run")["num_training_images"] == 3


@pytest.mark.parametrize(
    "more,sentence",
    [
        (["--do_grayscale", "true"], r"--do_grayscale True is not what .* was trained with, False; leave it out"),
        (["--image_mean", 0.5], r"--image_mean \[0\.5\] is not what"),
        (["--model_config", "other"], r"--model_config asks for depths \[2, 1, 1, 1\], and .* has \[1, 1, 1, 1\]"),
        (["--masking", "random"], "--masking asks for masking 'random', and .* has 'semantic'"),
        (["--eval_split", "test"], "the epoch is chosen on it; give a validation split"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(faces, pretrained, more, sentence, tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({**FIELDS, "depths": [2, 1, 1, 1]}))
    more = [tmp_path / "other.json" if value == "other" else value for value in more]
    with pytest.raises(ValueError, match=sentence):
        call("--model", pretrained[0], "--dataset", faces, "--output_dir", tmp_path / "run", *more)


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
        (["--labels", "soft"], "has one label an image and no votes; use --labels hard"),
        (["--per_device_train_batch_size", 49], "has 48 images, fewer than one batch of 49"),
        (["--per_device_train_batch_size", 1], "BatchNorm needs at least 2 images"),
        (["--early_epochs", 1], "--early_epochs 1 needs --early_view_size"),
        (["--seed", -1], r"--seed -1 must be in \[0"),
        (["--ema_decay", 1.5], r"--ema_decay 1.5 must be in \[0, 1\]"),
        (["--base_learning_rate", 1e30], "the loss of epoch 1 is nan; use a smaller --base_learning_rate"),
    ],
)
def test_bad_input(flags, more, sentence, tmp_path):
    with pytest.raises((ValueError, RunError), match=sentence):
        call(*flags, "--output_dir", tmp_path / "run", *more)


@pytest.mark.parametrize("path", sorted((ROOT / "training" / "recipes").glob("finetune_*.yaml")), ids=lambda p: p.stem)
def test_recipes_are_read(path):
    kinds = (finetune.DatasetArguments, finetune.ModelArguments, finetune.ProcessorArguments)
    assert parse_words((*kinds, finetune.FineTuningArguments), ["--recipe", str(path)]).data_format in path.stem


def test_layer_decay_and_weight_decay_by_parameter():
    from training.finetuning.setup import make_optimizer

    model = SimFLEForImageClassification(tiny_config())
    run = finetune.FineTuningArguments(layer_decay=0.5, weight_decay=0.1)
    groups = make_optimizer(model, run, 1.0).param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    found = {id(p): (group["rate"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert found[id(model.classifier.weight)] == (1.0, 0.1)
    assert found[id(model.classifier.bias)] == (1.0, 0.0)
    assert found[id(model.encoder.resnet.encoder.stages[3].layers[0].layer[0].convolution.weight)] == (0.5, 0.1)
    assert found[id(model.encoder.resnet.embedder.embedder.convolution.weight)] == (0.5**5, 0.1)
