# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
FaceMAE: a masked autoencoder (He et al., arXiv 2111.06377) whose visible patches are chosen by scores.

Legend: B images, L patches in row-major order, V visible ones, D width, p patch side, P = p * p * 3 numbers a patch;
C channels of the last encoder map, h x w its size, G channel groups, M = C / G channels a group.
In every mask 0 is keep, 1 is remove. The class token comes first in every sequence.

Source: arXiv 2303.07648, section 3.2.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_simfle import SimFLEConfig


def raise_precision(tensor: torch.Tensor) -> torch.Tensor:
    """float16 and bfloat16 -> float32; anything else unchanged."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def sincos_position_table(width: int, grid: int) -> torch.Tensor:
    """
    Fixed 2-D sine-cosine position table in MAE's released layout.

    The first half of the width codes the column, the second the row; each half is sines, then cosines, of
    position * 10000^(-i / (D/4)), i = 0 ... D/4 - 1. A zero row for the class token comes first.

    Args:
        width: D, a multiple of 4.
        grid: patches a side.
    Returns:
        (1, 1 + grid * grid, D), float64.
    """
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width / 4))  # (D/4,)
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * frequencies  # (grid, D/4)
    codes = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, D/2)
    columns = codes[None, :, :].expand(grid, -1, -1)
    rows = codes[:, None, :].expand(-1, grid, -1)
    table = torch.cat([columns, rows], dim=2).flatten(0, 1)  # (L, D)
    return torch.cat([torch.zeros_like(table[:1]), table])[None]


def patchify(images: torch.Tensor, patch_size: int) -> torch.Tensor:
    """(B, 3, H, W) -> (B, L, P): patches in row-major order, each as (row, column, colour), colour fastest."""
    batch, channels, height, width = images.shape
    patches = images.reshape(batch, channels, height // patch_size, patch_size, width // patch_size, patch_size)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch_size * patch_size * channels)


def unpatchify(patches: torch.Tensor, patch_size: int, num_channels: int = 3) -> torch.Tensor:
    """(B, L, P) -> (B, 3, H, W), the inverse of `patchify` for square images."""
    batch, length, _ = patches.shape
    grid = round(length**0.5)
    images = patches.reshape(batch, grid, grid, patch_size, patch_size, num_channels)
    return images.permute(0, 5, 1, 3, 2, 4).reshape(batch, num_channels, grid * patch_size, grid * patch_size)


def normalize_patches(patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(B, L, P) -> (patch - mean) / deviation, and mean and deviation, (B, L, 1): sqrt(unbiased variance + 1e-6)."""
    mean = patches.mean(2, keepdim=True)
    deviation = (patches.var(2, keepdim=True) + 1e-6).sqrt()
    return (patches - mean) / deviation, mean, deviation


def group_patch_scores(
    activations: torch.Tensor, group_ids: torch.Tensor, num_groups: int, image_size: int, patch_size: int
) -> torch.Tensor:
    """
    Scores each patch: the channels of the drawn group are summed, resized bilinearly to the image and averaged over the
    patch.

    Args:
        activations: the output of channel grouping, (B, C, h, w). group_ids: the drawn group, (B,) int64 in [0, G).
        num_groups: G. image_size, patch_size: in pixels.
    Returns:
        (B, L), row-major.
    """
    grouped = raise_precision(activations).unflatten(1, (num_groups, -1))  # (B, G, M, h, w)
    score_map = grouped[torch.arange(len(grouped), device=grouped.device), group_ids].sum(1, keepdim=True)  # (B,1,h,w)
    score_map = F.interpolate(score_map, size=(image_size, image_size), mode="bilinear", align_corners=False)
    return F.avg_pool2d(score_map, patch_size).flatten(1)


def semantic_mask(patch_scores: torch.Tensor, num_visible: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    The highest-scoring patches stay visible. Ties are common (the ReLU leaves exact zeros): the lower index first.

    Args:
        patch_scores: (B, L).
        num_visible: V.
    Returns:
        mask (B, L), 1 = removed; ids_keep (B, V), highest score first; ids_restore (B, L), which sorts the sequence
        [visible, removed] back into row-major order.
    """
    ids_shuffle = patch_scores.argsort(dim=1, descending=True, stable=True)  # (B, L)
    ids_restore = ids_shuffle.argsort(dim=1)
    # A patch is removed where its rank, which is what ids_restore holds, is V or more.
    mask = (ids_restore >= num_visible).to(patch_scores.dtype)
    return mask, ids_shuffle[:, :num_visible], ids_restore


class PositionTable(nn.Module):
    """The frozen table as a parameter: `from_pretrained` leaves a non-persistent buffer unfilled."""

    def __init__(self, width: int, grid: int):
        super().__init__()
        self.width, self.grid = width, grid
        self.weight = nn.Parameter(torch.zeros(1, 1 + grid * grid, width), requires_grad=False)

    def forward(self) -> torch.Tensor:  # a call, so that Accelerate can load an offloaded table
        return self.weight


class Token(nn.Module):
    """One learned token, (1, 1, D): the class token or the mask token."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self) -> torch.Tensor:
        return self.weight


class PatchEmbedding(nn.Conv2d):
    """p x p convolution of stride p; its own class, since MAE initialises it as a linear layer."""


class FaceMAELinear(nn.Linear):
    """A linear layer of the FaceMAE (xavier uniform, zero bias), unlike those of the heads (PyTorch's own)."""


class FaceMAEBlock(GradientCheckpointingLayer):
    """Pre-norm transformer block: x + attention(norm(x)), then x + MLP(norm(x)), exact GELU. (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int, num_heads: int, mlp_width: int, layer_norm_eps: float):
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width, eps=layer_norm_eps)
        self.qkv = FaceMAELinear(width, 3 * width)
        self.attention_output = FaceMAELinear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=layer_norm_eps)
        self.mlp_input = FaceMAELinear(width, mlp_width)
        self.mlp_output = FaceMAELinear(mlp_width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        batch, length, width = tokens.shape
        qkv = self.qkv(self.attention_norm(tokens)).reshape(batch, length, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, D / heads)
        attended = F.scaled_dot_product_attention(query, key, value)  # scale: head_dim^-0.5
        tokens = tokens + self.attention_output(attended.transpose(1, 2).reshape(batch, length, width))
        return tokens + self.mlp_output(F.gelu(self.mlp_input(self.mlp_norm(tokens))))


class FaceMAEEncoder(nn.Module):
    """Images and the visible patches' indices -> their latent, class token first, after the last LayerNorm."""

    def __init__(self, config: SimFLEConfig):
        super().__init__()
        width, patch = config.facemae_hidden_size, config.facemae_patch_size
        self.patch_embedding = PatchEmbedding(config.num_channels, width, kernel_size=patch, stride=patch)
        self.class_token = Token(width)
        self.position_table = PositionTable(width, config.facemae_image_size // patch)
        self.blocks = nn.ModuleList(
            FaceMAEBlock(
                width, config.facemae_num_attention_heads, config.facemae_intermediate_size, config.layer_norm_eps
            )
            for _ in range(config.facemae_num_hidden_layers)
        )
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, pixel_values: torch.Tensor, ids_keep: torch.Tensor) -> torch.Tensor:
        """pixel_values (B, 3, H, W), ids_keep (B, V) -> (B, 1 + V, D)."""
        patches = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)  # (B, L, D)
        positions = self.position_table()
        patches = patches + positions[:, 1:]  # before masking
        visible = patches.gather(1, ids_keep[:, :, None].expand(-1, -1, patches.shape[2]))  # (B, V, D)
        class_token = self.class_token() + positions[:, :1]
        tokens = torch.cat([class_token.expand(len(visible), -1, -1), visible], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


class FaceMAEDecoder(nn.Module):
    """Latent of the visible patches -> predicted patches, mask tokens in the places of the removed ones."""

    def __init__(self, config: SimFLEConfig):
        super().__init__()
        width, patch = config.decoder_hidden_size, config.facemae_patch_size
        self.embedding = FaceMAELinear(config.facemae_hidden_size, width)
        self.mask_token = Token(width)
        self.position_table = PositionTable(width, config.facemae_image_size // patch)
        self.blocks = nn.ModuleList(
            FaceMAEBlock(
                width, config.decoder_num_attention_heads, config.decoder_intermediate_size, config.layer_norm_eps
            )
            for _ in range(config.decoder_num_hidden_layers)
        )
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.prediction = FaceMAELinear(width, patch * patch * config.num_channels)

    def forward(self, latent: torch.Tensor, ids_restore: torch.Tensor) -> torch.Tensor:
        """latent (B, 1 + V, D), ids_restore (B, L) -> logits (B, L, P)."""
        tokens = self.embedding(latent)
        num_removed = ids_restore.shape[1] - (tokens.shape[1] - 1)
        removed = self.mask_token().to(tokens.dtype).expand(len(tokens), num_removed, -1)
        patches = torch.cat([tokens[:, 1:], removed], dim=1)  # (B, L, D), in shuffled order
        patches = patches.gather(1, ids_restore[:, :, None].expand(-1, -1, patches.shape[2]))  # row-major
        tokens = torch.cat([tokens[:, :1], patches], dim=1) + self.position_table()  # (B, 1 + L, D)
        for block in self.blocks:
            tokens = block(tokens)
        return self.prediction(self.norm(tokens))[:, 1:]


class FaceMAE(nn.Module):
    """Encoder and decoder. The mask comes from outside: see `semantic_mask`."""

    def __init__(self, config: SimFLEConfig):
        super().__init__()
        self.encoder = FaceMAEEncoder(config)
        self.decoder = FaceMAEDecoder(config)

    def forward(
        self, pixel_values: torch.Tensor, ids_keep: torch.Tensor, ids_restore: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            pixel_values: the normalised origin, (B, 3, H, W).
            ids_keep: (B, V); ids_restore: (B, L), both from `semantic_mask`.
        Returns:
            logits (B, L, P) and latent (B, 1 + V, D).
        """
        latent = self.encoder(pixel_values, ids_keep)
        return self.decoder(latent, ids_restore), latent
