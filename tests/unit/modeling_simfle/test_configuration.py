# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""SimFLEConfig: defaults of the paper, bad values met by the value, the range and the fix, saving."""

import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import ResNetConfig

from modeling_simfle import SimFLEConfig
from modeling_simfle.hub_folder_simfle import CODE_FILES
from tests.tiny import FIELDS, tiny_config


def test_defaults_are_the_papers():
    config = SimFLEConfig()
    assert (config.num_patches, config.num_visible_patches) == (49, 12)
    assert config.resnet_config().to_diff_dict() == ResNetConfig(num_labels=2).to_diff_dict()
    assert (config.num_channel_groups, config.ema_decay, config.distillation_temperature) == (32, 0.99, 4.0)
    assert (config.distillation_loss_weight, config.grouping_loss_weight) == (0.3, 0.03)


# (fields, what the sentence must hold: the value, the range, the fix)
BAD = [
    ({"num_channel_groups": 7}, ["num_channel_groups=7", "32 channels", "use a divisor of 32"]),
    ({"num_channel_groups": 0}, ["num_channel_groups=0", "at least 1"]),
    ({"mask_ratio": 0.0}, ["mask_ratio=0.0", "one visible and one masked patch of 16", "up to 0.937"]),
    ({"mask_ratio": 0.95}, ["mask_ratio=0.95", "one visible and one masked patch of 16", "up to 0.937"]),
    ({"mask_ratio": 1}, ["mask_ratio=1", "(0, 1)"]),
    ({"mask_ratio": -0.5}, ["mask_ratio=-0.5", "(0, 1)"]),
    ({"mask_ratio": float("nan")}, ["mask_ratio=nan", "(0, 1)"]),
    ({"facemae_image_size": 60}, ["facemae_image_size=60", "facemae_patch_size=16", "such as 64"]),
    ({"distillation_loss_weight": -0.1}, ["distillation_loss_weight=-0.1", "[0, inf)", "use 0"]),
    ({"grouping_loss_weight": float("nan")}, ["grouping_loss_weight=nan", "[0, inf)"]),
    ({"ema_decay": 1.5}, ["ema_decay=1.5", "[0, 1]", "0.99"]),
    ({"distillation_temperature": 0}, ["distillation_temperature=0", "(0, inf)", "positive"]),
    ({"layer_norm_eps": 0.0}, ["layer_norm_eps=0.0", "(0, inf)"]),
    ({"masking": "mixed"}, ["masking='mixed'", "semantic, random"]),
    ({"grouping_initializer": "zeros"}, ["grouping_initializer='zeros'", "constant, normal"]),
    ({"layer_type": "wide"}, ["layer_type='wide'", "basic, bottleneck"]),
    ({"hidden_act": "rely"}, ["hidden_act='rely'", "relu"]),
    ({"depths": [1, 1]}, ["depths=[1, 1]", "same number of stages"]),
    ({"hidden_sizes": [], "depths": []}, ["hidden_sizes=[]", "at least one"]),
    ({"depths": [1, 1, 0, 1]}, ["depths=[1, 1, 0, 1]", "at least 1"]),
    ({"layer_type": "bottleneck", "hidden_sizes": [6, 8, 8, 8]}, ["hidden_sizes=[6, 8, 8, 8]", "multiples of 4"]),
    ({"facemae_hidden_size": 18}, ["facemae_hidden_size=18", "multiple of 4"]),
    ({"decoder_num_attention_heads": 3}, ["decoder_hidden_size=8", "decoder_num_attention_heads=3"]),
    ({"projection_size": 0}, ["projection_size=0", "at least 1"]),
]


@pytest.mark.parametrize("fields,parts", BAD, ids=[str(fields) for fields, _ in BAD])
def test_bad_value_is_a_sentence_with_value_range_and_fix(fields, parts):
    with pytest.raises(ValueError, match="=") as error:
        tiny_config(**fields)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize("names", [["a", "b"], "a", {0: "a", 2: "b"}, {1: "a", 2: "b"}, {}, {0: "a", 1: {}}])
def test_class_names_are_numbered_from_0(names):
    with pytest.raises(ValueError, match="id2label"):
        tiny_config(id2label=names)


def test_names_of_classes_are_enough(tmp_path):
    config = SimFLEConfig(id2label={"0": "a", "1": "b"})
    assert (config.id2label, config.num_labels) == ({0: "a", 1: "b"}, 2)
    config.save_pretrained(tmp_path)
    assert SimFLEConfig.from_pretrained(tmp_path, label2id=None).id2label == {0: "a", 1: "b"}


@pytest.mark.parametrize("fields", [{"ema_decay": "0.9"}, {"num_channel_groups": 4.0}, {"norm_pix_loss": 1}])
def test_wrong_type_is_refused(fields):
    with pytest.raises(StrictDataclassError, match=next(iter(fields))):
        tiny_config(**fields)


def test_local_branch_fields_are_not_looked_at_without_it():
    assert not tiny_config(use_local_branch=False, num_channel_groups=7).use_local_branch


def test_saved_config_is_short_and_comes_back_equal(tmp_path):
    config = tiny_config(
        mask_ratio=0.5, id2label={0: "neutral", 1: "happiness"}, label2id={"neutral": 0, "happiness": 1}
    )
    config.save_pretrained(tmp_path)
    again = SimFLEConfig.from_pretrained(tmp_path)
    for name in {*FIELDS, "mask_ratio", "id2label", "label2id"}:
        assert getattr(again, name) == getattr(config, name), name
    saved = json.loads((tmp_path / "config.json").read_text())
    assert "projection_hidden_size" in saved
    assert saved["auto_map"]["AutoModel"] == "modeling_simfle.SimFLEModel"
    assert set(CODE_FILES) <= {path.name for path in tmp_path.iterdir()}
