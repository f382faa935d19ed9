"""SimFLE once more, in plain torch: what tests hold the package's own model against.

Written from method.md alone, without sight of the package. It works on a state dict in the authors'
format (method.md section 9), a flat dict of tensors. Plain beats fast: a loop stands wherever it is
the plainest reading of a formula. Always in train mode: batch statistics everywhere.

Symbols: B images, C channels of the encoder's last map f (B, C, h, w), G channel groups, M = C / G
channels a group, L patches of p pixels' side, N tokens, D width, T temperature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BATCH_NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.1
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
ONLINE = "online_network"
TARGET = "target_network"
GROUPING = "facemae.semantic_masking.channel_grouping.convolution"
AUTOENCODER = "facemae.autoencoder"


@dataclass(frozen=True)
class Sizes:
    """Every number of the method that is not the optimiser's; the defaults are the paper's."""

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    layer_type: str = "bottleneck"  # or "basic"
    projection_size: int = 256
    projection_hidden_size: int = 4096
    num_channel_groups: int = 32
    mask_ratio: float = 0.75
    norm_pix_loss: bool = True
    image_size: int = 112  # of the origin
    patch_size: int = 16
    width: int = 768
    blocks: int = 12
    heads: int = 12
    mlp_width: int = 3072
    decoder_width: int = 512
    decoder_blocks: int = 8
    decoder_heads: int = 16
    decoder_mlp_width: int = 2048
    layer_norm_eps: float = 1e-6
    ema_decay: float = 0.99
    temperature: float = 4.0
    distillation_weight: float = 0.3
    grouping_weight: float = 0.03


# Stage 2 holds a block without a shortcut convolution, stage 3 one that only its stride asks for.
TEST_SIZES = Sizes(
    embedding_size=8,
    hidden_sizes=(16, 32, 32, 64),
    depths=(1, 2, 1, 1),
    projection_size=16,
    projection_hidden_size=32,
    num_channel_groups=4,
    image_size=64,
    width=48,
    blocks=2,
    heads=4,
    mlp_width=96,
    decoder_width=32,
    decoder_blocks=2,
    decoder_heads=4,
    decoder_mlp_width=64,
)

Shapes = dict[str, tuple[int, ...]]


# --- The state dict: names, shapes, random values (method.md section 9) ---------------------------


def linear_shapes(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm_shapes(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def batch_norm_shapes(name: str, width: int) -> Shapes:
    return norm_shapes(name, width) | {
        f"{name}.running_mean": (width,),
        f"{name}.running_var": (width,),
        f"{name}.num_batches_tracked": (),
    }


def head_shapes(name: str, inputs: int, sizes: Sizes) -> Shapes:
    hidden = sizes.projection_hidden_size
    return (
        linear_shapes(f"{name}.net.0", inputs, hidden)
        | batch_norm_shapes(f"{name}.net.1", hidden)
        | linear_shapes(f"{name}.net.3", hidden, sizes.projection_size)
    )


def residual_shapes(name: str, inputs: int, outputs: int, stride: int, layer_type: str) -> Shapes:
    """One residual block; convolutions have no bias."""
    if layer_type == "bottleneck":
        inner = outputs // 4
        convolutions = [(inner, inputs, 1, 1), (inner, inner, 3, 3), (outputs, inner, 1, 1)]
    else:
        convolutions = [(outputs, inputs, 3, 3), (outputs, outputs, 3, 3)]
    shapes: Shapes = {}
    for number, shape in enumerate(convolutions, start=1):
        shapes[f"{name}.conv{number}.weight"] = shape
        shapes |= batch_norm_shapes(f"{name}.bn{number}", shape[0])
    if stride != 1 or inputs != outputs:
        shapes[f"{name}.downsample.0.weight"] = (outputs, inputs, 1, 1)
        shapes |= batch_norm_shapes(f"{name}.downsample.1", outputs)
    return shapes


def block_stride(stage: int, block: int) -> int:
    """Every stage but the first halves the map, in its first block."""
    return 2 if stage > 0 and block == 0 else 1


def encoder_shapes(name: str, sizes: Sizes) -> Shapes:
    """torchvision's children in order: 0 conv1, 1 bn1, (2 relu, 3 maxpool,) 4-7 the stages."""
    shapes: Shapes = {f"{name}.0.weight": (sizes.embedding_size, sizes.num_channels, 7, 7)}
    shapes |= batch_norm_shapes(f"{name}.1", sizes.embedding_size)
    inputs = sizes.embedding_size
    for stage, (outputs, depth) in enumerate(zip(sizes.hidden_sizes, sizes.depths, strict=True)):
        for block in range(depth):
            stride = block_stride(stage, block)
            block_name = f"{name}.{4 + stage}.{block}"
            shapes |= residual_shapes(block_name, inputs, outputs, stride, sizes.layer_type)
            inputs = outputs
    return shapes


def transformer_shapes(name: str, width: int, mlp_width: int) -> Shapes:
    return (
        norm_shapes(f"{name}.norm1", width)
        | linear_shapes(f"{name}.attn.qkv", width, 3 * width)
        | linear_shapes(f"{name}.attn.proj", width, width)
        | norm_shapes(f"{name}.norm2", width)
        | linear_shapes(f"{name}.mlp.fc1", width, mlp_width)
        | linear_shapes(f"{name}.mlp.fc2", mlp_width, width)
    )


def autoencoder_shapes(name: str, sizes: Sizes) -> Shapes:
    width, decoder_width, patch = sizes.width, sizes.decoder_width, sizes.patch_size
    tokens = 1 + (sizes.image_size // patch) ** 2
    shapes: Shapes = {
        f"{name}.cls_token": (1, 1, width),
        f"{name}.pos_embed": (1, tokens, width),
        f"{name}.mask_token": (1, 1, decoder_width),
        f"{name}.decoder_pos_embed": (1, tokens, decoder_width),
        f"{name}.patch_embed.proj.weight": (width, sizes.num_channels, patch, patch),
        f"{name}.patch_embed.proj.bias": (width,),
    }
    for block in range(sizes.blocks):
        shapes |= transformer_shapes(f"{name}.blocks.{block}", width, sizes.mlp_width)
    shapes |= norm_shapes(f"{name}.norm", width)
    shapes |= linear_shapes(f"{name}.decoder_embed", width, decoder_width)
    for block in range(sizes.decoder_blocks):
        block_name = f"{name}.decoder_blocks.{block}"
        shapes |= transformer_shapes(block_name, decoder_width, sizes.decoder_mlp_width)
    shapes |= norm_shapes(f"{name}.decoder_norm", decoder_width)
    pixels = patch * patch * sizes.num_channels
    return shapes | linear_shapes(f"{name}.decoder_pred", decoder_width, pixels)


def checkpoint_shapes(sizes: Sizes) -> Shapes:
    """Name and shape of every entry of an official state dict; allocates nothing."""
    channels = sizes.hidden_sizes[-1]
    shapes: Shapes = {}
    for network in (ONLINE, TARGET):
        shapes |= encoder_shapes(f"{network}.encoder", sizes)
        shapes |= head_shapes(f"{network}.projection", channels, sizes)
    shapes |= head_shapes("predictor", sizes.projection_size, sizes)
    shapes |= head_shapes("distil_GFL", channels, sizes)
    shapes |= head_shapes("distil_FFL", sizes.width, sizes)
    shapes |= {f"{GROUPING}.0.weight": (channels, channels, 1, 1), f"{GROUPING}.0.bias": (channels,)}
    shapes |= batch_norm_shapes(f"{GROUPING}.1", channels)
    return shapes | autoencoder_shapes(AUTOENCODER, sizes)


def is_parameter(name: str) -> bool:
    """A parameter in the authors' sense: no BatchNorm buffer (position tables are parameters)."""
    return not name.endswith(BUFFERS)


def is_trained(name: str) -> bool:
    """Whether the optimiser moves it: neither the target nor the fixed position tables."""
    return is_parameter(name) and not name.startswith(f"{TARGET}.") and not name.endswith("pos_embed")


def random_tensor(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random values of a size that keeps activations near 1, no two channels alike."""
    if name.endswith("num_batches_tracked"):
        return torch.randint(1, 1000, shape, generator=generator)  # int64
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return 0.5 + torch.rand(shape, generator=generator)  # a variance, or a norm's weight
    values = torch.randn(shape, generator=generator)
    if name.endswith(("bias", "running_mean")):
        return 0.1 * values
    if name.endswith("token"):
        return 0.5 * values
    return values / math.sqrt(math.prod(shape[1:]))  # fan in


def random_checkpoint(sizes: Sizes, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A state dict in the authors' format with random values, target unlike online.

    Drawn in float32 whatever `dtype` is, so that one seed means the same weights in each; only
    the position tables, computed in float64, are finer in float64.
    """
    generator = torch.Generator().manual_seed(seed)
    grid = sizes.image_size // sizes.patch_size
    tensors = {}
    for name, shape in checkpoint_shapes(sizes).items():
        table = name.endswith("pos_embed")
        value = position_table(shape[-1], grid) if table else random_tensor(name, shape, generator)
        tensors[name] = value.to(dtype) if value.is_floating_point() else value
    return tensors


def position_table(width: int, grid: int) -> Tensor:
    """(1, 1 + grid^2, width) in float64: [sin(c w), cos(c w), sin(r w), cos(r w)] at row r, column c.

    w_i = 10000^(-i / (D/4)), i = 0 ... D/4 - 1; a zero row for the class token first (section 2).
    """
    quarter = width // 4
    frequencies = torch.tensor([10000.0 ** (-i / quarter) for i in range(quarter)], dtype=torch.float64)
    rows = [torch.zeros(width, dtype=torch.float64)]
    for row in range(grid):
        for column in range(grid):
            across, down = column * frequencies, row * frequencies
            rows.append(torch.cat([across.sin(), across.cos(), down.sin(), down.cos()]))
    return torch.stack(rows)[None]


# --- Losses and the mask (sections 3-5) -----------------------------------------------------------


def similarity(p1: Tensor, p2: Tensor, q1: Tensor, q2: Tensor) -> Tensor:
    """L_s = mean over B of [(2 - 2 p1.q1) + (2 - 2 p2.q2)], all four as unit vectors (section 3)."""
    p1, p2, q1, q2 = (v / v.square().sum(dim=1, keepdim=True).sqrt() for v in (p1, p2, q1, q2))
    return ((2 - 2 * (p1 * q1).sum(dim=1)) + (2 - 2 * (p2 * q2).sum(dim=1))).mean()


def grouping(activations: Tensor, num_groups: int) -> Tensor:
    """L_g = l^2, l = 0.001 * sum((S - D)^2) / (C / 512)^2, from a (B, C, h, w) (section 4.3)."""
    batch, channels = activations.shape[:2]
    u = (activations + 0.001).flatten(start_dim=2)  # (B, C, h w)
    u = u / u.square().sum(dim=2, keepdim=True).sqrt()
    s = activations.new_zeros(channels, channels)
    for image in range(batch):
        s = s + u[image] @ u[image].T
    s = s / batch
    run = torch.arange(channels) // (channels // num_groups)  # which run of M channels each is in
    d = (run[:, None] == run[None, :]).to(s)  # (C, C), 1 within a run
    loss = 0.001 * (s - d).square().sum() / (channels / 512) ** 2
    return loss.square()


def patch_scores(activations: Tensor, group_ids: Tensor, num_groups: int, image_size: int, patch_size: int) -> Tensor:
    """Scores (B, L) of the drawn group: sum of its M channels, bilinear up, patch means (4.4)."""
    members = activations.shape[1] // num_groups
    grid = image_size // patch_size
    scores = []
    for image, group in enumerate(group_ids.tolist()):
        score_map = activations[image, group * members : (group + 1) * members].sum(dim=0)  # (h, w)
        pixels = functional.interpolate(
            score_map[None, None], size=(image_size, image_size), mode="bilinear", align_corners=False
        )[0, 0]
        patches = pixels.reshape(grid, patch_size, grid, patch_size)
        scores.append(patches.mean(dim=(1, 3)).flatten())  # row-major
    return torch.stack(scores)


def visible_mask(scores: Tensor, mask_ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """The int(L (1 - ratio)) best-scored patches stay; of equals the lower index first (4.5).

    Returns mask (B, L), 1 = removed; ids_keep (B, visible), best first; ids_restore (B, L), each
    patch's place in the order from best to worst.
    """
    batch, patches = scores.shape
    visible = int(patches * (1 - mask_ratio))
    mask = torch.ones_like(scores)
    ids_keep = torch.empty(batch, visible, dtype=torch.int64)
    ids_restore = torch.empty(batch, patches, dtype=torch.int64)
    for image, row in enumerate(scores.tolist()):
        order = [patch for _, patch in sorted((-score, patch) for patch, score in enumerate(row))]
        for place, patch in enumerate(order):
            ids_restore[image, patch] = place
            if place < visible:
                ids_keep[image, place] = patch
                mask[image, patch] = 0
    return mask, ids_keep, ids_restore


def reconstruction(origin: Tensor, logits: Tensor, mask: Tensor, patch_size: int, norm_pix_loss: bool) -> Tensor:
    """L_r: squared error averaged within a patch, then over the batch's removed patches (section 5).

    Target (patch - mean) / sqrt(unbiased variance + 1e-6), patch flattened (row, column, colour).
    """
    grid = origin.shape[-1] // patch_size
    errors = []
    for image, patch in mask.nonzero().tolist():
        top, left = (patch // grid) * patch_size, (patch % grid) * patch_size
        pixels = origin[image, :, top : top + patch_size, left : left + patch_size]  # (colour, row, column)
        target = pixels.permute(1, 2, 0).flatten()
        if norm_pix_loss:
            centred = target - target.mean()
            variance = centred.square().sum() / (target.numel() - 1)
            target = centred / (variance + 1e-6).sqrt()
        errors.append((logits[image, patch] - target).square().mean())
    return torch.stack(errors).mean()


def log_softmax(x: Tensor) -> Tensor:
    return x - x.logsumexp(dim=-1, keepdim=True)


def distillation(d1: Tensor, d2: Tensor, d3: Tensor, temperature: float) -> Tensor:
    """L_d = sum_i T^2 KL(softmax(t / T) || softmax(d_i / T)), t = (d1 + d2 + d3) / 3 (section 5)."""
    teacher = ((d1 + d2 + d3) / 3).detach()  # no gradient through the teacher
    log_t = log_softmax(teacher / temperature)
    total = d1.new_zeros(())
    for student in (d1, d2, d3):
        log_s = log_softmax(student / temperature)
        divergence = (log_t.exp() * (log_t - log_s)).sum(dim=1)  # (B,), summed over the entries
        total = total + temperature**2 * divergence.mean()
    return total


# --- The networks (section 2) and a step (sections 3-6) -------------------------------------------


class Oracle:
    """The whole method on `tensors`, a dict in the authors' names; a step replaces its entries."""

    def __init__(self, state_dict: dict[str, Tensor], sizes: Sizes, dtype: torch.dtype = torch.float64):
        found = {name: tuple(value.shape) for name, value in state_dict.items()}
        expected = checkpoint_shapes(sizes)
        if found != expected:
            wrong = sorted(set(found.items()) ^ set(expected.items()))
            raise ValueError(f"state dict does not fit the sizes, first differences: {wrong[:6]}")
        self.sizes = sizes
        self.dtype = dtype
        self.tensors: dict[str, Tensor] = {}
        self.momentum_buffers: dict[str, Tensor] = {}
        for name, value in state_dict.items():
            value = value.detach().clone()
            self.tensors[name] = value.to(dtype) if value.is_floating_point() else value
            if is_trained(name):
                self.tensors[name].requires_grad_()

    def state_dict(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.tensors.items()}

    def batch_norm(self, x: Tensor, name: str) -> Tensor:
        """(x - mean) / sqrt(biased variance + eps) * weight + bias, over all but the channels.

        running = 0.9 running + 0.1 batch's, where the running variance takes the unbiased one.
        """
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        shape = [1, -1] + [1] * (x.ndim - 2)
        over = [dim for dim in range(x.ndim) if dim != 1]
        count = x.numel() // x.shape[1]
        mean = x.mean(dim=over)
        centred = x - mean.view(shape)
        variance = centred.square().mean(dim=over)
        unbiased = variance * count / (count - 1)
        for buffer, value in (("running_mean", mean), ("running_var", unbiased)):
            old = self.tensors[f"{name}.{buffer}"]
            new = (1 - BATCH_NORM_MOMENTUM) * old + BATCH_NORM_MOMENTUM * value.detach()
            self.tensors[f"{name}.{buffer}"] = new
        self.tensors[f"{name}.num_batches_tracked"] = self.tensors[f"{name}.num_batches_tracked"] + 1
        normalised = centred / (variance + BATCH_NORM_EPS).sqrt().view(shape)
        return normalised * weight.view(shape) + bias.view(shape)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def layer_norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        normalised = centred / (variance + self.sizes.layer_norm_eps).sqrt()
        return normalised * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def head(self, x: Tensor, name: str) -> Tensor:
        """Linear - BatchNorm - ReLU - Linear."""
        hidden = self.batch_norm(self.linear(x, f"{name}.net.0"), f"{name}.net.1")
        return self.linear(hidden.relu(), f"{name}.net.3")

    def convolution(self, x: Tensor, name: str, stride: int) -> Tensor:
        """Without bias, padded so that stride 1 keeps the map's size."""
        weight = self.tensors[f"{name}.weight"]
        return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def residual_block(self, x: Tensor, name: str, stride: int) -> Tensor:
        """relu(convolutions(x) + shortcut(x)), the stride on the first 3x3."""
        strides = (1, stride, 1) if self.sizes.layer_type == "bottleneck" else (stride, 1)
        shortcut = x
        if f"{name}.downsample.0.weight" in self.tensors:
            shortcut = self.convolution(x, f"{name}.downsample.0", stride)
            shortcut = self.batch_norm(shortcut, f"{name}.downsample.1")
        for number, one_stride in enumerate(strides, start=1):
            x = self.convolution(x, f"{name}.conv{number}", one_stride)
            x = self.batch_norm(x, f"{name}.bn{number}")
            if number < len(strides):
                x = x.relu()
        return (x + shortcut).relu()

    def encoder(self, images: Tensor, network: str) -> Tensor:
        """ResNet v1.5: (B, 3, H, W) -> f (B, C, H / 32, W / 32)."""
        name = f"{network}.encoder"
        x = self.batch_norm(self.convolution(images, f"{name}.0", stride=2), f"{name}.1").relu()
        x = functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        for stage, depth in enumerate(self.sizes.depths):
            for block in range(depth):
                x = self.residual_block(x, f"{name}.{4 + stage}.{block}", block_stride(stage, block))
        return x

    def online_view(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """One pass of one view: (p, d), the prediction and the global distillation logits."""
        y = self.encoder(view, ONLINE).mean(dim=(2, 3))  # (B, C)
        p = self.head(self.head(y, f"{ONLINE}.projection"), "predictor")
        return p, self.head(y, "distil_GFL")

    @torch.no_grad()  # the target never learns by gradient
    def target_view(self, view: Tensor) -> Tensor:
        return self.head(self.encoder(view, TARGET).mean(dim=(2, 3)), f"{TARGET}.projection")

    def channel_grouping(self, f0: Tensor) -> Tensor:
        """a = relu(BatchNorm(1x1 convolution(f0)))."""
        bias = self.tensors[f"{GROUPING}.0.bias"]
        convolved = self.convolution(f0, f"{GROUPING}.0", stride=1) + bias[None, :, None, None]
        return self.batch_norm(convolved, f"{GROUPING}.1").relu()

    def attention(self, x: Tensor, name: str, heads: int) -> Tensor:
        """softmax(q k^T * head_dim^-0.5) v, one head at a time."""
        width = x.shape[-1]
        head_dim = width // heads
        qkv = self.linear(x, f"{name}.qkv")  # (B, N, 3 D): all of q, all of k, all of v
        query, key, value = qkv[..., :width], qkv[..., width : 2 * width], qkv[..., 2 * width :]
        outputs = []
        for head in range(heads):
            own = slice(head * head_dim, (head + 1) * head_dim)
            products = query[..., own] @ key[..., own].transpose(1, 2) * head_dim**-0.5  # (B, N, N)
            outputs.append(log_softmax(products).exp() @ value[..., own])
        return self.linear(torch.cat(outputs, dim=-1), f"{name}.proj")

    def transformer_block(self, x: Tensor, name: str, heads: int) -> Tensor:
        """Pre-norm; GELU exact: z / 2 * (1 + erf(z / sqrt 2))."""
        x = x + self.attention(self.layer_norm(x, f"{name}.norm1"), f"{name}.attn", heads)
        z = self.linear(self.layer_norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")
        return x + self.linear(z / 2 * (1 + torch.erf(z / math.sqrt(2))), f"{name}.mlp.fc2")

    def facemae_encoder(self, origin: Tensor, ids_keep: Tensor) -> Tensor:
        """Latent (B, 1 + visible, D), class token first, then the visible patches in ids_keep's order."""
        name, tensors, patch = AUTOENCODER, self.tensors, self.sizes.patch_size
        weight, bias = tensors[f"{name}.patch_embed.proj.weight"], tensors[f"{name}.patch_embed.proj.bias"]
        embedded = functional.conv2d(origin, weight, bias, stride=patch)  # (B, D, grid, grid)
        positions = tensors[f"{name}.pos_embed"]
        tokens = embedded.flatten(start_dim=2).transpose(1, 2) + positions[:, 1:]  # (B, L, D), row-major
        class_token = tensors[f"{name}.cls_token"][0] + positions[0, :1]  # (1, D)
        x = torch.stack([torch.cat([class_token, own[keep]]) for own, keep in zip(tokens, ids_keep, strict=True)])
        for block in range(self.sizes.blocks):
            x = self.transformer_block(x, f"{name}.blocks.{block}", self.sizes.heads)
        return self.layer_norm(x, f"{name}.norm")

    def facemae_decoder(self, latent: Tensor, ids_restore: Tensor) -> Tensor:
        """Logits (B, L, p * p * 3): mask tokens in the removed places, then blocks, then pixels."""
        name, tensors = AUTOENCODER, self.tensors
        embedded = self.linear(latent, f"{name}.decoder_embed")
        mask_token = tensors[f"{name}.mask_token"][0, 0]
        sequences = []
        for own, places in zip(embedded, ids_restore.tolist(), strict=True):
            visible = len(own) - 1
            patches = [own[1 + place] if place < visible else mask_token for place in places]
            sequences.append(torch.stack([own[0], *patches]))
        x = torch.stack(sequences) + tensors[f"{name}.decoder_pos_embed"]  # (B, 1 + L, D)
        for block in range(self.sizes.decoder_blocks):
            x = self.transformer_block(x, f"{name}.decoder_blocks.{block}", self.sizes.decoder_heads)
        x = self.linear(self.layer_norm(x, f"{name}.decoder_norm"), f"{name}.decoder_pred")
        return x[:, 1:]

    def losses(self, origin: Tensor, view_1: Tensor, view_2: Tensor, group_ids: Tensor) -> dict[str, Tensor]:
        """One forward pass in train mode, in method.md's order of passes; results keep their graph.

        The four losses are unweighted; L = L_s + L_r + 0.3 L_d + 0.03 L_g (section 6).
        """
        sizes = self.sizes
        origin, view_1, view_2 = (images.to(self.dtype) for images in (origin, view_1, view_2))
        p1, d1 = self.online_view(view_1)
        p2, d2 = self.online_view(view_2)
        q2 = self.target_view(view_1)
        q1 = self.target_view(view_2)
        with torch.no_grad():  # the mask's features: the grouping alone learns from them
            f0 = self.encoder(origin, ONLINE)
        a = self.channel_grouping(f0)
        scores = patch_scores(a.detach(), group_ids, sizes.num_channel_groups, sizes.image_size, sizes.patch_size)
        mask, ids_keep, ids_restore = visible_mask(scores, sizes.mask_ratio)
        latent = self.facemae_encoder(origin, ids_keep)
        logits = self.facemae_decoder(latent, ids_restore)
        d3 = self.head(latent[:, 1:].mean(dim=1), "distil_FFL")  # without the class token
        l_s = similarity(p1, p2, q1, q2)
        l_r = reconstruction(origin, logits, mask, sizes.patch_size, sizes.norm_pix_loss)
        l_d = distillation(d1, d2, d3, sizes.temperature)
        l_g = grouping(a, sizes.num_channel_groups)
        return {
            "loss": l_s + l_r + sizes.distillation_weight * l_d + sizes.grouping_weight * l_g,
            "similarity_loss": l_s,
            "reconstruction_loss": l_r,
            "distillation_loss": l_d,
            "grouping_loss": l_g,
            "mask": mask,
            "ids_restore": ids_restore,
            "patch_scores": scores,
            "logits": logits,
            "latent": latent,
        }

    def gradients(self, loss: Tensor) -> dict[str, Tensor]:
        """d loss / d parameter for every trained parameter that `loss` reaches."""
        names = [name for name in self.tensors if is_trained(name)]
        parameters = [self.tensors[name] for name in names]
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        return {name: value for name, value in zip(names, found, strict=True) if value is not None}

    @torch.no_grad()
    def descend(self, gradients: dict[str, Tensor], learning_rate: float, momentum: float, weight_decay: float) -> None:
        """As torch.optim.SGD: g += decay * w; v = momentum * v + g (at first v = g); w -= rate * v."""
        for name, gradient in gradients.items():
            weight = self.tensors[name]
            velocity = gradient + weight_decay * weight
            if name in self.momentum_buffers:
                velocity = momentum * self.momentum_buffers[name] + velocity
            self.momentum_buffers[name] = velocity
            self.tensors[name] = (weight - learning_rate * velocity).requires_grad_()

    @torch.no_grad()
    def update_target(self) -> None:
        """target = 0.99 target + 0.01 online, parameters only: its buffers are its own passes'."""
        decay = self.sizes.ema_decay
        for name, value in self.tensors.items():
            if name.startswith(f"{TARGET}.") and is_parameter(name):
                online = self.tensors[name.replace(TARGET, ONLINE, 1)]
                self.tensors[name] = decay * value + (1 - decay) * online

    def train_step(
        self,
        origin: Tensor,
        view_1: Tensor,
        view_2: Tensor,
        group_ids: Tensor,
        learning_rate: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
    ) -> dict[str, Tensor]:
        """Losses, their gradients, an SGD step, then the target's; returns the losses, detached."""
        results = self.losses(origin, view_1, view_2, group_ids)
        self.descend(self.gradients(results["loss"]), learning_rate, momentum, weight_decay)
        self.update_target()
        return {name: value.detach() for name, value in results.items()}
