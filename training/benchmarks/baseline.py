"""
A plain version of pretraining, the baseline of bench.py. Do not improve it: it stands for the code that people have.

The step is eager float32 in channels-first layout. Attention is written out, the C x C target of the grouping is built,
the target network is averaged parameter by parameter, every loss is read on the host in each step, and views are made
image by image with Pillow.
"""

from unittest.mock import patch

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from modeling_simfle import SimFLEForPreTraining, SimFLEImageProcessor, modeling_simfle
from training.data.views import draw_view, view_generator

ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)  # in the order of ViewParameters


def pillow_view(image: Image.Image, view, size: int) -> torch.Tensor:
    """One view of an 8-bit RGB image, (3, size, size) float32 in [0, 1]. view: ViewParameters."""
    top, left, height, width = view.crop
    image = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
    if view.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    strengths = (view.brightness, view.contrast, view.saturation)
    for operation in view.jitter_order if view.jitter else ():
        if operation < 3:
            image = ENHANCERS[operation](image).enhance(strengths[operation])
        else:
            image = pillow_hue(image, view.hue)
    if view.grayscale:
        image = image.convert("L").convert("RGB")
    pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).astype(np.float32) / 255)
    return gaussian_blur(pixels, view.sigma)


def pillow_hue(image: Image.Image, hue: float) -> Image.Image:
    h, s, v = image.convert("HSV").split()
    shifted = np.asarray(h) + np.uint8(int(hue * 255) % 256)  # wraps around
    return Image.merge("HSV", (Image.fromarray(shifted), s, v)).convert("RGB")


def gaussian_blur(pixels: torch.Tensor, sigma: float) -> torch.Tensor:
    """Two one-dimensional convolutions over reflect padding; the kernel spans 0.1 of the side made odd."""
    radius = int(0.1 * pixels.shape[-1]) // 2
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).expand(3, 1, 1, -1)
    padded = F.pad(pixels[None], [radius] * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, weights, groups=3), weights.transpose(2, 3), groups=3)[0]


class PillowDataset(Dataset):
    """faces: training.data.faces.Faces. Items: origin and two views, normalised, (3, S, S) float32."""

    def __init__(self, faces, origin_size: int, view_size: int):
        self.faces, self.origin_size, self.view_size = faces, origin_size, view_size
        processor = SimFLEImageProcessor()
        self.mean, self.std = (torch.tensor(v)[:, None, None] for v in (processor.image_mean, processor.image_std))

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        image = self.faces.image(index)
        origin = np.asarray(image.resize((self.origin_size, self.origin_size), Image.Resampling.BILINEAR))
        item = {"pixel_values": torch.from_numpy(origin.transpose(2, 0, 1).astype(np.float32) / 255)}
        for number in (1, 2):
            view = draw_view(view_generator(0, 0, index, number), image.height, image.width)
            item[f"view_{number}_pixel_values"] = pillow_view(image, view, self.view_size)
        return {name: (pixels - self.mean) / self.std for name, pixels in item.items()}


def plain_batches(faces, config, bench):
    """Yields the batches of an epoch. bench: BenchArguments."""
    dataset = PillowDataset(faces, config.facemae_image_size, bench.view_size)
    yield from DataLoader(dataset, bench.batch_size, shuffle=True, drop_last=True, num_workers=bench.num_workers)


def plain_attention(query, key, value):
    """softmax(q k^T / sqrt(d)) v, with a new tensor for each operation."""
    scores = (query @ key.transpose(-2, -1)) * query.shape[-1] ** -0.5
    return scores.softmax(-1) @ value


def plain_grouping_loss(activations: torch.Tensor, num_groups: int, _=None) -> torch.Tensor:
    channels = activations.shape[1]
    group = torch.arange(channels, device=activations.device) // (channels // num_groups)
    target = (group[:, None] == group[None]).float()
    similarity = modeling_simfle.channel_similarity(activations)
    return (0.001 * ((similarity - target) ** 2).sum() / (channels / 512) ** 2) ** 2


class PlainStep:
    """
    step(batch) trains on one batch on the model's device and returns the losses as numbers. The plain attention and
    grouping loss replace the model's own during a step.
    """

    def __init__(self, config, device: str):
        torch.manual_seed(0)
        self.model = SimFLEForPreTraining(config).train().to(device)
        self.device = device
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-4)

    def __call__(self, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        with (
            patch.object(F, "scaled_dot_product_attention", plain_attention),
            patch.object(modeling_simfle, "grouping_loss", plain_grouping_loss),
        ):
            output = self.model(**{name: tensor.to(self.device) for name, tensor in batch.items()})
        self.optimizer.zero_grad()
        output.loss.backward()
        self.optimizer.step()
        self.update_target()
        losses = ("loss", "similarity_loss", "reconstruction_loss", "distillation_loss", "grouping_loss")
        return {name: output[name].item() for name in losses if output.get(name) is not None}

    @torch.no_grad()
    def update_target(self) -> None:
        decay, model = self.model.config.ema_decay, self.model
        for target, online in ((model.target_encoder, model.encoder), (model.target_projector, model.projector)):
            for own, other in zip(target.parameters(), online.parameters(), strict=True):
                own.copy_(decay * own + (1 - decay) * other)
