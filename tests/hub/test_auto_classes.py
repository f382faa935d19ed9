# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The Auto classes after `import modeling_simfle`."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, AutoModelForPreTraining
from transformers.models.auto.image_processing_auto import AutoImageProcessor

import modeling_simfle
from tests.tiny import FIELDS, tiny_config


def test_auto_config_and_models_from_a_config():
    config = AutoConfig.for_model("simfle", **FIELDS)
    assert type(config) is modeling_simfle.SimFLEConfig
    assert type(AutoModel.from_config(config)) is modeling_simfle.SimFLEModel
    assert type(AutoModelForPreTraining.from_config(config)) is modeling_simfle.SimFLEForPreTraining
    classifier = AutoModelForImageClassification.from_config(config)
    assert type(classifier) is modeling_simfle.SimFLEForImageClassification


@pytest.mark.parametrize("with_auto_map", [True, False])
def test_auto_classes_from_a_folder_resolve_to_the_package(tmp_path, with_auto_map):
    model = modeling_simfle.SimFLEForPreTraining(tiny_config())
    model.save_pretrained(tmp_path)
    modeling_simfle.SimFLEImageProcessor(size=64).save_pretrained(tmp_path)
    if not with_auto_map:
        for path in tmp_path.glob("*.py"):
            path.unlink()
    assert type(AutoConfig.from_pretrained(tmp_path)) is modeling_simfle.SimFLEConfig
    assert type(AutoModel.from_pretrained(tmp_path)) is modeling_simfle.SimFLEModel
    assert type(AutoModelForPreTraining.from_pretrained(tmp_path)) is modeling_simfle.SimFLEForPreTraining
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is modeling_simfle.SimFLEImageProcessor
    encoder = AutoModel.from_pretrained(tmp_path)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(encoder(images).pooler_output, model.eval().encoder(images).pooler_output)
