# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Configuration of SimFLE (Moon, Jang, Park, arXiv 2303.07648): every field travels with the weights."""

import math
import os

import torch
from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig, ResNetConfig
from transformers.activations import ACT2FN
from transformers.utils import logging

from .hub_folder_simfle import AUTO_MAP, CUSTOM_PIPELINES, save_remote_code, set_stale_metrics_aside

logger = logging.get_logger(__name__)


@strict
class SimFLEConfig(PreTrainedConfig):
    r"""
    What a SimFLE model is made of. The defaults are the paper's; a smaller model is a matter of fields.

    Args:
        num_channels, embedding_size, hidden_sizes, depths, layer_type, hidden_act:
            the encoder, as in `ResNetConfig`; the defaults are ResNet-50 v1.5.
        num_channel_groups: groups G of the last map's channels; divides `hidden_sizes[-1]`.
        grouping_initializer: "constant" (released: weights 1.0, biases 0.1; a plateau that rounding noise leaves) or
            "normal" (weights normal with deviation 1 / sqrt(C), 0.022 at C = 2048; biases 0).
        mask_ratio: share of patches removed; `int(L * (1 - mask_ratio))` of L stay visible.
        masking: "semantic" (the drawn channel group chooses) or "random" (uniform scores, else the same).
        norm_pix_loss: reconstruct patches normalised by their own mean and deviation.
        use_local_branch: false leaves L = L_s: no FaceMAE, no channel grouping, no distillation heads.
        facemae_image_size, facemae_patch_size: side of the origin and of a patch, in pixels.
        facemae_hidden_size, facemae_num_hidden_layers, facemae_num_attention_heads, facemae_intermediate_size:
            the FaceMAE encoder (ViT-Base).
        decoder_hidden_size, decoder_num_hidden_layers, decoder_num_attention_heads, decoder_intermediate_size:
            the FaceMAE decoder.
        layer_norm_eps: of every LayerNorm.
        projection_size, projection_hidden_size: output and hidden width of every head.
        ema_decay: the target keeps this share of itself at each `update_target()`.
        distillation_temperature: T.
        distillation_loss_weight, grouping_loss_weight: weights of L_d and L_g in the total.
        temperature, class_prior: a classifier's calibration, which `FaceExpressionPipeline` applies when it is asked
            for: the logits are divided by `temperature`, then `class_prior` (one number a class) is added.

    Raises:
        ValueError: a value out of its range; the message has the value, the range and the fix.

    Source: arXiv 2303.07648, sections 3 and 4.1.
    """

    model_type = "simfle"

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: list[int] | tuple[int, ...] = (256, 512, 1024, 2048)
    depths: list[int] | tuple[int, ...] = (3, 4, 6, 3)
    layer_type: str = "bottleneck"
    hidden_act: str = "relu"

    num_channel_groups: int = 32
    grouping_initializer: str = "constant"
    mask_ratio: float | int = 0.75
    masking: str = "semantic"
    norm_pix_loss: bool = True
    use_local_branch: bool = True

    facemae_image_size: int = 112
    facemae_patch_size: int = 16
    facemae_hidden_size: int = 768
    facemae_num_hidden_layers: int = 12
    facemae_num_attention_heads: int = 12
    facemae_intermediate_size: int = 3072
    decoder_hidden_size: int = 512
    decoder_num_hidden_layers: int = 8
    decoder_num_attention_heads: int = 16
    decoder_intermediate_size: int = 2048
    layer_norm_eps: float | int = 1e-6

    projection_size: int = 256
    projection_hidden_size: int = 4096
    ema_decay: float | int = 0.99
    distillation_temperature: float | int = 4.0
    distillation_loss_weight: float | int = 0.3
    grouping_loss_weight: float | int = 0.03

    temperature: float | int = 1.0
    class_prior: list[float | int] | tuple[float | int, ...] | None = None

    def __post_init__(self, **kwargs):
        self.hidden_sizes = list(self.hidden_sizes)
        self.depths = list(self.depths)
        if self.id2label is None and isinstance(self.label2id, dict) and self.label2id:
            self.id2label = {number: name for name, number in self.label2id.items()}
        if not isinstance(self.id2label, (dict, type(None))):
            raise ValueError(f"id2label={self.id2label!r} must map the numbers from 0 to names; give a dict.")
        dtype = kwargs.get("torch_dtype") if self.dtype is None else self.dtype
        if isinstance(dtype, str) and not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise ValueError(f"dtype={dtype!r:.80} is no type of torch's numbers; give float32, float16 or bfloat16.")
        super().__post_init__(**kwargs)
        self.check()

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs):
        """As `PreTrainedConfig`'s; of `id2label` and `label2id` given alone the other one is made."""
        id2label, label2id = kwargs.get("id2label"), kwargs.get("label2id")
        if isinstance(id2label, dict) and label2id is None:
            kwargs["label2id"] = {name: number for number, name in id2label.items()}
        elif isinstance(label2id, dict) and id2label is None:
            kwargs["id2label"] = {number: name for name, number in label2id.items()}
        return super().from_dict(config_dict, **kwargs)

    def check(self) -> None:
        """
        Checks every field, turns labels' numbers that JSON stores as texts into integers, and makes a `label2id` that
        is missing. Every model calls it, because `from_pretrained` and the user can set fields after the constructor
        has run.

        Raises:
            ValueError: a value out of its range.
        """
        # @strict runs these too, but wraps what they raise in an error that is no ValueError.
        self.validate_choices()
        self.validate_numbers()
        self.validate_encoder()
        self.validate_local_branch()
        if not all(isinstance(name, str) for name in self.architectures or ()):
            raise ValueError(f"architectures={self.architectures!r:.80} must be names of classes.")
        if self.id2label:
            self.id2label = {int(number): name for number, name in self.id2label.items()}
            if not all(isinstance(name, str) for name in self.id2label.values()):
                raise ValueError(f"id2label={self.id2label!r} must map numbers to names; a name is a text.")
        if self.label2id:
            try:
                self.label2id = {name: int(number) for name, number in self.label2id.items()}
            except (AttributeError, OverflowError, TypeError) as error:
                raise ValueError(f"label2id={self.label2id!r} must map names to numbers; give a dict.") from error
        if not self.label2id:
            self.label2id = self.inverse_labels()
        elif not self.has_matching_labels():
            raise ValueError(f"label2id={self.label2id} contradicts id2label={self.id2label}; leave label2id out.")

    def inverse_labels(self) -> dict[str, int]:
        """The `label2id` of `id2label`: of two equal names the first one's number."""
        names: dict = self.id2label or {}
        return {name: number for number, name in reversed(names.items())}

    def has_matching_labels(self) -> bool:
        """Whether `label2id` has the names of `id2label`, each with the number of such a name."""
        names: dict = self.id2label or {}
        return set(self.label2id) == set(names.values()) and all(names.get(n) == k for k, n in self.label2id.items())

    @property
    def num_patches(self) -> int:
        """L, the patches of an origin image."""
        return (self.facemae_image_size // self.facemae_patch_size) ** 2

    @property
    def num_visible_patches(self) -> int:
        """Patches that stay visible under `mask_ratio`."""
        return int(self.num_patches * (1 - self.mask_ratio))

    def resnet_config(self) -> ResNetConfig:
        """The `ResNetConfig` of the encoder, with this configuration's labels."""
        return ResNetConfig(
            num_channels=self.num_channels,
            embedding_size=self.embedding_size,
            hidden_sizes=list(self.hidden_sizes),
            depths=list(self.depths),
            layer_type=self.layer_type,
            hidden_act=self.hidden_act,
            id2label=self.id2label,
            label2id=self.label2id,
        )

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs):
        """
        Saves config.json, and the code that it names: the classes (`auto_map`), and for a classifier the pipeline
        (`custom_pipelines`). Arguments as in `PreTrainedConfig`.
        """
        if self.id2label and not self.has_matching_labels():  # id2label was set since; a save must not lose the weights
            logger.warning(f"label2id={self.label2id} contradicts id2label={self.id2label}, and is made from it anew.")
            self.label2id = self.inverse_labels()
        super().save_pretrained(save_directory)
        others = {"SimFLEModel", "SimFLEForPreTraining"}
        pipelines = {} if others.issuperset(self.architectures or [""]) else CUSTOM_PIPELINES
        entries = {
            "auto_map": (AUTO_MAP, getattr(self, "auto_map", None)),
            "custom_pipelines": (pipelines, getattr(self, "custom_pipelines", None)),
        }
        save_remote_code(save_directory, "config.json", entries, self.name_or_path or "")
        set_stale_metrics_aside(save_directory)
        if push_to_hub:  # not by super(), which would upload before the code is there
            self.push_to_hub(kwargs.pop("repo_id", os.path.basename(os.path.abspath(save_directory))), **kwargs)

    def validate_choices(self):
        if not self.id2label:
            raise ValueError("id2label names no class; give one or more, or num_labels of at least 1.")
        if set(map(str, self.id2label)) != set(map(str, range(len(self.id2label)))):
            raise ValueError(f"id2label={self.id2label} leaves numbers out; name every class from 0 on.")
        for field, choices in (
            ("layer_type", ("basic", "bottleneck")),
            ("grouping_initializer", ("constant", "normal")),
            ("masking", ("semantic", "random")),
        ):
            if getattr(self, field) not in choices:
                raise ValueError(f"{field}={getattr(self, field)!r} is not known; use one of {', '.join(choices)}.")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act={self.hidden_act!r} is not an activation of transformers; use 'relu'.")

    def validate_numbers(self):
        for field in (
            "num_channels",
            "embedding_size",
            "num_channel_groups",
            "facemae_image_size",
            "facemae_patch_size",
            "facemae_hidden_size",
            "facemae_num_hidden_layers",
            "facemae_num_attention_heads",
            "facemae_intermediate_size",
            "decoder_hidden_size",
            "decoder_num_hidden_layers",
            "decoder_num_attention_heads",
            "decoder_intermediate_size",
            "projection_size",
            "projection_hidden_size",
        ):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}={getattr(self, field)} must be at least 1; give a positive whole number.")
        for field in ("distillation_loss_weight", "grouping_loss_weight"):
            if not 0 <= getattr(self, field) < float("inf"):
                raise ValueError(f"{field}={getattr(self, field)} must be in [0, inf); use 0 to leave the loss out.")
        for field in ("distillation_temperature", "layer_norm_eps", "temperature"):
            if not 0 < getattr(self, field) < float("inf"):
                raise ValueError(f"{field}={getattr(self, field)} must be in (0, inf); give a positive number.")
        if not 0 <= self.ema_decay <= 1:
            raise ValueError(f"ema_decay={self.ema_decay} must be in [0, 1]; the paper uses 0.99.")
        prior = self.class_prior
        if prior is not None and not (len(prior) == self.num_labels and all(map(math.isfinite, prior))):
            raise ValueError(
                f"class_prior={prior} must hold one finite number for each of {self.num_labels} classes; or leave it"
                " out."
            )

    def validate_encoder(self):
        if not self.hidden_sizes or len(self.hidden_sizes) != len(self.depths):
            raise ValueError(
                f"hidden_sizes={self.hidden_sizes} and depths={self.depths} must name the same number of stages, at"
                " least one; give one width and one depth a stage."
            )
        if min(self.hidden_sizes) < 1 or min(self.depths) < 1:
            raise ValueError(
                f"hidden_sizes={self.hidden_sizes} and depths={self.depths} must be at least 1 everywhere; give"
                " positive whole numbers."
            )
        if self.layer_type == "bottleneck" and any(size % 4 for size in self.hidden_sizes):
            raise ValueError(
                f"hidden_sizes={self.hidden_sizes} must be multiples of 4 for bottleneck layers; round them up, or use"
                " layer_type='basic'."
            )

    def validate_local_branch(self):
        if not self.use_local_branch:
            return
        channels, groups = self.hidden_sizes[-1], self.num_channel_groups
        if channels % groups:
            raise ValueError(
                f"num_channel_groups={groups} does not divide the {channels} channels of the last encoder map; use a"
                f" divisor of {channels}, or change hidden_sizes[-1]."
            )
        if self.facemae_image_size % self.facemae_patch_size:
            raise ValueError(
                f"facemae_image_size={self.facemae_image_size} is not a multiple of"
                f" facemae_patch_size={self.facemae_patch_size}; use a multiple, such as"
                f" {max(1, round(self.facemae_image_size / self.facemae_patch_size)) * self.facemae_patch_size}."
            )
        if not (0 <= self.mask_ratio <= 1 and 1 <= self.num_visible_patches < self.num_patches):
            highest = math.floor(1000 * (1 - 1 / self.num_patches)) / 1000
            raise ValueError(
                f"mask_ratio={self.mask_ratio} must be in (0, 1) and leave at least one visible and one masked patch of"
                f" {self.num_patches}; use a value above 0 and up to {highest}, or smaller patches."
            )
        for prefix in ("facemae", "decoder"):
            width, heads = getattr(self, f"{prefix}_hidden_size"), getattr(self, f"{prefix}_num_attention_heads")
            if width % 4 or width % heads:
                raise ValueError(
                    f"{prefix}_hidden_size={width} must be a multiple of 4 (sin-cos positions) and of"
                    f" {prefix}_num_attention_heads={heads}; use a common multiple of the two."
                )


__all__ = ["SimFLEConfig"]
