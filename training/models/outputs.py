"""Images through an image processor and a model, in batches; bad images are counted and left out."""

import sys
from dataclasses import dataclass

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
        faces: the images. processor: the model's image processor.
        augment: None, or (seed, epoch): first RandomResizedCrop and flip, as the paper trains a linear probe.
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
    """Indices and pixel_values (B, 3, H, W) or None of the readable images; {index: problem} of the others."""
    readable = [(index, pixels) for index, pixels, problem in items if not problem]
    pixel_values = torch.from_numpy(np.stack([pixels for _, pixels in readable])) if readable else None
    return [index for index, _ in readable], pixel_values, {index: problem for index, _, problem in items if problem}


@dataclass
class ImagePass:
    """
    How images are read in a pass over faces.

    Args:
        bad_images: counts and limits unreadable images. device: of the model.
    """

    batch_size: int
    num_workers: int
    bad_images: BadImages
    device: str | torch.device


def batches_of(dataset: ProcessedFaces, images: ImagePass, sampler=None, title: str = "", part: str = ""):
    """
    Yields (indices, pixel_values on the device); counts and names unreadable images.

    Args:
        title: of the progress bar. part: a name of the faces, such as "train", which tells bad images of several data
            sets apart: they are known by it and their row, "train 3".
    """
    loader = DataLoader(
        dataset,
        images.batch_size,
        sampler=sampler,
        num_workers=images.num_workers,
        collate_fn=collate_readable,
        worker_init_fn=ignore_stop_signals,
        generator=torch.Generator(),  # the loader draws a seed for its workers: not from the run's generator
    )
    for indices, pixel_values, problems in tqdm(loader, desc=title, disable=not sys.stderr.isatty(), leave=False):
        images.bad_images.add({f"{part} {dataset.faces.row(index)}": text for index, text in problems.items()})
        if indices:
            yield indices, pixel_values.to(images.device)


@torch.no_grad()
def compute_outputs(function, faces: Faces, processor, images: ImagePass, title: str = "", part: str = ""):
    """
    Args:
        function: pixel_values (B, 3, H, W) -> (B, D). title, part: see `batches_of`.
    Returns:
        indices (N,) of the readable images, and their outputs (N, D), float32 on the CPU.
    Raises:
        InputError: no image can be read, or an output is not finite: the largest of such outputs would be the first.
    """
    kept, parts = [], []
    for indices, pixel_values in batches_of(ProcessedFaces(faces, processor), images, None, title, part):
        kept.extend(indices)
        parts.append(function(pixel_values).float().cpu())
    if not kept:
        raise InputError(f"none of the {len(faces)} images of {faces.source} can be read.")
    outputs = torch.cat(parts)
    broken = (~outputs.isfinite()).flatten(1).any(1).sum().item()
    if broken:
        raise InputError(
            f"the model's output is not finite for {broken} of the {len(kept)} images of {faces.source}; its weights"
            " or BatchNorm's statistics are broken."
        )
    return np.array(kept), outputs


@torch.no_grad()
def estimate_batch_norm(encoder, faces: Faces, processor, images: ImagePass) -> None:
    """
    Sets every BatchNorm's running statistics to the mean over one pass of the faces; weights stay.

    The faces come in an order of their own: sorted classes would vary less within a batch than the faces do. A short
    last batch is dropped, because it would weigh as much as a full batch.
    """
    size = images.batch_size
    order = np.random.default_rng(0).permutation(len(faces))
    order = order[: max(len(order) // size * size, min(len(order), size))].tolist()
    batches = batches_of(ProcessedFaces(faces, processor), images, order, "BatchNorm", "train")
    update_bn((pixel_values for indices, pixel_values in batches if len(indices) > 1), encoder)
    encoder.eval()
