# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""finetune.py --teacher: another classifier's answers in the targets."""

import json
import shutil

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from training import finetune
from training.data.drawn_faces import write_image_folder
from training.finetuning.loop import FineTuning
from training.models.loading import load_classifier


def call(*arguments):
    AcceleratorState._reset_state(reset_partial_state=True)
    finetune.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def flags(faces, config_file):
    flags = ["--model_config", config_file, "--dataset", faces, "--view_size", 64, "--num_workers", 0]
    return [*flags, "--per_device_train_batch_size", 24, "--num_train_epochs", 1]


@pytest.fixture(scope="module")
def teacher(flags, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    call(*flags, "--seed", 1, "--view_size", 48, "--output_dir", folder)
    return folder


def test_the_teachers_answers_are_the_targets_by_their_share(flags, teacher, tmp_path):
    runs = {"alone": [], "none": ["--teacher_weight", 0], "all": ["--teacher_weight", 1]}
    runs["all, other labels"] = [*runs["all"], "--label_smoothing", 0.5]
    for name, more in runs.items():
        if more:
            more = [*more, "--teacher", teacher]
        call(*flags, *more, "--output_dir", tmp_path / name)
    weights = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in runs}
    assert weights["alone"] == weights["none"]
    assert weights["all"] == weights["all, other labels"]
    assert weights["all"] != weights["alone"]


def test_a_run_goes_on_with_the_teacher_that_it_had(flags, teacher, tmp_path):
    teachers, run = tmp_path / "teachers", tmp_path / "run"
    shutil.copytree(teacher, teachers / "first")
    flags = [*flags, "--num_train_epochs", 2, "--output_dir", run]
    call(*flags, "--teacher", teachers / "first", "--max_train_minutes", 0)
    about = json.loads((run / "run.json").read_text())
    assert about["arguments"]["teacher"] == [str(teachers / "first")]
    assert len(about["teacher_sha256"]) == 64
    (teachers / "first").rename(teachers / "moved")
    call(*flags[:-2], "--seed", 2, "--output_dir", teachers / "first")  # another one at the same place
    with pytest.raises(ValueError, match=f"teacher_sha256 '{about['teacher_sha256']}', not"):
        call(*flags, "--teacher", teachers / "first", "--resume_from_checkpoint", "latest")
    with pytest.raises(ValueError, match=r"teacher_sha256 .*, not None"):
        call(*flags, "--resume_from_checkpoint", "latest")
    call(*flags, "--teacher", teachers / "moved", "--resume_from_checkpoint", "latest")
    assert json.loads((run / "metrics.json").read_text())["choices"] == 2


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--teacher", "no/such model"], "--teacher no/such model is no local folder"),
        (["--margins", 0.2], r"--margins \[0\.2\] must be two numbers"),
        (["--unlabelled_datasets", "x"], "--unlabelled_datasets needs --teacher and --teacher_sees faces"),
        (["--keep_classifier", "true"], "--keep_classifier needs --model"),
        (["--teacher_weight", 2], r"--teacher_weight 2\.0 must be in \[0, 1\]"),
        (
            ["--do_grayscale", "true", "--image_mean", 0.5, "--image_std", 0.25],
            "has do_grayscale False, and this run True; both must be the same",
        ),
        (["--image_std", 0.3], r"has image_std \(0.2769, 0.2473, 0.2412\), and this run"),
    ],
)
def test_teachers_that_do_not_fit(flags, teacher, more, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        call(*flags, "--teacher", teacher, *more, "--output_dir", tmp_path / "run")


def test_teachers_of_the_faces_as_they_are_teach_unlabelled_ones(flags, teacher, monkeypatch, tmp_path, capsys):
    """Their mean answer is computed once, and is the whole target of unlabelled faces; the classifier is kept."""
    other, strange = tmp_path / "other", tmp_path / "strange"
    call(*flags, "--seed", 2, "--output_dir", other)
    write_image_folder(strange / "train", 8, seed=50, size=64)
    made, build = [], FineTuning.targets_for_faces
    monkeypatch.setattr(FineTuning, "targets_for_faces", lambda self: made.append((self, build(self))) or made[-1][1])
    more = ["--teacher", teacher, other, "--teacher_sees", "faces", "--unlabelled_datasets", strange]
    more += ["--margins", -0.1, 0.2, "--tight_share", 0.3, "--border", "reflect", "--softening", 0.5]
    more += ["--logit_adjustment", 0.3, "--base_learning_rate", 0, "--features_dir", tmp_path / "answers"]
    model = ["--model", other, "--keep_classifier", "true"]
    call(*flags[2:], *model, *more, "--output_dir", tmp_path / "run")
    [(tuning, targets)] = made
    expected = []
    for folder in (teacher, other):
        classifier, processor, _ = load_classifier(str(folder))
        inputs = processor([tuning.faces.image(index) for index in range(48, 56)], return_tensors="pt")
        expected.append(classifier(**inputs).logits.detach().softmax(1))
    assert tuning.steps_per_epoch == (48 + 8) // 24 and targets.shape == (56, 8)
    torch.testing.assert_close(targets[48:], sum(expected) / 2, rtol=1e-4, atol=1e-6)
    votes = targets[:48].numpy()[range(48), tuning.train_faces.labels]
    assert (votes >= 0.5).all() and (votes < 1).all()
    kept = [load_file(folder / "model.safetensors") for folder in (other, tmp_path / "run")]
    assert all(torch.equal(one["classifier.weight"], kept[0]["classifier.weight"]) for one in kept)
    capsys.readouterr()
    call(*flags[2:], *model, *more, "--seed", 5, "--output_dir", tmp_path / "again")
    assert capsys.readouterr().out.count("answers from") == 4
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [part["num_images"] for part in run["lineage"][-1]["data"]["unlabelled"]] == [8]


def test_a_teacher_of_other_classes_and_an_encoder(flags, teacher, pretrained, tmp_path):
    with pytest.raises(ValueError, match="not a classifier"):
        call(*flags, "--teacher", pretrained[0], "--output_dir", tmp_path / "run")
    config = json.loads((teacher / "config.json").read_text())
    names = {index: name.upper() for index, name in config["id2label"].items()}
    other = tmp_path / "teacher"
    other.mkdir()
    for path in teacher.glob("*.*"):
        (other / path.name).write_bytes(path.read_bytes())
    changed = {**config, "id2label": names, "label2id": {name: int(index) for index, name in names.items()}}
    (other / "config.json").write_text(json.dumps(changed))
    with pytest.raises(ValueError, match=r"knows NEUTRAL, .*; the faces have neutral"):
        call(*flags, "--teacher", other, "--output_dir", tmp_path / "run")
