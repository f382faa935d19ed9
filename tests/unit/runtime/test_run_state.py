# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints whole or not at all, the metrics log, metrics.json."""

import json
import re
import shutil
import struct

import numpy as np
import pytest
import torch

from modeling_simfle import SimFLEForPreTraining, SimFLEImageProcessor
from tests.tiny import tiny_config, tiny_inputs
from training.measuring.classification import classification_measures, measures_without_repeats
from training.runtime.checkpoints import find_checkpoint, list_checkpoints, load_checkpoint, save_checkpoint
from training.runtime.run_folder import MetricsLog, prepare_output_dir, save_model, write_json


@pytest.fixture
def run():
    torch.manual_seed(0)
    model = SimFLEForPreTraining(tiny_config()).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    model(**tiny_inputs()).loss.backward()
    optimizer.step()
    return model, optimizer


def test_a_checkpoint_brings_everything_back(run, tmp_path):
    model, optimizer = run
    save_checkpoint(tmp_path, {"step": 7, "seed": 3, "list": (1, 2)}, model, SimFLEImageProcessor(), optimizer, 2)
    folder = find_checkpoint(tmp_path, "latest")
    assert folder.name == "step_00000007"
    assert not [p for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".pkl")]
    other = SimFLEForPreTraining(tiny_config())
    other_optimizer = torch.optim.SGD([p for p in other.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    state = load_checkpoint(folder, other, other_optimizer, {"seed": 3, "list": (1, 2)})
    assert state["step"] == 7
    assert all(torch.equal(t, other.state_dict()[name]) for name, t in model.state_dict().items())
    ours, theirs = (
        {n: o.state[p]["momentum_buffer"] for n, p in m.named_parameters() if p in o.state}
        for m, o in ((model, optimizer), (other, other_optimizer))
    )
    assert ours.keys() == theirs.keys()
    assert len(ours) > 50
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(ValueError, match="was made with seed 3, not 4; use the same to resume"):
        load_checkpoint(folder, other, other_optimizer, {"seed": 4})


def test_weights_can_be_read_by_whom_the_folder_is_for(run, tmp_path):
    model, optimizer = run
    save_checkpoint(tmp_path, {"step": 1}, model, SimFLEImageProcessor(), optimizer, 1)
    save_model(tmp_path, model, SimFLEImageProcessor())
    files = [*tmp_path.rglob("*.safetensors")]
    assert len(files) == 3
    assert {path.stat().st_mode for path in files} == {(tmp_path / "config.json").stat().st_mode}


def test_the_newest_are_kept_and_half_written_ones_do_not_count(run, tmp_path):
    model, optimizer = run
    for step in (1, 2, 30):
        save_checkpoint(tmp_path, {"step": step}, model, SimFLEImageProcessor(), optimizer, 2)
    (tmp_path / "checkpoints" / "step_00000099.tmp").mkdir()
    for leftover in ("._step_00000097", "@eaDir", ".DS_Store"):  # of a file server
        (tmp_path / "checkpoints" / leftover).mkdir()
    (tmp_path / "checkpoints" / "step_00000030" / "._model.safetensors").write_bytes(b"\0\5\x16\7")
    (tmp_path / "checkpoints" / "step_00000098").mkdir()
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step_00000002", "step_00000030"]
    assert find_checkpoint(tmp_path, "latest").name == "step_00000030"
    with pytest.raises(ValueError, match="is no complete checkpoint"):
        find_checkpoint(tmp_path, str(tmp_path / "checkpoints" / "step_00000098"))
    assert find_checkpoint(tmp_path / "nothing", "latest") is None


@pytest.mark.parametrize(
    "name,content,flaw",
    [
        ("model.safetensors", lambda old: old[:-10], "model.safetensors is cut off or damaged"),
        ("momentum.safetensors", lambda old: old[:4], "momentum.safetensors is cut off or damaged"),
        ("momentum.safetensors", lambda old: b"\xff" * 99, "momentum.safetensors is cut off or damaged"),
        (
            "momentum.safetensors",
            lambda old: struct.pack("<Q", 2) + b"[]",
            "momentum.safetensors is cut off or damaged",
        ),
        ("average.safetensors", lambda old: old[:-1], "average.safetensors is cut off or damaged"),
        ("momentum.safetensors", None, "momentum.safetensors is missing"),
        ("training_state.json", lambda old: old[:-9], "damaged: "),
        ("training_state.json", lambda old: b"{}", "damaged: 'step'"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_and_named(run, tmp_path, capsys, name, content, flaw):
    for step in (1, 2):
        average = {"average": {"weight": torch.ones(9)}}
        save_checkpoint(tmp_path, {"step": step}, run[0], SimFLEImageProcessor(), run[1], 2, average)
    file = tmp_path / "checkpoints" / "step_00000002" / name
    old = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(content(old))
    assert find_checkpoint(tmp_path, "latest").name == "step_00000001"
    assert f"a checkpoint is passed over: step_00000002: {flaw}" in capsys.readouterr().err
    with pytest.raises(ValueError, match=f"is no complete checkpoint .{re.escape(flaw)}"):
        find_checkpoint(tmp_path, str(file.parent))
    shutil.rmtree(tmp_path / "checkpoints" / "step_00000001")
    with pytest.raises(ValueError, match=r"no checkpoint of .* can be read .step_00000002: .* mend one, or give a new"):
        find_checkpoint(tmp_path, "latest")  # not from step 0, over what is there


def test_the_field_of_a_config_that_differs_is_named(run, tmp_path):
    model, optimizer = run
    state = {"step": 7, "config": {"a": 1, "sizes": [8]}}
    save_checkpoint(tmp_path, state, model, SimFLEImageProcessor(), optimizer, 2)
    folder = find_checkpoint(tmp_path, "latest")
    with pytest.raises(ValueError, match=r"was made with config\.sizes \[8\], not \[16\]; use the same"):
        load_checkpoint(folder, model, optimizer, {"config": {"a": 1, "sizes": [16]}})
    with pytest.raises(ValueError, match=r"was made with config\.masking '\(the default\)', not 'random'"):
        load_checkpoint(folder, model, optimizer, {"config": {"a": 1, "sizes": [8], "masking": "random"}})
    newer = {"config": {"a": 1, "sizes": [8], "temperature": 1.0}}  # a field that came later, at its default
    load_checkpoint(folder, model, optimizer, newer, defaults={"config": {"temperature": 1.0}})


def test_metrics_log_drops_what_lies_beyond_the_checkpoint(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    MetricsLog(tmp_path / "metrics.jsonl", 2).write({"step": 3, "loss": 0.5})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 0.5}]


def test_output_dir(tmp_path):
    assert prepare_output_dir(str(tmp_path / "a" / "b"), resume=False).is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is not empty"):
        prepare_output_dir(str(tmp_path), resume=False)
    assert prepare_output_dir(str(tmp_path), resume=True) == tmp_path
    with pytest.raises(ValueError, match="is a file; give a new folder"):
        prepare_output_dir(str(tmp_path / "file"), resume=False)


def test_write_json_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "run.json"
    write_json(path, {"b": 1, "a": 2})
    assert list(json.loads(path.read_text())) == ["b", "a"]
    with pytest.raises(TypeError):
        write_json(path, {"bad": object()})
    assert json.loads(path.read_text()) == {"b": 1, "a": 2}


def test_measures_by_hand():
    labels, predictions = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    measures = classification_measures(labels, predictions, ("a", "b", "c", "never"))
    assert measures["accuracy"] == pytest.approx(4 / 6)
    assert measures["mean_class_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert measures["macro_f1"] == pytest.approx((2 / 3 + 0.8 + 0) / 3)
    assert measures["confusion_matrix"] == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    low, high = measures["per_class"]["a"].pop("recall_interval")
    assert 0 <= low < 2 / 3 < high <= 1
    assert measures["per_class"]["a"] == {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "count": 3}
    assert "recall_interval" not in measures["per_class"]["never"]
    repeats = np.array([True, False, False, False, False, False, True])
    kept = np.arange(6)
    fresh = measures_without_repeats(labels, predictions, repeats, kept)
    low, high = fresh.pop("accuracy_without_repeats_interval")
    assert 0 <= low < 3 / 5 < high <= 1
    assert fresh == {"accuracy_without_repeats": pytest.approx(3 / 5), "num_images_without_repeats": 5}
    assert measures_without_repeats(labels, predictions, None, kept) == {}
