# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The converter: the whole format, a probe's file, and every way in which a file can be wrong."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from modeling_simfle import SimFLEConfig, SimFLEForImageClassification, SimFLEForPreTraining, SimFLEImageProcessor
from tests.oracle import ONLINE, TEST_SIZES, Sizes, checkpoint_shapes, is_parameter, is_trained
from tests.original_format import config_fields, write_checkpoint
from training import convert_original_checkpoint as converter
from training.models.original_names import original_name
from training.runtime.errors import InputError
from training.runtime.lineage import read_lineage

CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


@pytest.fixture
def files(tmp_path):
    """(checkpoint, config JSON, its state dict)"""
    return write_checkpoint(tmp_path, TEST_SIZES)


def convert(file, folder, config, *flags):
    converter.main([str(file), str(folder), "--model_config", str(config), *flags])


def write(path, content):
    torch.save(content, path)
    return path


def probe_state_dict(state_dict, num_labels=7):
    """The file of a linear probe: torchvision's names, and fc."""
    prefix, probe = f"{ONLINE}.encoder.", {}
    for name, tensor in state_dict.items():
        if name.startswith(prefix):
            child, rest = name.removeprefix(prefix).split(".", 1)
            probe[f"{CHILDREN[child]}.{rest}"] = tensor
    channels = TEST_SIZES.hidden_sizes[-1]
    return probe | {
        "fc.weight": torch.randn(num_labels, channels).double(),
        "fc.bias": torch.randn(num_labels).double(),
    }


def test_every_entry_of_the_papers_checkpoint_has_its_place():
    shapes = checkpoint_shapes(Sizes())
    assert len(shapes) == 942
    assert sum(map(is_parameter, shapes)) == 606
    with torch.device("meta"):
        model = SimFLEForPreTraining(SimFLEConfig())
    ours = {original_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert ours == shapes
    parameters = dict(model.named_parameters())
    assert len(parameters) == 606
    assert sum(p.numel() for p in parameters.values() if p.requires_grad) == 164_580_160
    assert {original_name(n) for n, p in parameters.items() if p.requires_grad} == set(filter(is_trained, shapes))


def test_a_pretraining_file_keeps_its_numbers_and_says_its_licence(files, tmp_path, capsys):
    file, config, state_dict = files
    convert(file, tmp_path / "out", config)
    said = capsys.readouterr().out
    assert "epoch 100" in said
    assert "CC BY-NC 4.0" in said
    assert "license: cc-by-nc-4.0" in (tmp_path / "out" / "README.md").read_text()
    model, info = SimFLEForPreTraining.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    assert model.dtype == torch.float64  # the file's
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state_dict[original_name(name)]), name
    assert SimFLEImageProcessor.from_pretrained(tmp_path / "out").image_mean[0] == 0.5795
    assert sorted(p.suffix for p in (tmp_path / "out").iterdir() if p.suffix in (".bin", ".pth", ".tar", ".pt")) == []


def test_the_lineage_names_the_file_and_its_licence(files, tmp_path):
    file, config, _ = files
    convert(file, tmp_path / "converted", config)
    source, own = read_lineage(tmp_path / "converted")
    assert (source["name"], own["method"]) == (file.name, "conversion")
    assert source["license"] == own["license"] == {"license": "cc-by-nc-4.0"}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_dtype_is_that_of_the_loaded_model(files, tmp_path, dtype):
    file, config, state_dict = files
    convert(file, tmp_path / "out", config, "--dtype", dtype)
    model = SimFLEForPreTraining.from_pretrained(tmp_path / "out")
    assert model.dtype == getattr(torch, dtype)
    name = "projector.hidden.weight"
    assert torch.equal(model.get_parameter(name), state_dict[original_name(name)].to(model.dtype))


def test_a_module_prefix_is_accepted(files, tmp_path):
    file, config, state_dict = files
    write(file, {"epoch": 3, "state_dict": {f"module.{name}": t for name, t in state_dict.items()}, "optimizer": {}})
    convert(file, tmp_path / "out", config)
    assert SimFLEForPreTraining.from_pretrained(tmp_path / "out").dtype == torch.float64


def test_a_probes_file_becomes_a_classifier_of_equal_logits(files, tmp_path, capsys):
    _, config, state_dict = files
    probe = probe_state_dict(state_dict)
    file = write(tmp_path / "probe.pth.tar", {"epoch": 5, "state_dict": probe})
    convert(file, tmp_path / "out", config, "--labels", "surprise,fear,disgust,happiness,sadness,anger,neutral")
    assert "linear probe of 7 classes" in capsys.readouterr().out
    model = SimFLEForImageClassification.from_pretrained(tmp_path / "out")
    assert model.config.id2label[6] == "neutral"
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    features = model.encoder(images).pooler_output
    torch.testing.assert_close(model(images).logits, F.linear(features, probe["fc.weight"], probe["fc.bias"]))
    ours = model.encoder.resnet.encoder.stages[1].layers[1].layer[2].convolution.weight
    assert torch.equal(ours, probe["layer2.1.conv3.weight"])
    shortcut = model.encoder.resnet.encoder.stages[2].layers[0].shortcut.normalization.running_mean
    assert torch.equal(shortcut, probe["layer3.0.downsample.1.running_mean"])
    convert(file, tmp_path / "unnamed", config)
    assert "does not name its classes" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--labels names 2 classes, but the file's classifier has 7"):
        convert(file, tmp_path / "few", config, "--labels", "a,b")
    for wrong in ("a,b,c,d,e,f,", "a,b,c,d,e,f,a"):
        with pytest.raises(ValueError, match="has an empty name, or one twice"):
            convert(file, tmp_path / "few", config, "--labels", wrong)
    (tmp_path / "spaced.tmp").mkdir()
    (tmp_path / "spaced.tmp" / "mine.txt").touch()  # somebody's own
    convert(file, tmp_path / "spaced", config, "--labels", "a, b, c, d, e, f, g")
    assert SimFLEForImageClassification.from_pretrained(tmp_path / "spaced").config.id2label[1] == "b"
    assert (tmp_path / "spaced.tmp" / "mine.txt").exists()


def test_missing_unknown_and_misshapen_entries_are_all_listed_and_nothing_is_written(files, tmp_path):
    file, config, state_dict = files
    del state_dict["predictor.net.0.bias"]
    del state_dict[f"{ONLINE}.encoder.4.0.bn1.running_var"]
    state_dict["facemae.stray"] = torch.zeros(2)
    state_dict["distil_FFL.net.3.weight"] = torch.zeros(3, 4)
    write(file, {"epoch": 1, "state_dict": state_dict, "optimizer": {}})
    with pytest.raises(ValueError, match="nothing was written") as error:
        convert(file, tmp_path / "out", config)
    for part in (
        "missing predictor.net.0.bias",
        f"missing {ONLINE}.encoder.4.0.bn1.running_var",
        "unknown facemae.stray",
        "distil_FFL.net.3.weight has shape (3, 4), not (16, 32)",
    ):
        assert part in str(error.value)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*.tmp"))


class Command:
    """What a malicious pickle would run."""

    def __reduce__(self):
        return (open, ("executed", "w"))


def test_nothing_in_a_file_is_executed(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "evil.pth.tar", {"state_dict": {"a": torch.zeros(1)}, "epoch": Command()})
    sentence = r"and was not executed \(Unsupported global: .* by default\); give a checkpoint of the released code\.$"
    with pytest.raises(ValueError, match=sentence) as error:
        convert(file, tmp_path / "out", files[1])
    assert "weights_only" not in str(error.value)  # torch's advice to execute it after all
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"text", None], ids=["empty", "text", "cut short"])
def test_a_file_that_is_no_checkpoint(files, tmp_path, content):
    file, config, _ = files
    file.write_bytes(file.read_bytes()[:5000] if content is None else content)
    with pytest.raises(ValueError, match=r"checkpoint_100\.pth\.tar is no"):
        convert(file, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def test_no_bytes_break_it(files, tmp_path):
    whole, draw = files[0].read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole[: int(draw.integers(1, 3000))] if draw.random() < 0.5 else draw.bytes(60))
        content[int(draw.integers(len(content)))] ^= 255
        files[0].write_bytes(content)
        with pytest.raises(ValueError, match=r"is no|no state_dict"):
            convert(files[0], tmp_path / "out", files[1])


@pytest.mark.parametrize("content", [{}, {"epoch": 1}, [1, 2], {"state_dict": {}}, {"state_dict": {"a": 1}}], ids=str)
def test_a_checkpoint_without_a_state_dict(files, tmp_path, content):
    with pytest.raises(ValueError, match="holds no state_dict of tensors"):
        convert(write(tmp_path / "other.tar", content), tmp_path / "out", files[1])


@pytest.mark.parametrize(
    "content,sentence",
    [
        ({"state_dict": {1: torch.ones(2)}}, "holds no state_dict of tensors"),
        ({"fc.weight": torch.tensor(3.0)}, "does not fit the model"),
    ],
    ids=str,
)
def test_tensors_that_are_no_model(files, tmp_path, content, sentence):
    with pytest.raises(ValueError, match=sentence):
        convert(write(tmp_path / "other.tar", content), tmp_path / "out", files[1])


def test_other_bad_input(files, tmp_path, script):
    file, config, _ = files
    with pytest.raises(InputError, match="does not exist; give a checkpoint file"):
        convert(tmp_path / "none", tmp_path / "out", config)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(ValueError, match="give a new folder"):
        convert(file, tmp_path / "full", config)
    # Another size of model than the file's: the sentence says so, and the process ends with status 1.
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**config_fields(TEST_SIZES), "projection_size": 8}))
    done = script("convert_original_checkpoint", file, tmp_path / "out", "--model_config", other, check=2)
    assert "has shape (16, 32), not (8, 32)" in done.stderr
    assert "Traceback" not in done.stderr
