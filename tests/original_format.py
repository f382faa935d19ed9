"""Checkpoints in the authors' format for tests, and the config fields that go with the oracle's sizes."""

import json
from pathlib import Path

import torch

from tests.oracle import Sizes, random_checkpoint


def config_fields(sizes: Sizes) -> dict:
    """SimFLEConfig's fields of the oracle's sizes."""
    return {
        "num_channels": sizes.num_channels,
        "embedding_size": sizes.embedding_size,
        "hidden_sizes": list(sizes.hidden_sizes),
        "depths": list(sizes.depths),
        "layer_type": sizes.layer_type,
        "num_channel_groups": sizes.num_channel_groups,
        "mask_ratio": sizes.mask_ratio,
        "norm_pix_loss": sizes.norm_pix_loss,
        "facemae_image_size": sizes.image_size,
        "facemae_patch_size": sizes.patch_size,
        "facemae_hidden_size": sizes.width,
        "facemae_num_hidden_layers": sizes.blocks,
        "facemae_num_attention_heads": sizes.heads,
        "facemae_intermediate_size": sizes.mlp_width,
        "decoder_hidden_size": sizes.decoder_width,
        "decoder_num_hidden_layers": sizes.decoder_blocks,
        "decoder_num_attention_heads": sizes.decoder_heads,
        "decoder_intermediate_size": sizes.decoder_mlp_width,
        "layer_norm_eps": sizes.layer_norm_eps,
        "projection_size": sizes.projection_size,
        "projection_hidden_size": sizes.projection_hidden_size,
        "ema_decay": sizes.ema_decay,
        "distillation_temperature": sizes.temperature,
        "distillation_loss_weight": sizes.distillation_weight,
        "grouping_loss_weight": sizes.grouping_weight,
    }


def write_checkpoint(folder: Path, sizes: Sizes, seed: int = 0, dtype=torch.float64) -> tuple[Path, Path, dict]:
    """A random checkpoint file, a config JSON, and the state dict in the file."""
    state_dict = random_checkpoint(sizes, seed, dtype)
    file, config = folder / "checkpoint_100.pth.tar", folder / "config.json"
    torch.save({"epoch": 100, "state_dict": state_dict, "optimizer": {"state": {}, "param_groups": []}}, file)
    config.write_text(json.dumps(config_fields(sizes)))
    return file, config, state_dict
