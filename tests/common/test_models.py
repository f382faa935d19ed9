# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What every Transformers model must do, for the three classes."""

import json

import pytest
import torch
from safetensors import safe_open

from modeling_simfle import SimFLEForImageClassification, SimFLEForPreTraining, SimFLEModel
from tests.tiny import tiny_config, tiny_inputs

MODELS = (SimFLEModel, SimFLEForPreTraining, SimFLEForImageClassification)
KEYS = {
    SimFLEModel: ["last_hidden_state", "pooler_output"],
    SimFLEForImageClassification: ["logits"],
    SimFLEForPreTraining: [
        "loss",
        "similarity_loss",
        "reconstruction_loss",
        "distillation_loss",
        "grouping_loss",
        "logits",
        "mask",
        "ids_restore",
        "patch_scores",
        "group_ids",
        "latent",
    ],
}


@pytest.fixture(params=MODELS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


def make(kind, **fields):
    torch.manual_seed(0)
    return kind(tiny_config(**fields)).eval()


def inputs_of(kind, dtype=torch.float32):
    inputs = tiny_inputs(dtype=dtype)
    return inputs if kind is SimFLEForPreTraining else {"pixel_values": inputs["pixel_values"]}


def run(model, dtype=torch.float32):
    with torch.no_grad():
        return model(**inputs_of(type(model), dtype))


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_save_and_load_are_equal(kind, tmp_path):
    model = make(kind)
    model.save_pretrained(tmp_path)
    again, info = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert_equal(run(model), run(again))
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [kind.__name__]
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl")] == []
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(model.state_dict())


def test_sharded_save_and_load_are_equal(kind, tmp_path):
    model = make(kind)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert_equal(run(model), run(kind.from_pretrained(tmp_path)))


def test_eval_is_deterministic(kind):
    model = make(kind)
    assert_equal(run(model), run(model))


def test_same_seed_same_weights(kind):
    one, other = make(kind).state_dict(), make(kind).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_dict_and_tuple_outputs(kind):
    model, inputs = make(kind), inputs_of(kind)
    with torch.no_grad():
        named, plain = model(**inputs), model(**inputs, return_dict=False)
    assert list(named.keys()) == KEYS[kind]
    assert isinstance(plain, tuple)
    assert all(torch.equal(a, b) for a, b in zip(named.to_tuple(), plain, strict=True))


def test_tuples_by_the_configuration(kind, tmp_path):
    model = make(kind)
    model.save_pretrained(tmp_path)
    plain = run(kind.from_pretrained(tmp_path, return_dict=False))
    assert isinstance(plain, tuple)
    assert len(plain) == len(KEYS[kind])


@pytest.mark.parametrize(
    "fields",
    [{"masking": "Random"}, {"grouping_initializer": "Constant"}, {"mask_ratio": 1.0}, {"num_channel_groups": 5}],
    ids=str,
)
def test_fields_set_behind_the_constructor_are_checked(kind, tmp_path, fields):
    make(kind).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=next(iter(fields))):
        kind.from_pretrained(tmp_path, **fields)


def test_hidden_states_on_request(kind):
    if kind is SimFLEForPreTraining:
        return
    output = make(kind)(tiny_inputs()["pixel_values"], output_hidden_states=True)
    assert [tuple(x.shape[1:]) for x in output.hidden_states][-1] == (32, 2, 2)
    assert len(output.hidden_states) == 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(kind, tmp_path, dtype):
    model = make(kind)
    model.save_pretrained(tmp_path)
    output = run(kind.from_pretrained(tmp_path, dtype=dtype), dtype)
    main = output[0] if kind is not SimFLEForPreTraining else output.logits
    assert main.dtype == dtype
    assert main.isfinite().all()
    if kind is SimFLEForPreTraining:
        assert output.loss.dtype == (torch.float32 if dtype == torch.bfloat16 else dtype)


def test_built_on_the_meta_device(kind):
    with torch.device("meta"):
        model = kind(tiny_config())
    assert {p.device.type for p in model.parameters()} == {"meta"}
    model.load_state_dict(make(kind).state_dict(), assign=True)
    assert_equal(run(model.eval()), run(make(kind)))


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}], ids=str)
def test_device_map(kind, tmp_path, device_map):
    model = make(kind)
    model.save_pretrained(tmp_path)
    assert_equal(run(model), run(kind.from_pretrained(tmp_path, device_map=device_map)))


def test_parts_of_a_state_dict_fit_each_other():
    base = {f"encoder.{name}" for name in make(SimFLEModel).state_dict()}
    classifier, pretraining = (
        set(make(kind).state_dict()) for kind in (SimFLEForImageClassification, SimFLEForPreTraining)
    )
    assert classifier == base | {"classifier.weight", "classifier.bias"}
    assert base < pretraining


@pytest.mark.parametrize("saved", MODELS, ids=lambda kind: f"from_{kind.__name__}")
def test_one_checkpoint_serves_all(kind, saved, tmp_path):
    """Only what is really new is named as missing, nothing as unexpected."""
    model = make(saved)
    model.save_pretrained(tmp_path)
    again, info = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    had = {f"encoder.{n}" if saved is SimFLEModel else n for n in model.state_dict()}
    wanted = {f"encoder.{n}" if kind is SimFLEModel else n for n in again.state_dict()}
    missing = {f"encoder.{n}" if kind is SimFLEModel else n for n in info["missing_keys"]}
    assert missing == wanted - had
    encoders = [m if isinstance(m, SimFLEModel) else m.encoder for m in (model, again)]
    ours, theirs = (encoder.state_dict() for encoder in encoders)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    if kind is SimFLEForPreTraining and saved is not kind:  # the target of a loaded encoder is its copy
        target = again.target_encoder.state_dict()
        assert all(torch.equal(ours[name], target[name]) for name in ours)


def test_inputs_of_any_size_reach_the_encoder():
    model = make(SimFLEModel)
    assert model(torch.randn(2, 3, 96, 128)).last_hidden_state.shape == (2, 32, 3, 4)
    with pytest.raises(ValueError, match=r"\(2, 1, 64, 64\), but \(batch, 3, height, width\)"):
        model(torch.randn(2, 1, 64, 64))
