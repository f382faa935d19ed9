# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""training/pretrain.py from the command line: what it leaves, resuming, and bad input."""

import copy
import json
import os
import shutil
from contextlib import nullcontext
from types import SimpleNamespace

import accelerate
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file

from modeling_simfle import SimFLEForPreTraining, SimFLEImageProcessor
from tests.new_process import ROOT
from tests.unit.data.test_face_data import write_ferplus
from training import pretrain
from training.pretraining.loop import PretrainingLoop
from training.pretraining.setup import check_cuda_graph
from training.runtime.arguments import parse_words
from training.runtime.checkpoints import list_checkpoints


def run(*arguments):
    pretrain.main([str(argument) for argument in arguments])


def read_metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    return load_file(folder / "model.safetensors")


def assert_equal_weights(one, other):
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_a_run_leaves_a_loadable_model_metrics_and_its_arguments(pretrained):
    folder, printed = pretrained
    model, info = SimFLEForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    assert SimFLEImageProcessor.from_pretrained(folder).size["height"] == 64
    lines = read_metrics(folder)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    names = {"loss", "similarity_loss", "reconstruction_loss", "distillation_loss", "grouping_loss"}
    assert names | {"learning_rate", "images_per_second", "data_wait", "epoch"} <= set(lines[0])
    about = json.loads((folder / "run.json").read_text())
    assert about["arguments"]["per_device_train_batch_size"] == 8
    assert about["num_images"] == 48
    assert {"torch", "transformers", "python"} <= set(about["versions"])
    assert len(about["dataset_fingerprint"]) == 16
    assert [path.name for path in list_checkpoints(folder)] == ["step_00000004", "step_00000006"]
    assert "finished at step 6" in printed
    assert "step/s" not in printed  # no bar without a terminal
    moved = {
        k for k, v in SimFLEForPreTraining(model.config).state_dict().items() if not torch.equal(v, weights(folder)[k])
    }
    assert any(name.startswith("target_encoder") for name in moved)


def test_the_learning_rate_is_the_papers_cosine_by_epoch(pretraining_flags, tmp_path):
    run(
        *pretraining_flags, "--num_train_epochs", 2, "--per_device_train_batch_size", 16, "--output_dir", tmp_path / "o"
    )
    rates = [line["learning_rate"] for line in read_metrics(tmp_path / "o")]
    base = 0.05 * 16 / 256
    assert rates == pytest.approx([base] * 3 + [base / 2] * 3)


def test_progress_json_says_whether_the_run_is_finished(pretrained, pretraining_flags, tmp_path):
    def progress(folder):
        about = json.loads((folder / "progress.json").read_text())
        return {name: about[name] for name in ("finished", "step", "planned_steps")}

    assert progress(pretrained[0]) == {"finished": True, "step": 6, "planned_steps": 6}
    more = [*pretraining_flags, "--output_dir", tmp_path / "run"]
    run(*more, "--max_train_minutes", 0)
    stopped = progress(tmp_path / "run")
    assert stopped == {"finished": False, "step": stopped["step"], "planned_steps": 6}
    assert 0 < stopped["step"] < 6
    run(*more, "--resume_from_checkpoint", "latest")
    assert progress(tmp_path / "run") == {"finished": True, "step": 6, "planned_steps": 6}


def test_a_finished_run_says_so_and_exits_0(pretrained, pretraining_flags, script, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(pretrained[0], folder)
    done = script("pretrain", *pretraining_flags, "--output_dir", folder, "--resume_from_checkpoint", "latest", check=0)
    assert "resuming from step 6" in done.stdout
    assert "already finished" in done.stdout
    assert_equal_weights(folder, pretrained[0])


def test_a_non_empty_folder_is_refused_and_left_as_it_was(pretrained, pretraining_flags, tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(ValueError, match="is not empty; give a new folder, or go on with --resume_from_checkpoint"):
        run(*pretraining_flags, "--output_dir", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_resumed_run_equals_one_that_was_not_stopped(pretrained, pretraining_flags, tmp_path, capsys):
    folder = tmp_path / "resumed"
    run(*pretraining_flags, "--output_dir", folder, "--max_train_steps", 3)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "loss": 1.0}\n{"step": 6, "lo')  # what a killed run may leave
    run(*pretraining_flags, "--output_dir", folder, "--resume_from_checkpoint", "latest")
    assert "resuming from step 3" in capsys.readouterr().out
    assert_equal_weights(folder, pretrained[0])
    names = ("step", "epoch", "loss", "similarity_loss", "reconstruction_loss", "distillation_loss", "grouping_loss")
    ours, theirs = ([{n: line[n] for n in names} for line in read_metrics(f)] for f in (folder, pretrained[0]))
    assert ours == theirs


def test_latest_without_a_checkpoint_starts_from_step_0_and_says_so(pretraining_flags, tmp_path, capsys):
    flags = [*pretraining_flags, "--output_dir", tmp_path / "o", "--max_train_steps", 1]
    run(*flags, "--resume_from_checkpoint", "latest")
    assert "no checkpoint found; starting from step 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags,field",
    [
        (["--seed", 1], "seed"),
        (["--per_device_train_batch_size", 4], "per_device_train_batch_size"),
        (["--view_size", 32], "view"),
        (["--blur_sigma", 0.03, 0.57], r"blur_sigma \[0.1, 2.0\], not \[0.03, 0.57\]"),
    ],
)
def test_resuming_with_other_settings_names_the_field(pretrained, pretraining_flags, tmp_path, flags, field):
    folder = tmp_path / "copy"
    shutil.copytree(pretrained[0], folder)
    with pytest.raises(ValueError, match=f"was made with {field}"):
        run(*pretraining_flags, *flags, "--output_dir", folder, "--resume_from_checkpoint", "latest")


def test_resuming_on_other_pictures_of_the_same_names_is_refused(pretraining_flags, faces, tmp_path):
    shutil.copytree(faces, tmp_path / "faces")
    flags = [*pretraining_flags, "--dataset", tmp_path / "faces", "--output_dir", tmp_path / "o"]
    run(*flags, "--max_train_steps", 1)
    changed = sorted((tmp_path / "faces" / "train").rglob("*.png"))
    for number, path in enumerate(changed):
        Image.new("RGB", (40 + number, 40)).save(path)
    sentence = rf"other images of the same names: {len(changed)} of {len(changed)} looked at have another size"
    with pytest.raises(ValueError, match=sentence):
        run(*flags, "--resume_from_checkpoint", "latest")


def test_resuming_in_another_precision_is_allowed_and_said(pretraining_flags, tmp_path, capsys):
    flags = [*pretraining_flags, "--output_dir", tmp_path / "o"]
    run(*flags, "--max_train_steps", 3)
    AcceleratorState._reset_state(reset_partial_state=True)  # as in a new process
    run(*flags, "--mixed_precision", "bf16", "--resume_from_checkpoint", "latest")
    AcceleratorState._reset_state(reset_partial_state=True)
    assert "made with mixed_precision no; this run has bf16" in capsys.readouterr().out
    assert [line["step"] for line in read_metrics(tmp_path / "o")] == [1, 2, 3, 4, 5, 6]


def test_gradient_accumulation_is_one_step_of_the_mean_gradient(pretraining_flags, tmp_path, monkeypatch):
    gradients, updates = [], []
    compute, update = PretrainingLoop.compute_gradients, SimFLEForPreTraining.update_target

    def recorded(loop, inputs):
        twin = copy.deepcopy(loop.bare_model)  # BatchNorm counts what it sees
        twin.zero_grad()
        twin(**inputs).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in twin.parameters() if p.grad is not None]))
        return compute(loop, inputs)

    monkeypatch.setattr(PretrainingLoop, "compute_gradients", recorded)
    monkeypatch.setattr(SimFLEForPreTraining, "update_target", lambda model: (updates.append(1), update(model)))
    flags = ["--per_device_train_batch_size", 4, "--gradient_accumulation_steps", 4, "--output_dir", tmp_path / "o"]
    run(*pretraining_flags, *flags)
    lines = read_metrics(tmp_path / "o")
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[0]["learning_rate"] == pytest.approx(0.05 * 16 / 256)
    assert len(updates) == 3, "the target moves once a step"
    means = torch.stack(gradients).unflatten(0, (3, 4)).mean(1)
    assert [line["gradient_norm"] for line in lines] == pytest.approx(means.norm(dim=1).tolist(), rel=1e-4)
    norm = SimFLEForPreTraining.from_pretrained(tmp_path / "o").encoder.resnet.embedder.embedder.normalization
    assert norm.num_batches_tracked == 3 * 4 * 3


def test_global_branch_alone_and_random_masking(pretraining_flags, tmp_path):
    run(*pretraining_flags, "--use_local_branch", "false", "--max_train_steps", 2, "--output_dir", tmp_path / "global")
    assert set(read_metrics(tmp_path / "global")[0]) >= {"loss", "similarity_loss"}
    assert "grouping_loss" not in read_metrics(tmp_path / "global")[0]
    run(*pretraining_flags, "--masking", "random", "--max_train_steps", 2, "--output_dir", tmp_path / "random")
    assert SimFLEForPreTraining.from_pretrained(tmp_path / "random").config.masking == "random"


def test_going_on_from_a_saved_model(pretrained, pretraining_flags, tmp_path):
    flags = [f for f in pretraining_flags]
    position = flags.index("--model_config")
    del flags[position : position + 2]
    run(
        *flags,
        "--model",
        pretrained[0],
        "--max_train_steps",
        1,
        "--base_learning_rate",
        0,
        "--output_dir",
        tmp_path / "o",
    )
    ours, theirs = weights(tmp_path / "o"), weights(pretrained[0])
    name = "encoder.resnet.embedder.embedder.convolution.weight"
    torch.testing.assert_close(ours[name], theirs[name])


def test_the_monitor_leaves_the_same_weights(pretrained, pretraining_flags, faces, tmp_path):
    flags = ["--monitor_dataset", faces, "--image_side", 128, "--output_dir", tmp_path / "monitored"]
    run(*pretraining_flags, *flags)
    assert_equal_weights(tmp_path / "monitored", pretrained[0])
    lines = [json.loads(line) for line in (tmp_path / "monitored" / "monitor.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 6]
    assert "estimated_knn_accuracy" in lines[0]
    assert {"encoder_knn_accuracy", "target_encoder_knn_accuracy", "mask_entropy", "effective_rank"} <= set(lines[1])
    assert (tmp_path / "monitored" / "pictures" / "epoch_0001.png").is_file()


def test_the_monitors_faces_may_be_of_another_format(pretraining_flags, tmp_path):
    write_ferplus(tmp_path / "set", num_train=16, num_validation=16)
    flags = ["--data_format", "imagefolder", "--monitor_dataset", tmp_path / "set", "--output_dir", tmp_path / "o"]
    run(*pretraining_flags, *flags, "--max_train_steps", 1)
    lines = [json.loads(line) for line in (tmp_path / "o" / "monitor.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1]
    assert lines[1]["knn_images"] == 16


def test_the_monitor_looks_at_the_start_each_so_many_epochs_and_at_the_end(pretraining_flags, tmp_path):
    flags = ["--num_train_epochs", 3, "--monitor_epochs", 2, "--output_dir", tmp_path / "o"]
    run(*pretraining_flags, *flags)
    lines = [json.loads(line) for line in (tmp_path / "o" / "monitor.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 2, 3]
    short = ["--max_train_steps", 6, "--output_dir", tmp_path / "short"]
    run(*pretraining_flags, *flags[:-2], *short)
    lines = [json.loads(line) for line in (tmp_path / "short" / "monitor.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1]


def test_a_dry_run_describes_the_run_and_leaves_nothing(pretraining_flags, tmp_path, capsys):
    run(*pretraining_flags, "--dry_run", "true", "--output_dir", tmp_path / "o", "--num_train_epochs", 5)
    said = capsys.readouterr().out
    assert "48 images, 8 a step" in said
    assert "6 steps an epoch, 5 epochs, 30 steps" in said
    assert "learning rate by epoch: 0: 0.00156" in said
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", ["nothing", "aim"])
def test_trackers_that_are_not_there(pretraining_flags, tmp_path, name):
    with pytest.raises(ValueError, match=f"--report_to {name} is not available; installed are: "):
        run(*pretraining_flags, "--report_to", name, "--output_dir", tmp_path / "o")


def test_trackers(pretraining_flags, tmp_path):
    run(*pretraining_flags, "--report_to", "tensorboard", "--max_train_steps", 2, "--output_dir", tmp_path / "o")
    assert list((tmp_path / "o").rglob("events.out.tfevents.*"))


# Bad input


def test_bad_flags_and_settings_are_one_sentence(script, pretraining_flags, tmp_path):
    for flags, code, sentence in [
        (["--datasett", "x"], 2, "pretrain.py: unknown flag --datasett; did you mean --dataset? --help lists all"),
        (["--dataset", tmp_path / "missing", "--output_dir", tmp_path / "o"], 2, "pretrain: "),
        (["--per_device_train_batch_size", 1, "--output_dir", tmp_path / "o"], 2, "BatchNorm needs at least 2 images"),
    ]:
        done = script("pretrain", *flags, check=code, env=os.environ)
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "flags,sentence",
    [
        (["--dataset", "/no/such/folder"], "does not exist; --dataset takes a folder"),
        (["--per_device_train_batch_size", "1"], "cannot train: BatchNorm needs at least 2 images"),
        (["--compile", "true", "--sync_batchnorm", "true"], "--compile breaks its graph at every BatchNorm"),
        (["--compile", "true", "--cuda_graph", "true"], "--cuda_graph records one plain pass; leave out --compile"),
        (["--sync_batchnorm", "true", "--cuda_graph", "true"], "--cuda_graph records one plain pass; leave out"),
        (["--blur_sigma", "1", "inf"], r"--blur_sigma \[1.0, inf\] must be two numbers above 0"),
        (["--blur_sigma", "0.5"], r"--blur_sigma \[0.5\] must be two numbers above 0"),
        (["--blur_sigma", "2", "0.1"], r"--blur_sigma \[2.0, 0.1\] must be two numbers above 0, the smaller one first"),
        (["--per_device_train_batch_size", "64"], "has 48 images, fewer than one batch of 64; use a smaller"),
        (["--num_train_epochs", "0"], "--num_train_epochs 0 must be in"),
        (["--base_learning_rate", "-1"], "--base_learning_rate -1.0 must be in"),
        (["--image_std", "0"], "deviations above 0"),
        (["--model_config", "/no/such.json"], "does not exist; give a JSON file"),
        (
            ["--resume_from_checkpoint", "/no/such"],
            r"is no complete checkpoint \(training_state\.json is missing\); give its",
        ),
        (["--output_dir", ""], "--output_dir is missing"),
    ],
)
def test_bad_settings(pretraining_flags, tmp_path, flags, sentence):
    with pytest.raises((ValueError, OSError), match=sentence):
        run(*pretraining_flags, "--output_dir", tmp_path / "o", *flags)


def test_an_update_that_fp16_skips_does_not_move_the_target(pretraining_flags, tmp_path, monkeypatch):
    """Here with torch's scaler for the CPU; the first steps' gradients overflow at this scale."""

    class Scaling(accelerate.Accelerator):
        mixed_precision = "fp16"

        def __init__(self, **options):
            super().__init__(**options)
            self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-8)

    monkeypatch.setattr(accelerate, "Accelerator", Scaling)
    stepped, changed = PretrainingLoop.step, []

    def step(loop, *arguments):
        before = {name: p.clone() for name, p in loop.bare_model.named_parameters()}
        stepped(loop, *arguments)
        after = dict(loop.bare_model.named_parameters())
        changed.append({name.startswith("target_") for name in before if not torch.equal(before[name], after[name])})

    monkeypatch.setattr(PretrainingLoop, "step", step)
    run(*pretraining_flags, "--output_dir", tmp_path / "o")
    assert changed[0] == set()
    assert changed[-1] == {False, True}, "neither the trained weights nor the target stand still for ever"


@pytest.mark.parametrize(
    "change,sentence",
    [
        ({}, None),
        ({"mixed_precision": "no"}, None),
        ({"device": torch.device("cpu")}, "or float32; this run has 1 on cpu with mixed_precision bf16; leave it out"),
        ({"num_processes": 2}, "for one process on an NVIDIA GPU, in bf16 or float32; this run has 2 on cuda"),
        ({"mixed_precision": "fp16"}, "this run has 1 on cuda with mixed_precision fp16"),
        ({"mixed_precision": "fp8"}, "this run has 1 on cuda with mixed_precision fp8"),
        ({"gradient_accumulation_steps": 2}, "keeps one batch's gradients; leave out --gradient_accumulation_steps"),
    ],
)
def test_where_a_cuda_graph_is_refused(change, sentence):
    good = {"device": torch.device("cuda"), "num_processes": 1, "mixed_precision": "bf16"}
    accelerator = SimpleNamespace(**{**good, "gradient_accumulation_steps": 1, **change})
    with nullcontext() if sentence is None else pytest.raises(ValueError, match=sentence):
        check_cuda_graph(accelerator)


@pytest.mark.parametrize("path", sorted((ROOT / "training" / "recipes").glob("pretrain_*.yaml")), ids=lambda p: p.stem)
def test_recipes_are_read(path):
    kinds = (pretrain.DatasetArguments, pretrain.ModelArguments, pretrain.ProcessorArguments)
    assert parse_words((*kinds, pretrain.PretrainingArguments), ["--recipe", str(path)]).data_format in path.stem


def test_a_cuda_graphs_recipe_is_described_anywhere(pretraining_flags, tmp_path, capsys):
    run(*pretraining_flags, "--output_dir", tmp_path / "o", "--cuda_graph", "true", "--dry_run", "true")
    assert "learning rate by epoch" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content,sentence",
    [
        ('{"mask_ration": 0.5}', "unknown config field mask_ration"),
        ('{"mask_ratio": 2}', "mask_ratio=2"),
        ('{"mask_ratio": "much"}', "mask_ratio"),
        ("[1]", "must hold a mapping"),
        ("{", "is not JSON"),
        ('{"model_type": "vit"}', "config of a 'vit' model"),
    ],
)
def test_bad_config_files(pretraining_flags, tmp_path, content, sentence):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        run(*pretraining_flags, "--model_config", path, "--output_dir", tmp_path / "o")


def test_an_empty_folder(pretraining_flags, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no image in split 'train'"):
        run(*pretraining_flags, "--dataset", tmp_path / "empty", "--output_dir", tmp_path / "o")


def make_odd_folder(folder, num_bad):
    folder.mkdir()
    for index in range(16 - num_bad):
        size = {0: (1, 1), 1: (1, 700), 2: (3000, 2000)}.get(index, (30, 40))
        Image.new("RGB", size, (index * 9, 99, 200)).save(folder / f"face_{index:02d}.png")
    for index in range(num_bad):
        (folder / f"bad_{index}.png").write_bytes(b"no image")


def test_one_pixel_and_huge_images_train(pretraining_flags, tmp_path):
    make_odd_folder(tmp_path / "faces", 0)
    run(*pretraining_flags, "--dataset", tmp_path / "faces", "--output_dir", tmp_path / "o")
    assert all(abs(line["loss"]) < 1e9 for line in read_metrics(tmp_path / "o"))


def test_bad_images_are_named_and_counted_and_fatal_only_beyond_the_limit(pretraining_flags, tmp_path, capsys):
    make_odd_folder(tmp_path / "faces", 2)
    flags = [*pretraining_flags, "--dataset", tmp_path / "faces"]
    run(*flags, "--max_bad_images", 2, "--output_dir", tmp_path / "enough")
    err = capsys.readouterr().err
    assert "bad image 2 (limit 2)" in err
    assert "bad_0.png is not a readable image" in err
    assert "bad_1.png is not a readable image" in err
    with pytest.raises(ValueError, match="2 bad images are more than --max_bad_images 1"):
        run(*flags, "--max_bad_images", 1, "--output_dir", tmp_path / "few")


def test_when_nothing_can_be_read(pretraining_flags, tmp_path):
    make_odd_folder(tmp_path / "faces", 16)
    with pytest.raises(ValueError, match="none of the 16 images can be read"):
        run(*pretraining_flags, "--dataset", tmp_path / "faces", "--max_bad_images", 99, "--output_dir", tmp_path / "o")
