# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""FaceMAE: which patches stay, the sin-cos tables, the order of patches, the blocks against torch's own."""

import math

import pytest
import torch
from torch.nn import functional as F

from modeling_simfle import SimFLEForPreTraining
from modeling_simfle.facemae_simfle import FaceMAEBlock, patchify, semantic_mask, sincos_position_table, unpatchify
from tests.tiny import tiny_config, tiny_inputs


def test_exactly_the_highest_scoring_patches_stay():
    scores = torch.randn(20, 49, generator=torch.Generator().manual_seed(0))
    mask, ids_keep, ids_restore = semantic_mask(scores, 12)
    assert mask.sum(1).eq(37).all()
    for row in range(20):
        highest = set(scores[row].topk(12).indices.tolist())
        assert set((mask[row] == 0).nonzero().flatten().tolist()) == highest == set(ids_keep[row].tolist())
    shuffled = torch.cat([torch.zeros(20, 12), torch.ones(20, 37)], 1)
    assert torch.equal(shuffled.gather(1, ids_restore), mask)


def test_ties_go_to_the_lower_index():
    scores = torch.tensor([[0.0, 3, 0, 3, 0, 0], [0.0] * 6])
    mask, ids_keep, _ = semantic_mask(scores, 3)
    assert ids_keep.tolist() == [[1, 3, 0], [0, 1, 2]]
    assert mask.tolist() == [[0, 0, 1, 0, 1, 1], [0, 0, 0, 1, 1, 1]]


@pytest.mark.parametrize("width,grid", [(16, 4), (768, 7), (512, 7)])
def test_position_table_equals_the_formula(width, grid):
    table = sincos_position_table(width, grid)[0]
    assert table.dtype == torch.float64
    assert table.shape == (1 + grid * grid, width)
    assert table[0].eq(0).all()
    quarter = width // 4
    for row, column, i in [(0, 0, 0), (1, 2, 1), (grid - 1, 0, quarter - 1), (2, grid - 1, quarter // 2)]:
        frequency = 10000 ** (-i / quarter)
        expected = [f(p * frequency) for p in (column, row) for f in (math.sin, math.cos)]
        values = table[1 + row * grid + column][[i, quarter + i, 2 * quarter + i, 3 * quarter + i]]
        torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loaded", [False, True])
def test_tables_hold_the_formula_and_are_frozen_also_after_loading(tmp_path, loaded):
    model = SimFLEForPreTraining(tiny_config())
    if loaded:
        model.save_pretrained(tmp_path)
        model = SimFLEForPreTraining.from_pretrained(tmp_path)
    for part, width in ((model.facemae.encoder, 16), (model.facemae.decoder, 8)):
        weight = part.position_table.weight
        torch.testing.assert_close(weight, sincos_position_table(width, 4).float(), rtol=0, atol=0)
        assert weight.abs().sum() > 1
        assert not weight.requires_grad


def test_patches_are_row_major_and_colour_is_fastest():
    image = torch.arange(3 * 4 * 4).reshape(1, 3, 4, 4)  # value = colour * 16 + row * 4 + column
    patches = patchify(image, 2)
    assert patches[0, 1].tolist() == [2, 18, 34, 3, 19, 35, 6, 22, 38, 7, 23, 39]
    assert torch.equal(unpatchify(patches, 2), image)


def test_unpatchify_undoes_norm_pix_loss():
    model, inputs = SimFLEForPreTraining(tiny_config()).eval(), tiny_inputs()
    origin = inputs["pixel_values"].double()
    patches = patchify(origin, 16)
    perfect = (patches - patches.mean(2, keepdim=True)) / (patches.var(2, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(model.unpatchify(perfect, origin), origin, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="pass the origin"):
        model.unpatchify(perfect)
    plain = SimFLEForPreTraining(tiny_config(norm_pix_loss=False)).eval()
    torch.testing.assert_close(plain.unpatchify(patches), origin, rtol=0, atol=0)


def test_removed_patches_do_not_reach_the_latent():
    model, inputs = SimFLEForPreTraining(tiny_config()).eval(), tiny_inputs()
    with torch.no_grad():
        output = model(inputs["pixel_values"], group_ids=inputs["group_ids"])
        ids_keep = output.ids_restore.argsort(1)[:, :4]
        removed = output.mask.bool().unflatten(1, (4, 4))[:, None].repeat_interleave(16, 2).repeat_interleave(16, 3)
        changed = torch.where(removed, torch.randn_like(inputs["pixel_values"]), inputs["pixel_values"])
        logits, latent = model.facemae(changed, ids_keep, output.ids_restore)
    torch.testing.assert_close(latent, output.latent)
    torch.testing.assert_close(logits, output.logits)


def test_block_equals_torchs_pre_norm_layer():
    torch.manual_seed(0)
    block = FaceMAEBlock(16, 4, 32, 1e-6).double()
    theirs = torch.nn.TransformerEncoderLayer(
        16, 4, 32, dropout=0, activation=F.gelu, layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).double()
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": block.qkv.weight,
            "self_attn.in_proj_bias": block.qkv.bias,
            "self_attn.out_proj.weight": block.attention_output.weight,
            "self_attn.out_proj.bias": block.attention_output.bias,
            "linear1.weight": block.mlp_input.weight,
            "linear1.bias": block.mlp_input.bias,
            "linear2.weight": block.mlp_output.weight,
            "linear2.bias": block.mlp_output.bias,
            "norm1.weight": block.attention_norm.weight,
            "norm1.bias": block.attention_norm.bias,
            "norm2.weight": block.mlp_norm.weight,
            "norm2.bias": block.mlp_norm.bias,
        }
    )
    tokens = torch.randn(2, 5, 16, dtype=torch.float64)
    torch.testing.assert_close(block(tokens), theirs(tokens), rtol=1e-10, atol=1e-12)
