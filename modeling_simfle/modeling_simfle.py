# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
SimFLE: Simple Facial Landmark Encoding for self-supervised facial expression recognition in the wild.

    L = L_s + L_r + 0.3 L_d + 0.03 L_g

Read in this order: `SimFLEForPreTraining.forward`, `global_branch`, `local_branch`, the four losses, `update_target`;
then `semantic_mask` in facemae_simfle.py. Views and schedule are the scripts' (training/data/views.py, pretrain.py).

L_s similarity of two views (global branch, BYOL-like), L_r reconstruction of the masked face (local branch), L_d
distillation between the branches, L_g grouping of the encoder's channels, which choose the patches to keep.

Legend: B images of one process, C channels of the last encoder map, h x w its size, G channel groups, M = C / G
channels a group, L patches of the origin, V visible ones, P numbers a patch, T distillation temperature. `view 1`,
`view 2`: two augmentations of a face; `origin`: the whole face, resized, not augmented.

Several processes: BatchNorm, S and L_g are each process's own; two processes of batch B are two replicas, not one
batch of 2B.

Source: Moon, Jang, Park, arXiv 2303.07648 (IEEE TAFFC 2024); section numbers below are the paper's.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel, ResNetForImageClassification, ResNetModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndNoAttention, ImageClassifierOutputWithNoAttention
from transformers.utils import ModelOutput, can_return_tuple, logging

from .configuration_simfle import SimFLEConfig
from .facemae_simfle import (
    FaceMAE,
    FaceMAELinear,
    PatchEmbedding,
    PositionTable,
    Token,
    group_patch_scores,
    normalize_patches,
    patchify,
    raise_precision,
    semantic_mask,
    sincos_position_table,
    unpatchify,
)
from .hub_folder_simfle import check_shards, check_weights, set_stale_metrics_aside

logger = logging.get_logger(__name__)

# ITU-R 601 luminance of red, green and blue, as the image processor's `do_grayscale` and Pillow's mode L have it.
LUMINANCE = (0.299, 0.587, 0.114)


# ---------------------------------------------------------------------------------------------------------------------
# Losses: pure functions. Half precision is raised to float32; float32 and float64 stay as they come.
# ---------------------------------------------------------------------------------------------------------------------


def similarity_loss(p1: torch.Tensor, p2: torch.Tensor, q1: torch.Tensor, q2: torch.Tensor) -> torch.Tensor:
    """
    L_s = mean over B of (2 - 2 p1.q1) + (2 - 2 p2.q2), all as unit vectors (section 3.1).

    Args:
        p1, p2: online predictions of view 1 and view 2, (B, D).
        q1, q2: target projections of the *other* view, view 2 and view 1, (B, D); no gradient.
    """
    p1, p2, q1, q2 = (F.normalize(raise_precision(x), dim=1) for x in (p1, p2, q1, q2))
    return ((2 - 2 * (p1 * q1).sum(1)) + (2 - 2 * (p2 * q2).sum(1))).mean()


def channel_similarity(activations: torch.Tensor) -> torch.Tensor:
    """
    S = sum over the batch of <u_c, u_d> / B, with u = activations + 0.001, each (image, channel) row of unit length.

    Args:
        activations: channel grouping's output, (B, C, h, w).
    Returns:
        (C, C), entries in [0, 1].
    """
    rows = F.normalize(raise_precision(activations).flatten(2) + 0.001, dim=2)  # (B, C, h * w)
    rows = rows.transpose(0, 1).flatten(1)  # (C, B * h * w)
    with torch.autocast(rows.device.type, enabled=False):  # it would round the product to bfloat16
        return rows @ rows.T / len(activations)


def grouping_loss(
    activations: torch.Tensor,
    num_groups: int,
    reduce_similarity: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """
    l = 0.001 * sum((S - D)^2) / (C / 512)^2, and L_g = l^2 (section 3.2).

    The released code takes the mean squared error between l and zero, hence the square. D is 1 where two channels
    belong to the same consecutive run of M, else 0. To save memory, 1 is subtracted from the G diagonal blocks of S.
    With the constant start of the grouping S is 1 everywhere, and the first total is about 1,940.

    Args:
        activations: (B, C, h, w). num_groups: G.
        reduce_similarity: takes S of this process and returns the mean over all processes. None keeps the process's
            own S, as in the released code.
    """
    channels = activations.shape[1]
    difference = channel_similarity(activations)  # S, from which D is subtracted in place
    if reduce_similarity is not None:
        difference = reduce_similarity(difference).clone()  # what it returned stays as it is
    size = channels // num_groups
    blocks = difference.view(num_groups, size, num_groups, size).diagonal(dim1=0, dim2=2)  # (M, M, G), a view
    blocks.sub_(1)
    return (0.001 * difference.square().sum() / (channels / 512) ** 2).square()


def reconstruction_loss(
    pixel_values: torch.Tensor, logits: torch.Tensor, mask: torch.Tensor, patch_size: int, norm_pix_loss: bool
) -> torch.Tensor:
    """
    L_r: squared error averaged within a patch, then over the removed patches of the whole batch (MAE's; section 3.2).

    Args:
        pixel_values: the normalised origin, (B, 3, H, W). logits: (B, L, P). mask: (B, L), 1 = removed.
    """
    target = patchify(raise_precision(pixel_values), patch_size)
    if norm_pix_loss:
        target = normalize_patches(target)[0]
    error = (raise_precision(logits) - target).square().mean(2)  # (B, L)
    return (error * mask).sum() / mask.sum()


def distillation_loss(d1: torch.Tensor, d2: torch.Tensor, d3: torch.Tensor, temperature: float) -> torch.Tensor:
    """
    L_d = sum over i of T^2 * KL(softmax(t / T) || softmax(d_i / T)), t = (d1 + d2 + d3) / 3 (section 3.3).

    Args:
        d1, d2: global distillation head of view 1 and view 2, (B, D). d3: local distillation head, (B, D).
    """
    students = torch.stack([raise_precision(d) for d in (d1, d2, d3)]) / temperature  # (3, B, D)
    teacher = students.mean(0).detach().log_softmax(1)  # the teacher gets no gradient
    divergence = (teacher.exp() * (teacher - students.log_softmax(2))).sum(2)  # (3, B)
    return temperature**2 * divergence.mean(1).sum()


# ---------------------------------------------------------------------------------------------------------------------
# Parts
# ---------------------------------------------------------------------------------------------------------------------


class ProjectionHead(nn.Module):
    """Linear - BatchNorm - ReLU - Linear: projector, predictor and both distillation heads. (B, D) -> (B, 256)."""

    def __init__(self, input_size: int, config: SimFLEConfig):
        super().__init__()
        self.hidden = nn.Linear(input_size, config.projection_hidden_size)
        self.norm = nn.BatchNorm1d(config.projection_hidden_size)
        self.output = nn.Linear(config.projection_hidden_size, config.projection_size)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.output(F.relu(self.norm(self.hidden(features))))


class GroupingConvolution(nn.Conv2d):
    """
    1x1 convolution, channels last, (B, h, w, C) -> (B, h, w, C); its own class for its initial values.

    It is computed as a matrix product: torch lets cuDNN round float32 convolutions to TF32.
    """

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        # (C, C) by way of channels_last, in whose layout the gradient then comes, as the weights of training have it.
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(cells.to(weight.dtype), weight, self.bias)


class ChannelGrouping(nn.Module):
    """1x1 convolution - BatchNorm - ReLU, (B, C, h, w) -> (B, C, h, w); float32 under autocast."""

    def __init__(self, config: SimFLEConfig):
        super().__init__()
        channels = config.hidden_sizes[-1]
        self.convolution = GroupingConvolution(channels, channels, kernel_size=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        cells = self.convolution(feature_map.permute(0, 2, 3, 1))  # (B, h, w, C)
        return F.relu(self.norm(cells.permute(0, 3, 1, 2)))


class SimFLEPreTrainedModel(PreTrainedModel):
    """Initial values and loading, shared by the three models."""

    config: SimFLEConfig
    config_class = SimFLEConfig
    base_model_prefix = "encoder"
    main_input_name = "pixel_values"
    input_modalities = ["image"]
    accepts_loss_kwargs = False  # Trainer divides the loss by its accumulation steps then; `**kwargs` alone say true
    # Parts that add tensors of several modules must stay on one device.
    _no_split_modules = ["FaceMAEEncoder", "FaceMAEDecoder", "ProjectionHead", "ChannelGrouping"]

    def __init__(self, config: SimFLEConfig, *args, **kwargs):
        config.check()
        super().__init__(config, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """
        As Transformers', with use_safetensors=True. Warns where a local folder's weights are not those of its
        metrics.json.

        Raises:
            ValueError: use_safetensors=False, or an index of shards that names other files.
        """
        if kwargs.get("use_safetensors") is False:
            raise ValueError("use_safetensors=False asks for a pickle, which can run code; leave it out.")
        kwargs["use_safetensors"] = True
        if pretrained_model_name_or_path is not None:
            folder = os.path.join(pretrained_model_name_or_path, kwargs.get("subfolder") or "")
            check_shards(folder)
            try:
                check_weights(folder)
            except ValueError as error:
                logger.warning(str(error))
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, is_main_process: bool = True, **kwargs):
        """As Transformers'. A metrics.json in the folder that was measured with other weights is renamed."""
        super().save_pretrained(save_directory, is_main_process=is_main_process, **kwargs)
        if is_main_process:
            set_stale_metrics_aside(save_directory)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """Heads as PyTorch, FaceMAE as MAE; the ResNet initialises itself (kaiming normal, fan out)."""
        if isinstance(module, PositionTable):
            init.copy_(module.weight, sincos_position_table(module.width, module.grid).to(module.weight.device))
        elif isinstance(module, Token):
            init.normal_(module.weight, std=0.02)
        elif isinstance(module, FaceMAELinear):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, PatchEmbedding):
            fan_in = module.weight[0].numel()
            bound = (6 / (fan_in + len(module.weight))) ** 0.5  # xavier uniform as a (D, P) matrix
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -(fan_in**-0.5), fan_in**-0.5)  # PyTorch's own
        elif isinstance(module, GroupingConvolution):
            if self.config.grouping_initializer == "constant":
                init.ones_(module.weight)
                init.constant_(module.bias, 0.1)
            else:
                init.normal_(module.weight, std=module.in_channels**-0.5)
                init.zeros_(module.bias)
        elif module is getattr(self, "classifier", None):
            init.normal_(module.weight, std=0.01)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):  # the heads: PyTorch's own
            bound = module.in_features**-0.5
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        else:
            super()._init_weights(module)  # BatchNorm and LayerNorm: 1 and 0


# ---------------------------------------------------------------------------------------------------------------------
# Models
# ---------------------------------------------------------------------------------------------------------------------


class SimFLEModel(SimFLEPreTrainedModel):
    """The encoder alone: a ResNet. What probes, k-NN and other programs take their features from."""

    # A pretraining or classifier folder holds these too; none is new here, so none is reported.
    _keys_to_ignore_on_load_unexpected = [
        r"^(projector|predictor|target_encoder|target_projector|channel_grouping|facemae|classifier)\.",
        r"^(global|local)_distillation_head\.",
    ]

    def __init__(self, config: SimFLEConfig):
        super().__init__(config)
        self.resnet = ResNetModel(config.resnet_config())
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The first convolution, which turns pixels into features: TorchAO's quantization asks for it."""
        return self.resnet.embedder.embedder.convolution

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPoolingAndNoAttention | tuple:
        """
        Args:
            pixel_values: normalised images, (B, 3, H, W), any H and W.
        Returns:
            last_hidden_state (B, C, h, w) and pooler_output (B, C), its mean over the map.
        """
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.config.num_channels:
            raise ValueError(
                f"pixel_values has shape {tuple(pixel_values.shape)}, but (batch, {self.config.num_channels}, height,"
                " width) is expected; SimFLEImageProcessor makes it from pictures."
            )
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        outputs = self.resnet(pixel_values, output_hidden_states=output_hidden_states, return_dict=True)
        return BaseModelOutputWithPoolingAndNoAttention(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=outputs.pooler_output.flatten(1),
            hidden_states=outputs.hidden_states,
        )


@dataclass
class SimFLEForPreTrainingOutput(ModelOutput):
    """
    Args:
        loss: weighted total; None without views.
        similarity_loss, reconstruction_loss, distillation_loss, grouping_loss: the four terms, unweighted.
        logits: predicted patches, (B, L, P); normalised patches under `norm_pix_loss`, see `unpatchify`.
        mask: (B, L), 1 = removed. ids_restore: (B, L).
        patch_scores: (B, L), of the drawn group. group_ids: (B,).
        latent: FaceMAE encoder's output, (B, 1 + V, D), class token first.
    """

    loss: torch.Tensor | None = None
    similarity_loss: torch.Tensor | None = None
    reconstruction_loss: torch.Tensor | None = None
    distillation_loss: torch.Tensor | None = None
    grouping_loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    ids_restore: torch.Tensor | None = None
    patch_scores: torch.Tensor | None = None
    group_ids: torch.Tensor | None = None
    latent: torch.Tensor | None = None


class SimFLEForPreTraining(SimFLEPreTrainedModel):
    """
    Both branches and all four losses. In a loop of your own, call `update_target()` after every optimiser step.

    Gradient checkpointing covers the FaceMAE's blocks only, and is refused without the local branch: recomputing the
    ResNet would move its BatchNorm's running statistics twice.
    """

    def __init__(self, config: SimFLEConfig):
        super().__init__(config)
        self.encoder = SimFLEModel(config)
        self.projector = ProjectionHead(config.hidden_sizes[-1], config)
        self.predictor = ProjectionHead(config.projection_size, config)
        self.target_encoder = SimFLEModel(config)
        self.target_projector = ProjectionHead(config.hidden_sizes[-1], config)
        self.supports_gradient_checkpointing = config.use_local_branch
        if config.use_local_branch:
            self.channel_grouping = ChannelGrouping(config)
            self.facemae = FaceMAE(config)
            self.global_distillation_head = ProjectionHead(config.hidden_sizes[-1], config)
            self.local_distillation_head = ProjectionHead(config.facemae_hidden_size, config)
        self._freeze_target_and_tables()
        self.post_init()
        self._keys_to_ignore_on_load_unexpected = {r"^classifier\."}  # not the encoder's: those are parts of this model

    def _freeze_target_and_tables(self) -> None:
        for module in self.modules():
            if isinstance(module, PositionTable) or module in (self.target_encoder, self.target_projector):
                module.requires_grad_(False)

    @torch.no_grad()
    def initialize_weights(self):
        """Runs after construction and after every `from_pretrained`."""
        super().initialize_weights()
        # The target starts as a copy; `init.copy_` leaves what was loaded alone.
        for target, online in self._target_and_online():
            for own, other in zip(target.state_dict(keep_vars=True).values(), online.state_dict().values()):
                init.copy_(own, other)
        self._freeze_target_and_tables()  # `from_pretrained` makes every parameter trainable

    def _target_and_online(self) -> tuple[tuple[nn.Module, nn.Module], ...]:
        return (self.target_encoder, self.encoder), (self.target_projector, self.projector)

    @torch.no_grad()
    def update_target(self) -> None:
        """
        target = decay * target + (1 - decay) * online, for the parameters (section 3.1); call it after every optimiser
        step. The target's BatchNorm buffers follow from its own forward passes.

        Raises:
            ValueError: weights in half precision, where a hundredth of a small difference is rounded away.
        """
        if self.dtype in (torch.float16, torch.bfloat16):
            raise ValueError(
                f"The target cannot follow weights of {self.dtype}; keep them in float32 and use autocast"
                " (--mixed_precision)."
            )
        for target, online in self._target_and_online():
            torch._foreach_mul_([*target.parameters()], self.config.ema_decay)
            torch._foreach_add_([*target.parameters()], [*online.parameters()], alpha=1 - self.config.ema_decay)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        view_1_pixel_values: torch.Tensor | None = None,
        view_2_pixel_values: torch.Tensor | None = None,
        group_ids: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        reduce_similarity: Callable[[torch.Tensor], torch.Tensor] | None = None,
        **kwargs,
    ) -> SimFLEForPreTrainingOutput | tuple:
        """
        Args:
            pixel_values: the origin, (B, 3, S, S), S = facemae_image_size; unused without the local branch.
            view_1_pixel_values, view_2_pixel_values: (B, 3, H, W); both or neither. Without them only masks,
                reconstruction and grouping are computed.
            group_ids: channel group that masks each image, (B,) int64 in [0, G); drawn from torch's default generator
                when None.
            noise: (B, L), what ranks the patches under masking="random"; drawn likewise when None.
            reduce_similarity: see `grouping_loss`.
        """
        self._check_inputs(pixel_values, view_1_pixel_values, view_2_pixel_values, group_ids)
        has_views = view_1_pixel_values is not None
        similarity = distillation = loss = None
        local: dict[str, torch.Tensor] = {}
        # Order of the passes (BatchNorm sees it): online view 1, online view 2, target view 1, target view 2, origin.
        if has_views:
            y1 = self.encoder(view_1_pixel_values, return_dict=True).pooler_output  # (B, C)
            y2 = self.encoder(view_2_pixel_values, return_dict=True).pooler_output
            loss = similarity = self.global_branch(y1, y2, view_1_pixel_values, view_2_pixel_values)
        if self.config.use_local_branch:
            local = self.local_branch(pixel_values, group_ids, noise, reduce_similarity)
        if has_views and self.config.use_local_branch:
            d1, d2 = self.global_distillation_head(y1), self.global_distillation_head(y2)
            d3 = self.local_distillation_head(local["latent"][:, 1:].mean(1))  # class token left out
            distillation = distillation_loss(d1, d2, d3, self.config.distillation_temperature)
            loss = (
                similarity
                + local["reconstruction_loss"]
                + self.config.distillation_loss_weight * distillation
                + self.config.grouping_loss_weight * local["grouping_loss"]
            )
        return SimFLEForPreTrainingOutput(
            loss=loss, similarity_loss=similarity, distillation_loss=distillation, **local
        )

    def global_branch(
        self, y1: torch.Tensor, y2: torch.Tensor, view_1: torch.Tensor, view_2: torch.Tensor
    ) -> torch.Tensor:
        """L_s of the online features y1, y2 (B, C) against the target's projections of the other view."""
        p1 = self.predictor(self.projector(y1))
        p2 = self.predictor(self.projector(y2))
        with torch.no_grad():  # the target is moved by `update_target` alone
            q2 = self.target_projector(self.target_encoder(view_1, return_dict=True).pooler_output)
            q1 = self.target_projector(self.target_encoder(view_2, return_dict=True).pooler_output)
        return similarity_loss(p1, p2, q1, q2)

    def local_branch(
        self,
        pixel_values: torch.Tensor,
        group_ids: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        reduce_similarity: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Semantic masking, L_g, FaceMAE and L_r of the origin: fields of `SimFLEForPreTrainingOutput`."""
        config = self.config
        with torch.no_grad():  # the masks follow the encoder; they do not train it
            f0 = self.encoder(pixel_values, return_dict=True).last_hidden_state  # (B, C, h, w)
        if group_ids is None:
            group_ids = torch.randint(config.num_channel_groups, (len(f0),), device=f0.device)
        # Scores and L_g in float32: bfloat16's ties and roundings would choose the patches.
        with torch.autocast(f0.device.type, enabled=False):
            activations = self.channel_grouping(f0)  # (B, C, h, w), the only part that learns here
            l_g = grouping_loss(activations, config.num_channel_groups, reduce_similarity)
            # Masking is a sort: no gradient could flow through it.
            patch_scores = group_patch_scores(
                activations.detach(),
                group_ids,
                config.num_channel_groups,
                config.facemae_image_size,
                config.facemae_patch_size,
            )
        ranked = patch_scores
        if config.masking == "random":
            ranked = torch.rand_like(patch_scores) if noise is None else noise
        mask, ids_keep, ids_restore = semantic_mask(ranked, config.num_visible_patches)
        logits, latent = self.facemae(pixel_values, ids_keep, ids_restore)
        l_r = reconstruction_loss(pixel_values, logits, mask, config.facemae_patch_size, config.norm_pix_loss)
        return {
            "reconstruction_loss": l_r,
            "grouping_loss": l_g,
            "logits": logits,
            "mask": mask,
            "ids_restore": ids_restore,
            "patch_scores": patch_scores,
            "group_ids": group_ids,
            "latent": latent,
        }

    def unpatchify(self, logits: torch.Tensor, pixel_values: torch.Tensor | None = None) -> torch.Tensor:
        """
        Predicted patches as images in the space of `pixel_values`.

        Args:
            logits: (B, L, P).
            pixel_values: the origin, (B, 3, S, S); needed under `norm_pix_loss`, whose targets are normalised by each
                patch's own mean and deviation: those are put back.
        Returns:
            (B, 3, S, S).
        """
        if self.config.norm_pix_loss:
            if pixel_values is None:
                raise ValueError(
                    "pixel_values=None, but under norm_pix_loss the logits are normalised patches; pass the origin so"
                    " that each patch's mean and deviation can be put back."
                )
            _, mean, deviation = normalize_patches(patchify(pixel_values, self.config.facemae_patch_size))
            logits = logits * deviation + mean
        return unpatchify(logits, self.config.facemae_patch_size, self.config.num_channels)

    def _check_inputs(self, pixel_values, view_1, view_2, group_ids) -> None:
        if (view_1 is None) != (view_2 is None):
            raise ValueError("One view is missing: give both view_1_pixel_values and view_2_pixel_values, or neither.")
        images = [x for x in (view_1, view_2) if x is not None]
        if self.config.use_local_branch:
            size = self.config.facemae_image_size
            expected = (self.config.num_channels, size, size)
            if pixel_values is None or tuple(pixel_values.shape[1:]) != expected:
                shape = None if pixel_values is None else tuple(pixel_values.shape)
                raise ValueError(
                    f"pixel_values has shape {shape}, but the origin must be (batch, {expected[0]}, {size}, {size});"
                    " resize it to facemae_image_size."
                )
            images.append(pixel_values)
        elif not images:
            raise ValueError("use_local_branch=False leaves nothing to compute without views; pass both views.")
        if len({len(x) for x in images}) != 1:
            raise ValueError(f"The images' batch sizes differ: {[len(x) for x in images]}; pass one of each a face.")
        if self.training and len(images[0]) < 2:
            raise ValueError("A batch of 1 cannot train: BatchNorm needs at least 2 images; use a batch of 2 or more.")
        if group_ids is not None:
            groups = self.config.num_channel_groups
            if group_ids.shape != (len(images[0]),) or group_ids.dtype != torch.int64:
                raise ValueError(
                    f"group_ids has shape {tuple(group_ids.shape)} and dtype {group_ids.dtype}; give one int64 in"
                    f" [0, {groups}) an image, ({len(images[0])},)."
                )
            # On an accelerator this look would make the host wait for it; an id of G or more raises there by itself.
            may_look = group_ids.device.type == "cpu" and not torch.compiler.is_compiling()
            if may_look and not bool(((group_ids >= 0) & (group_ids < groups)).all()):
                raise ValueError(f"group_ids={group_ids.tolist()} must lie in [0, {groups}).")


class SimFLEForImageClassification(SimFLEPreTrainedModel):
    """
    The encoder and one linear layer on its pooled features: linear probes and fine-tuned classifiers.

    `pipeline(model=<object>)` does not call `.eval()`; a path does. Call it yourself on an object in training mode, or
    BatchNorm learns from the pictures that you classify.
    """

    def __init__(self, config: SimFLEConfig):
        super().__init__(config)
        self.encoder_is_frozen = False
        self.num_labels = config.num_labels
        self.encoder = SimFLEModel(config)
        self.classifier = nn.Linear(config.hidden_sizes[-1], config.num_labels)
        self.post_init()
        config.architectures = [type(self).__name__]  # also for a `config.save_pretrained` without the model's

    def freeze_encoder(self) -> None:
        """The linear probe's encoder: no gradient, and eval mode that stays eval mode under `model.train()`."""
        self.encoder_is_frozen = True
        self.encoder.requires_grad_(False)
        self.encoder.eval()

    def train(self, mode: bool = True):
        super().train(mode)
        if self.encoder_is_frozen:
            self.encoder.eval()
        return self

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> ImageClassifierOutputWithNoAttention | tuple:
        """
        Args:
            pixel_values: normalised images, (B, 3, H, W).
            labels: classes (B,) int64, or probabilities (B, num_labels) for soft targets.
        Returns:
            loss (cross-entropy, with labels) and logits (B, num_labels).
        """
        is_inference = labels is None and not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if is_inference and self.encoder.training:
            logger.warning_once("Inference in training mode moves BatchNorm's statistics; call model.eval() first.")
        outputs = self.encoder(pixel_values, output_hidden_states=output_hidden_states, return_dict=True)
        logits = self.classifier(outputs.pooler_output)
        loss = None if labels is None else F.cross_entropy(raise_precision(logits), self._check_labels(labels, logits))
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits, hidden_states=outputs.hidden_states)

    def _check_labels(self, labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if self.config.problem_type not in (None, "single_label_classification"):
            raise ValueError(
                f"problem_type={self.config.problem_type!r} has a loss that is not computed here: labels are one class"
                " a picture, or probabilities of the classes; leave problem_type out, or the labels."
            )
        if labels.is_floating_point() and labels.shape == logits.shape:
            return labels.to(raise_precision(logits).dtype)
        if not labels.is_floating_point() and labels.shape == logits.shape[:1]:
            may_look = labels.device.type == "cpu" and not torch.compiler.is_compiling()  # else the host would wait
            if may_look and not bool((((labels >= 0) & (labels < logits.shape[1])) | (labels == -100)).all()):
                raise ValueError(f"labels={labels.tolist()} must lie in [0, {logits.shape[1]}), or be -100 for none.")
            return labels.long()
        raise ValueError(
            f"labels has shape {tuple(labels.shape)} and dtype {labels.dtype}; give integers ({len(logits)},) or"
            f" probabilities {tuple(logits.shape)}."
        )

    @torch.no_grad()
    def to_resnet(self, fold_grayscale: bool = False) -> ResNetForImageClassification:
        """
        A stock `ResNetForImageClassification` with equal logits, which needs no remote code.

        Args:
            fold_grayscale: for encoders trained under `do_grayscale`: fold the luminance mix into the first
                convolution, so that colour input under a stock processor (same mean and deviation) gives equal logits,
                up to the 8-bit rounding of the gray picture.
        """
        model = ResNetForImageClassification(self.config.resnet_config())
        nn.Module.to(model, self.device, self.dtype)
        model.resnet.load_state_dict(self.encoder.resnet.state_dict())
        model.classifier[1].load_state_dict(self.classifier.state_dict())
        if fold_grayscale:
            weight = model.resnet.embedder.embedder.convolution.weight  # (O, 3, k, k)
            if weight.shape[1] != 3:
                raise ValueError(f"num_channels={weight.shape[1]}, but fold_grayscale needs an encoder of 3 channels.")
            mix = weight.new_tensor(LUMINANCE)[None, :, None, None]
            weight.copy_(mix * weight.sum(1, keepdim=True))
        return model.train(self.encoder.training)  # a frozen encoder's statistics stay as they are


__all__ = ["SimFLEForImageClassification", "SimFLEForPreTraining", "SimFLEModel", "SimFLEPreTrainedModel"]
