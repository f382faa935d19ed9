# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What a save leaves in a folder: code, entries, hashes, labels."""

import copy
import json
import shutil

import pytest
import torch

from modeling_simfle import (
    SimFLEConfig,
    SimFLEForImageClassification,
    SimFLEForPreTraining,
    SimFLEImageProcessor,
    SimFLEModel,
)
from modeling_simfle import hub_folder_simfle as hub_folder
from modeling_simfle.hub_folder_simfle import CODE_FILES, STALE_METRICS, check_weights, weights_sha256
from tests.tiny import tiny_config


def config_of(folder) -> dict:
    return json.loads((folder / "config.json").read_text())


def test_a_classifiers_folder_names_the_pipeline_and_the_others_do_not(tmp_path):
    classifier = SimFLEForImageClassification(tiny_config())
    for name, save in (("model", classifier.save_pretrained), ("config", classifier.config.save_pretrained)):
        save(tmp_path / name)
        assert config_of(tmp_path / name)["custom_pipelines"] == hub_folder.CUSTOM_PIPELINES
        assert set(CODE_FILES) <= {path.name for path in (tmp_path / name).iterdir()}
    for kind in (SimFLEModel, SimFLEForPreTraining):
        kind.from_pretrained(tmp_path / "model").save_pretrained(tmp_path / kind.__name__)
        assert "custom_pipelines" not in config_of(tmp_path / kind.__name__)
    # What fine-tuning does: a classifier from a pretraining folder, its config saved alone.
    SimFLEForImageClassification.from_pretrained(tmp_path / "SimFLEForPreTraining").config.save_pretrained(tmp_path)
    assert "custom_pipelines" in config_of(tmp_path)


def test_files_come_from_the_source_and_entries_go_where_they_cannot_be_had(tmp_path, monkeypatch):
    """This file alone in a module cache: its siblings come from the source, or the entries go."""
    SimFLEForImageClassification(tiny_config()).save_pretrained(tmp_path / "source")
    (tmp_path / "cache").mkdir()
    shutil.copy(hub_folder.__file__, tmp_path / "cache")
    monkeypatch.setattr(hub_folder, "__file__", str(tmp_path / "cache" / "hub_folder_simfle.py"))
    config = SimFLEConfig.from_pretrained(tmp_path / "source")
    config._name_or_path = str(tmp_path / "source")
    config.save_pretrained(tmp_path / "again")
    assert config_of(tmp_path / "again") == config_of(tmp_path / "source")
    assert set(CODE_FILES) <= {path.name for path in (tmp_path / "again").iterdir()}
    config._name_or_path = str(tmp_path / "gone")
    config.save_pretrained(tmp_path / "bare")
    assert not {"auto_map", "custom_pipelines"} & set(config_of(tmp_path / "bare"))


def test_metrics_of_other_weights_are_set_aside_when_saving(tmp_path, caplog):
    model = SimFLEForImageClassification(tiny_config())
    model.save_pretrained(tmp_path)
    metrics = json.dumps({"accuracy": 0.5, "weights_sha256": weights_sha256(tmp_path)})
    (tmp_path / "metrics.json").write_text(metrics)
    model.save_pretrained(tmp_path)  # the same weights
    model.config.save_pretrained(tmp_path)
    assert (tmp_path / "metrics.json").read_text() == metrics
    torch.nn.init.ones_(model.classifier.weight)
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "metrics.json").exists() and (tmp_path / STALE_METRICS).read_text() == metrics
    check_weights(tmp_path)
    (tmp_path / "metrics.json").write_text('{"accuracy": 0.5}')  # one without hashes stays
    model.save_pretrained(tmp_path)
    assert (tmp_path / "metrics.json").exists()


def test_metrics_of_other_preprocessing_are_set_aside_when_saving(tmp_path):
    """Of the same weights: the processor, a stale file twice, a file of macOS beside the weights."""
    model, processor = SimFLEForImageClassification(tiny_config()), SimFLEImageProcessor(size=64)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    (tmp_path / "._model.safetensors").write_bytes(b"\0\5\x16\7")
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    metrics = json.dumps({"weights_sha256": weights_sha256(tmp_path), "preprocessing": settings})
    for other in ({"size": 96}, {"do_grayscale": True, "image_mean": 0.5, "image_std": 0.2}, {"image_std": [0.3] * 3}):
        (tmp_path / "metrics.json").write_text(metrics)
        model.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        check_weights(tmp_path)
        assert (tmp_path / "metrics.json").read_text() == metrics
        SimFLEImageProcessor(**{"size": 64, **other}).save_pretrained(tmp_path)
        assert not (tmp_path / "metrics.json").exists() and (tmp_path / STALE_METRICS).read_text() == metrics
        processor.save_pretrained(tmp_path)


def test_other_weights_are_an_error_where_it_is_asked_for_and_a_warning_on_loads(tmp_path, monkeypatch):
    from modeling_simfle import modeling_simfle

    SimFLEForImageClassification(tiny_config()).save_pretrained(tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps({"weights_sha256": {"model.safetensors": "0" * 64}}))
    with pytest.raises(ValueError, match=r"model\.safetensors is not the file whose hash stands in metrics\.json"):
        check_weights(tmp_path)
    said = []
    monkeypatch.setattr(modeling_simfle.logger, "warning", said.append)
    SimFLEForImageClassification.from_pretrained(tmp_path)
    assert len(said) == 1 and "model.safetensors is not the file whose hash" in said[0]


def test_labels_given_alone_make_their_inverse(tmp_path):
    names = {0: "sad", 1: "glad"}
    SimFLEForImageClassification(tiny_config()).save_pretrained(tmp_path / "saved")
    for given in ({"id2label": names}, {"label2id": {name: i for i, name in names.items()}}):
        model = SimFLEForImageClassification.from_pretrained(tmp_path / "saved", **given)
        assert model.config.id2label == names and model.config.label2id == {"sad": 0, "glad": 1}
        model.save_pretrained(tmp_path / "again")
        again = SimFLEConfig.from_pretrained(tmp_path / "again")
        assert again.id2label == names and again.label2id == {"sad": 0, "glad": 1}


def labels_of(config) -> tuple[dict, dict]:
    return config.id2label, config.label2id


def test_names_and_numbers_of_labels_never_contradict_each_other(tmp_path):
    names, numbers = {0: "sad", 1: "glad"}, {"sad": 0, "glad": 1}
    for given in ({"id2label": names}, {"label2id": numbers}, {"label2id": {"sad": "0", "glad": "1"}}):
        assert labels_of(tiny_config(**given)) == (names, numbers)
    contradiction = {"id2label": names, "label2id": {"sad": 1, "glad": 0}}
    with pytest.raises(ValueError, match="contradicts id2label="):
        tiny_config(**contradiction)
    SimFLEForImageClassification(tiny_config(id2label=names)).save_pretrained(tmp_path)
    for other in (contradiction, {"id2label": names, "label2id": {"bad": 0, "mad": 1}}):
        with pytest.raises(ValueError, match="contradicts id2label="):
            SimFLEForImageClassification.from_pretrained(tmp_path, **other)
    model = SimFLEForImageClassification.from_pretrained(tmp_path, num_labels=2)
    assert labels_of(model.config) == (names, numbers)
    assert tiny_config(id2label={0: "same", 1: "same"}).label2id == {"same": 0}


@pytest.mark.parametrize("name", ["id2label", "label2id"])
def test_labels_that_are_set_before_a_save_are_saved_with_their_inverse(name, tmp_path):
    """A save with a contradiction keeps the weights: `id2label`, which the pipelines show, is taken."""
    model = SimFLEForImageClassification(tiny_config(id2label={0: "a", 1: "b"}))
    setattr(model.config, name, {0: "x", 1: "y"} if name == "id2label" else {"x": 0, "y": 1})
    model.save_pretrained(tmp_path)
    saved = config_of(tmp_path)
    assert saved["label2id"] == {label: int(number) for number, label in saved["id2label"].items()}
    SimFLEForImageClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({"torch_dtype": torch.float16}, torch.float16),
        ({"dtype": "auto"}, torch.float32),
        ({"device_map": "cpu"}, torch.float32),
        ({"device_map": "auto", "max_memory": {"cpu": "1GB"}}, torch.float32),
        ({"attn_implementation": "eager"}, torch.float32),
    ],
)
def test_options_of_loading_that_image_classifiers_take(options, dtype, tmp_path):
    SimFLEForImageClassification(tiny_config()).save_pretrained(tmp_path)
    model = SimFLEForImageClassification.from_pretrained(tmp_path, **options)
    assert model.dtype == dtype and not model.training
    assert model.num_parameters() == sum(p.numel() for p in model.parameters())
    assert model.get_output_embeddings() is None and model.base_model is model.encoder
    assert copy.deepcopy(model).config.to_dict() == model.config.to_dict()


def test_models_answer_what_image_classifiers_answer():
    model = SimFLEForImageClassification(tiny_config(id2label={0: "a", 1: "b", 2: "c"}))
    assert model.num_labels == 3
    for kind in (model, model.encoder, SimFLEForPreTraining(tiny_config())):
        assert kind.get_input_embeddings().weight.shape == (8, 3, 7, 7)


def test_int8_weights_by_torchao(tmp_path):
    quantization = pytest.importorskip("torchao.quantization", reason="no torchao")
    from transformers import TorchAoConfig

    torch.manual_seed(0)
    model, images = SimFLEForImageClassification(tiny_config()).eval(), torch.randn(2, 3, 64, 64)
    model.save_pretrained(tmp_path)
    config = TorchAoConfig(quantization.Int8WeightOnlyConfig())
    smaller = SimFLEForImageClassification.from_pretrained(tmp_path, quantization_config=config)
    with torch.no_grad():
        torch.testing.assert_close(smaller(images).logits, model(images).logits, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"temperature": 0.0}, r"temperature=0\.0 must be in \(0, inf\)"),
        ({"temperature": float("inf")}, "temperature=inf must be"),
        ({"class_prior": [0.1]}, r"class_prior=\[0\.1\] must hold one finite number for each of 2 classes"),
        ({"class_prior": [0.1, float("nan")]}, "must hold one finite number"),
    ],
)
def test_calibration_is_checked(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiny_config(**fields)


def test_calibration_travels(tmp_path):
    tiny_config(temperature=1.5, class_prior=[0.25, -0.25]).save_pretrained(tmp_path)
    config = SimFLEConfig.from_pretrained(tmp_path)
    assert (config.temperature, config.class_prior) == (1.5, [0.25, -0.25])
