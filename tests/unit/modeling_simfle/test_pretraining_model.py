# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""SimFLEForPreTraining: initial values, who learns from which loss, frozen parts, EMA, passes, precision, errors."""

import copy
import math

import accelerate
import pytest
import torch
from torch import nn

from modeling_simfle import SimFLEForPreTraining
from modeling_simfle.modeling_simfle import channel_similarity, grouping_loss
from tests.tiny import FIELDS, tiny_config, tiny_inputs

LOSSES = ("similarity_loss", "reconstruction_loss", "distillation_loss", "grouping_loss")
PARTS = (
    "encoder",
    "projector",
    "predictor",
    "target_encoder",
    "target_projector",
    "channel_grouping",
    "facemae.encoder",
    "facemae.decoder",
    "global_distillation_head",
    "local_distillation_head",
)
# Which loss reaches which part; a part that is not named receives none.
REACHES = {
    "similarity_loss": {"encoder", "projector", "predictor"},
    "reconstruction_loss": {"facemae.encoder", "facemae.decoder"},
    "distillation_loss": {
        "encoder",
        "facemae.encoder",
        "global_distillation_head",
        "local_distillation_head",
    },
    "grouping_loss": {"channel_grouping"},
}


def make_model(**fields) -> SimFLEForPreTraining:
    torch.manual_seed(0)
    return SimFLEForPreTraining(tiny_config(**fields)).train()


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_flow_table(loss):
    model = make_model()
    getattr(model(**tiny_inputs()), loss).backward()
    reached = {part for part in PARTS if any_gradient(model.get_submodule(part))}
    assert reached == REACHES[loss]


def any_gradient(module: nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters())


def test_every_trained_parameter_gets_a_gradient_of_the_total():
    model = make_model()
    model(**tiny_inputs()).loss.backward()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


def test_total_is_the_weighted_sum():
    model = make_model(distillation_loss_weight=0.7, grouping_loss_weight=0.2)
    output = model(**tiny_inputs())
    total = output.similarity_loss + output.reconstruction_loss
    total = total + 0.7 * output.distillation_loss + 0.2 * output.grouping_loss
    torch.testing.assert_close(output.loss, total)


def test_frozen_parameters_are_the_target_and_the_tables_also_after_loading(tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path)
    for one in (model, SimFLEForPreTraining.from_pretrained(tmp_path)):
        frozen = {name for name, p in one.named_parameters() if not p.requires_grad}
        expected = {n for n, _ in one.named_parameters() if n.startswith("target_") or "position_table" in n}
        assert frozen == expected


def test_update_target_is_the_formula_on_parameters_and_leaves_buffers():
    model = make_model(ema_decay=0.9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    before = copy.deepcopy(model)
    model.update_target()
    for target, online in (("target_encoder", "encoder"), ("target_projector", "projector")):
        news, olds = model.get_submodule(target), before.get_submodule(target)
        sources = before.get_submodule(online)
        for new, old, source in zip(news.parameters(), olds.parameters(), sources.parameters(), strict=True):
            torch.testing.assert_close(new, 0.9 * old + 0.1 * source)
        for new, old in zip(news.buffers(), olds.buffers(), strict=True):
            assert torch.equal(new, old)
    for name, parameter in model.named_parameters():
        if not name.startswith("target_"):
            assert torch.equal(parameter, before.get_parameter(name)), name


def test_update_target_refuses_half_precision():
    with pytest.raises(ValueError, match=r"cannot follow weights of torch\.bfloat16"):
        make_model().bfloat16().update_target()


def test_target_starts_as_a_copy():
    model = make_model()
    for target, online in (("target_encoder", "encoder"), ("target_projector", "projector")):
        ours, theirs = model.get_submodule(target).state_dict(), model.get_submodule(online).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert model.target_encoder is not model.encoder


def test_passes_see_batch_norm_one_view_at_a_time_in_order():
    model, inputs, seen = make_model(), tiny_inputs(), []
    for name in ("encoder", "target_encoder", "projector", "predictor", "target_projector", "global_distillation_head"):
        model.get_submodule(name).register_forward_pre_hook(lambda m, args, n=name: seen.append((n, args[0])))
    model(**inputs)
    images = [(name, x) for name, x in seen if name.endswith("encoder")]
    expected = [
        ("encoder", "view_1_pixel_values"),
        ("encoder", "view_2_pixel_values"),
        ("target_encoder", "view_1_pixel_values"),
        ("target_encoder", "view_2_pixel_values"),
        ("encoder", "pixel_values"),
    ]
    assert [name for name, _ in images] == [name for name, _ in expected]
    assert all(torch.equal(x, inputs[key]) for (_, x), (_, key) in zip(images, expected, strict=True))
    heads = [name for name, _ in seen if not name.endswith("encoder")]
    assert {name: heads.count(name) for name in set(heads)} == dict.fromkeys(set(heads), 2)
    assert model.encoder.resnet.embedder.embedder.normalization.num_batches_tracked == 3
    assert model.target_encoder.resnet.embedder.embedder.normalization.num_batches_tracked == 2
    assert model.projector.norm.num_batches_tracked == 2
    assert model.channel_grouping.norm.num_batches_tracked == 1


def test_initial_values():
    torch.manual_seed(0)
    fields = {"hidden_sizes": [64, 64, 64, 256], "projection_hidden_size": 512, "facemae_hidden_size": 128}
    model = SimFLEForPreTraining(tiny_config(**fields, grouping_initializer="constant"))
    assert model.channel_grouping.convolution.weight.eq(1).all()
    torch.testing.assert_close(model.channel_grouping.convolution.bias, torch.full((256,), 0.1))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
            assert module.weight.eq(1).all()
            assert module.bias.eq(0).all()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-5, 0.1)
    deviations = {
        # kaiming normal, fan out: sqrt(2 / (out * k * k))
        "encoder.resnet.encoder.stages.3.layers.0.layer.0.convolution.weight": math.sqrt(2 / (256 * 9)),
        # PyTorch's own linear: uniform(-1 / sqrt(in), 1 / sqrt(in))
        "projector.hidden.weight": 1 / math.sqrt(3 * 256),
        "projector.hidden.bias": 1 / math.sqrt(3 * 256),
        # xavier uniform: deviation sqrt(2 / (in + out)), query, key and value as one matrix
        "facemae.encoder.blocks.0.qkv.weight": math.sqrt(2 / (128 + 384)),
        "facemae.encoder.patch_embedding.weight": math.sqrt(2 / (3 * 256 + 128)),
        "facemae.encoder.patch_embedding.bias": 1 / math.sqrt(3 * 3 * 256),
        "facemae.encoder.class_token.weight": 0.02,
    }
    for name, deviation in deviations.items():
        assert model.get_parameter(name).std().item() == pytest.approx(deviation, rel=0.15), name
    assert model.facemae.encoder.blocks[0].qkv.bias.eq(0).all()
    assert model.facemae.decoder.prediction.bias.eq(0).all()
    assert model.facemae.decoder.mask_token.weight.abs().sum() > 0


def test_normal_grouping_start():
    model = SimFLEForPreTraining(tiny_config(hidden_sizes=[8, 8, 8, 256], grouping_initializer="normal"))
    assert model.channel_grouping.convolution.weight.std().item() == pytest.approx(1 / 16, rel=0.05)
    assert model.channel_grouping.convolution.bias.eq(0).all()


def test_masks_and_reconstructions_without_views_in_eval_and_no_grad():
    model, inputs = make_model().eval(), tiny_inputs()
    with torch.no_grad():
        output = model(inputs["pixel_values"], group_ids=inputs["group_ids"])
    assert (output.loss, output.similarity_loss, output.distillation_loss) == (None, None, None)
    assert output.logits.shape == (4, 16, 16 * 16 * 3)
    assert output.latent.shape == (4, 5, 16)
    assert output.mask.shape == output.ids_restore.shape == output.patch_scores.shape == (4, 16)
    assert output.reconstruction_loss.ndim == output.grouping_loss.ndim == 0
    ranks = output.patch_scores.argsort(dim=1, descending=True, stable=True)
    assert torch.equal(output.ids_restore, ranks.argsort(1))
    assert model.unpatchify(output.logits, inputs["pixel_values"]).shape == (4, 3, 64, 64)
    one = model(inputs["pixel_values"][:1])  # one image will do in eval mode
    assert one.logits.shape[0] == 1


def test_group_ids_are_drawn_from_torchs_default_generator():
    model, inputs = make_model().eval(), tiny_inputs(64)
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(model(inputs["pixel_values"]).group_ids)
    assert torch.equal(*drawn)
    assert set(drawn[0].tolist()) == {0, 1, 2, 3}


def test_random_masking_ranks_the_patches_by_noise():
    model, inputs = make_model(masking="random").eval(), tiny_inputs()
    noise = torch.rand(4, 16)
    output = model(**inputs, noise=noise)
    assert torch.equal(output.patch_scores, make_model().eval()(**inputs).patch_scores)  # the drawn group's, as ever
    visible = (output.mask == 0).nonzero()[:, 1].view(4, 4).sort(1).values
    assert torch.equal(visible, noise.topk(4, 1).indices.sort(1).values)
    assert output.mask.sum(1).eq(12).all()


def test_without_the_local_branch_the_loss_is_the_similarity_loss():
    model, inputs = make_model(use_local_branch=False), tiny_inputs()
    assert {name for name, _ in model.named_children()} == {
        "encoder",
        "projector",
        "predictor",
        "target_encoder",
        "target_projector",
    }
    output = model(**inputs)
    assert torch.equal(output.loss, output.similarity_loss)
    assert output.mask is None
    views = {name: inputs[name] for name in ("view_1_pixel_values", "view_2_pixel_values")}
    assert model.eval()(**views).loss is not None


def test_similarity_loss_does_not_depend_on_the_local_branch():
    inputs = tiny_inputs()
    both, alone = make_model().eval(), make_model(use_local_branch=False).eval()
    alone.load_state_dict({k: v for k, v in both.state_dict().items() if k in alone.state_dict()})
    assert torch.equal(both(**inputs).similarity_loss, alone(**inputs).loss)


def test_similarity_and_grouping_loss_are_float32_under_autocast():
    maps = torch.rand(3, 8, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        found, loss = channel_similarity(maps), grouping_loss(maps, 4)
    assert torch.equal(found, channel_similarity(maps))
    assert torch.equal(loss, grouping_loss(maps, 4))


def test_autocast_keeps_scores_and_losses_in_float32():
    model, inputs = make_model(), tiny_inputs()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**inputs)
    for name in ("loss", *LOSSES, "patch_scores"):
        assert getattr(output, name).dtype == torch.float32, name
    assert output.logits.dtype == torch.bfloat16
    output.loss.backward()


def test_gradient_checkpointing_gives_equal_gradients():
    inputs, gradients = tiny_inputs(), []
    for checkpointing in (False, True):
        model = make_model()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.is_gradient_checkpointing
        model(**inputs).loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        assert model.encoder.resnet.embedder.embedder.normalization.num_batches_tracked == 3
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], msg=name)
    with pytest.raises(ValueError, match="SimFLEForPreTraining does not support"):
        make_model(use_local_branch=False).gradient_checkpointing_enable()


def test_offloaded_parts_come_when_they_are_called(tmp_path):
    model, inputs = make_model().eval(), tiny_inputs()
    with torch.no_grad():
        expected = model(**inputs)
        output = accelerate.disk_offload(model, str(tmp_path), execution_device="cpu")(**inputs)
    for name in ("loss", *LOSSES, "logits"):
        assert torch.equal(getattr(output, name), getattr(expected, name)), name


def test_weights_without_a_place_are_named(tmp_path):
    make_model().save_pretrained(tmp_path)
    fields = {"facemae_num_hidden_layers": FIELDS["facemae_num_hidden_layers"] - 1}
    _, found = SimFLEForPreTraining.from_pretrained(tmp_path, **fields, output_loading_info=True)
    last = f"facemae.encoder.blocks.{fields['facemae_num_hidden_layers']}."
    assert found["unexpected_keys"] and all(name.startswith(last) for name in found["unexpected_keys"])


@pytest.mark.parametrize(
    "change,sentence",
    [
        ({"view_2_pixel_values": None}, "One view is missing: give both"),
        ({"pixel_values": None}, "shape None, but the origin must be"),
        ({"pixel_values": torch.zeros(4, 3, 48, 48)}, r"\(4, 3, 48, 48\), but the origin must be \(batch, 3, 64, 64\)"),
        ({"pixel_values": torch.zeros(3, 3, 64, 64)}, "batch sizes differ"),
        ({"view_1_pixel_values": torch.zeros(4, 1, 64, 64)}, r"\(4, 1, 64, 64\)"),
        ({"group_ids": torch.tensor([0, 1, 2, 4])}, r"must lie in \[0, 4\)"),
        ({"group_ids": torch.tensor([0, 1, 2, -1])}, r"must lie in \[0, 4\)"),
        ({"group_ids": torch.zeros(4)}, "int64"),
        ({"group_ids": torch.zeros(3, dtype=torch.int64)}, "an image"),
    ],
)
def test_bad_input_is_a_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_model()(**{**tiny_inputs(), **change})


def test_batch_of_one_cannot_train():
    with pytest.raises(ValueError, match="BatchNorm needs at least 2 images"):
        make_model()(**tiny_inputs(1))
    with pytest.raises(ValueError, match="leaves nothing to compute without views"):
        make_model(use_local_branch=False)(tiny_inputs()["pixel_values"])
