"""Pictures through an image processor and a model, batched, with a progress bar and bad images left out."""

import sys

import numpy as np
import torch
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from training.data.faces import Faces
from training.data.images import BadImage, BadImages
from training.data.views import draw_crop, view_generator
from training.runtime.errors import InputError
from training.runtime.processes import ignore_stop_signals


class ProcessedFaces(Dataset):
    """
    Items: index, pixel_values (3, H, W), problem.

    Args:
        faces: the pictures. processor: the model's image processor.
        augment: None, or (seed, epoch): RandomResizedCrop and flip first, the paper's for training a linear probe.
    """

    def __init__(self, faces: Faces, processor, augment: tuple[int, int] | None = None):
        self.faces, self.processor, self.augment = faces, processor, augment

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int):
        try:
            image = self.faces.image(index)
        except BadImage as error:
            return index, None, str(error)
        if self.augment is not None:
            seed, epoch = self.augment
            generator = view_generator(seed, epoch, index, 0)
            top, left, height, width = draw_crop(generator, image.height, image.width)
            image = image.crop((left, top, left + width, top + height))
            if generator.random() < 0.5:
                image = image.transpose(0)  # left to right
        return index, self.processor(image, return_tensors="np")["pixel_values"][0], ""


def collate_readable(items):
    """Indices and pixel_values (B, 3, H, W) or None of the readable pictures; {index: problem} of the others."""
    readable = [(index, pixels) for index, pixels, problem in items if not problem]
    pixel_values = torch.from_numpy(np.stack([pixels for _, pixels in readable])) if readable else None
    return [index for index, _ in readable], pixel_values, {index: problem for index, _, problem in items if problem}


def batches_of(dataset, batch_size, num_workers, bad_images: BadImages, device, sampler=None, title="", part=""):
    """
    Yields (indices, pixel_values on the device); counts and names what cannot be read.

    Args:
        part: of the data, which tells the bad images of several apart: they are known by it and their row, "train 3".
    """
    loader = DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate_readable,
        worker_init_fn=ignore_stop_signals,
        generator=torch.Generator(),  # the loader draws a seed for its workers: not from the run's generator
    )
    for indices, pixel_values, problems in tqdm(loader, desc=title, disable=not sys.stderr.isatty(), leave=False):
        bad_images.add({f"{part} {dataset.faces.row(index)}": problem for index, problem in problems.items()})
        if indices:
            yield indices, pixel_values.to(device)


@torch.no_grad()
def compute_outputs(function, faces, processor, batch_size, num_workers, bad_images, device, title="", part=""):
    """
    Args:
        function: pixel_values (B, 3, H, W) -> (B, D). part: see `batches_of`.
    Returns:
        indices (N,) of the pictures that could be read, and their outputs (N, D), float32 on the CPU.
    Raises:
        ValueError: no picture can be read, or an output is not finite, whose largest would be the first class.
    """
    kept, outputs = [], []
    dataset = ProcessedFaces(faces, processor)
    for indices, pixel_values in batches_of(dataset, batch_size, num_workers, bad_images, device, None, title, part):
        kept.extend(indices)
        outputs.append(function(pixel_values).float().cpu())
    if not kept:
        raise InputError(f"none of the {len(faces)} images of {faces.source} can be read.")
    found = torch.cat(outputs)
    broken = (~found.isfinite()).flatten(1).any(1).sum().item()
    if broken:
        raise InputError(
            f"the model's output is not finite for {broken} of the {len(kept)} images of {faces.source}; its weights"
            " or BatchNorm's statistics are broken."
        )
    return np.array(kept), found


@torch.no_grad()
def estimate_batch_norm(encoder, faces, processor, batch_size, num_workers, bad_images, device) -> None:
    """
    Sets every BatchNorm's running statistics to the mean over one pass of the faces; weights stay.

    In an order of its own, since sorted classes would vary less within a batch than the faces do; without a short last
    batch, which would weigh as much as a full one.
    """
    order = np.random.default_rng(0).permutation(len(faces))
    order = order[: max(len(order) // batch_size * batch_size, min(len(order), batch_size))].tolist()
    dataset = ProcessedFaces(faces, processor)
    batches = batches_of(dataset, batch_size, num_workers, bad_images, device, order, "BatchNorm", "train")
    update_bn((pixel_values for indices, pixel_values in batches if len(indices) > 1), encoder)
    encoder.eval()
