# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Models small enough for tests, and their inputs."""

import torch

from modeling_simfle import SimFLEConfig

# The encoder's map of a 64-px origin is 2 x 2; L = 16 patches, 4 of them visible; 4 groups of 8 channels.
FIELDS = {
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 24, 32],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "num_channel_groups": 4,
    "grouping_initializer": "normal",
    "facemae_image_size": 64,
    "facemae_patch_size": 16,
    "facemae_hidden_size": 16,
    "facemae_num_hidden_layers": 2,
    "facemae_num_attention_heads": 2,
    "facemae_intermediate_size": 32,
    "decoder_hidden_size": 8,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
    "projection_size": 12,
    "projection_hidden_size": 24,
}


def tiny_config(**fields) -> SimFLEConfig:
    return SimFLEConfig(**{**FIELDS, **fields})


def tiny_inputs(batch_size: int = 4, seed: int = 0, dtype=torch.float32) -> dict[str, torch.Tensor]:
    """Origin, two views and group ids."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(3, batch_size, 3, 64, 64, generator=generator, dtype=torch.float64).to(dtype)
    return {
        "pixel_values": images[0],
        "view_1_pixel_values": images[1],
        "view_2_pixel_values": images[2],
        "group_ids": torch.randint(4, (batch_size,), generator=generator),
    }
