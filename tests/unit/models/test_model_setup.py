# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""load_weights: what every script that starts from a folder gets, and which folders are refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ResNetForImageClassification, ViTConfig, ViTForImageClassification

from modeling_simfle import SimFLEForImageClassification, SimFLEForPreTraining, SimFLEImageProcessor, SimFLEModel
from tests.tiny import tiny_config
from training import knn_probe, pretrain
from training.models.loading import load_weights


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    SimFLEForPreTraining(tiny_config()).save_pretrained(folder)
    SimFLEImageProcessor(size=64).save_pretrained(folder)
    return folder


@pytest.fixture
def without_encoder(run, tmp_path):
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(run / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("encoder.")}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_is_loaded_as_float32(run, tmp_path, dtype):
    SimFLEForPreTraining.from_pretrained(run).to(dtype).save_pretrained(tmp_path)
    for kind in (SimFLEModel, SimFLEForPreTraining):
        loaded, given = (load_weights(kind, folder).state_dict() for folder in (str(tmp_path), str(run)))
        for name, tensor in given.items():
            assert loaded[name].dtype == tensor.dtype
            torch.testing.assert_close(loaded[name], tensor.to(dtype).to(tensor.dtype))


def test_the_encoder_is_found_in_every_kind_of_folder(run, tmp_path):
    encoder = load_weights(SimFLEModel, str(run))
    classifier = SimFLEForImageClassification(tiny_config())
    classifier.encoder.load_state_dict(encoder.state_dict())
    classifier.save_pretrained(tmp_path / "classifier")
    classifier.to_resnet().save_pretrained(tmp_path / "plain")
    assert isinstance(ResNetForImageClassification.from_pretrained(tmp_path / "plain"), ResNetForImageClassification)
    for name in ("classifier", "plain"):
        found = load_weights(SimFLEModel, str(tmp_path / name)).state_dict()
        assert all(torch.equal(found[key], tensor) for key, tensor in encoder.state_dict().items())


def test_missing_weights_are_refused(run, without_encoder, tmp_path):
    with pytest.raises(ValueError, match=r"lacks \d+ weights of a SimFLEModel, resnet.* among them; give a folder"):
        load_weights(SimFLEModel, str(without_encoder))
    with pytest.raises(ValueError, match=r"lacks \d+ weights of a SimFLEForPreTraining, encoder"):
        load_weights(SimFLEForPreTraining, str(without_encoder), needed="encoder.")
    encoder_alone, other = tmp_path / "encoder", tmp_path / "vit"
    load_weights(SimFLEModel, str(run)).save_pretrained(encoder_alone)
    load_weights(SimFLEForPreTraining, str(encoder_alone), needed="encoder.")  # its other parts may be new
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    ViTForImageClassification(ViTConfig(image_size=32, **small)).save_pretrained(other)
    with pytest.raises(ValueError, match=r"lacks .* weights of a SimFLEModel"):
        load_weights(SimFLEModel, str(other))


def test_counts_of_batches_may_be_missing(run, tmp_path):
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(run / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
    assert len(kept) < len(weights)
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    load_weights(SimFLEModel, str(tmp_path))


def test_scripts_refuse_them_before_anything_is_measured(without_encoder, faces, pretraining_flags, tmp_path):
    with pytest.raises(ValueError, match="weights of a SimFLEModel"):
        knn_probe.main(["--model", str(without_encoder), "--dataset", str(faces), "--output_dir", str(tmp_path / "o")])
    flags = list(map(str, pretraining_flags))
    at = flags.index("--model_config")
    flags[at : at + 2] = ["--model", str(without_encoder)]
    with pytest.raises(ValueError, match="weights of a SimFLEForPreTraining"):
        pretrain.main([*flags, "--output_dir", str(tmp_path / "p")])


def test_an_unknown_config_field_and_damaged_weights_are_named(run, tmp_path):
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((run / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "foo_bar": 1}))
    with pytest.raises(ValueError, match="unknown config field foo_bar"):
        load_weights(SimFLEModel, str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ValueError, match="its weights are cut off or damaged"):
        load_weights(SimFLEModel, str(tmp_path))
    (tmp_path / "metrics.json").write_text(json.dumps({"weights_sha256": {"model.safetensors": "0" * 64}}))
    with pytest.raises(ValueError, match=r"model\.safetensors is not the file whose hash stands in metrics\.json"):
        load_weights(SimFLEModel, str(tmp_path))
