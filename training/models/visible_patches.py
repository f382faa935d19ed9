"""The patches that each channel group of a pretrained model leaves visible."""

import torch

from modeling_simfle.facemae_simfle import semantic_mask
from modeling_simfle.modeling_simfle import group_patch_scores


def visible_patches(model, pixel_values: torch.Tensor) -> torch.Tensor:
    """
    The patches that each of G groups leaves visible, from one pass of the encoder.

    Args:
        model: SimFLEForPreTraining in eval mode: in training a face's mask depends on the batch through BatchNorm.
        pixel_values: origins, (B, 3, S, S).
    Returns:
        (B, G * L) bool, L patches in row-major order: the inverse of the model's `mask` for every group.
    """
    config = model.config
    activations = model.channel_grouping(model.encoder(pixel_values).last_hidden_state)  # (B, C, h, w)
    sizes = config.num_channel_groups, config.facemae_image_size, config.facemae_patch_size
    masks = []
    for group in range(config.num_channel_groups):
        group_ids = torch.full((len(pixel_values),), group, device=activations.device)
        scores = group_patch_scores(activations, group_ids, *sizes)
        masks.append(semantic_mask(scores, config.num_visible_patches)[0])
    return torch.cat(masks, dim=1) == 0
