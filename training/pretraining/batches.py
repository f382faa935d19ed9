"""
The way of a batch (origin, view 1, view 2): data set, loader, views, prefetch, masks, learning rate. Its images are
chosen in samplers.py.

What a batch holds is a function of (seed, epoch, image) alone.
"""

import math
import time
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader, Dataset

from training.data.faces import Faces
from training.data.images import BadImage
from training.data.views import (
    BLUR_SIGMA,
    apply_views,
    draw_view,
    normalize,
    resize_whole,
    stack_views,
    view_generator,
)
from training.pretraining.arguments import PretrainingArguments
from training.runtime.processes import ignore_stop_signals


class PretrainingSet(Dataset):
    """
    Batches of decoded images and of the views drawn for them. Keys are (epoch, index): workers need no state.

    Args:
        image_side: the longest side of a decoded image, in pixels; larger ones are made smaller first.
        blur_sigma: see `draw_view`.
    """

    def __init__(self, faces: Faces, image_side: int, seed: int, blur_sigma=BLUR_SIGMA):
        self.faces, self.image_side, self.seed, self.blur_sigma = faces, image_side, seed, blur_sigma

    def __getitems__(self, keys: list[tuple]) -> dict:
        """images (B, H, W, 3) uint8, sizes (B, 2), view_1 and view_2 ViewBatch, index (B,); problems, "" if none."""
        # A stream's keys bring the cells of their images with them.
        images, problems = zip(
            *(self.streamed_image(*key[2:]) if len(key) > 2 else self.readable_image(key[1]) for key in keys)
        )
        batch = {
            "sizes": torch.tensor([image.shape[:2] for image in images], dtype=torch.float32),
            "index": torch.tensor([index for _, index, *_ in keys]),
            "problems": list(problems),
            "images": pad_images(images),
        }
        for view in (1, 2):
            drawn = [
                draw_view(
                    view_generator(self.seed, epoch, index, view), image.shape[0], image.shape[1], self.blur_sigma
                )
                for (epoch, index, *_), image in zip(keys, images)
            ]
            batch[f"view_{view}"] = stack_views(drawn)
        return batch

    def readable_image(self, index: int) -> tuple[np.ndarray, str]:
        """Picture `index`, or the next that can be read, (H, W, 3) uint8; and what was wrong with it."""
        problem = ""
        for offset in range(len(self.faces)):
            try:
                return self.faces.pixels((index + offset) % len(self.faces), self.image_side), problem
            except BadImage as error:
                problem = problem or str(error)
        raise BadImage(f"none of the {len(self.faces)} images can be read; the first: {problem}")

    def streamed_image(self, cell: dict) -> tuple[np.ndarray, str]:
        """A stream's image; gray where it cannot be read, since a stream has no next one at hand."""
        try:
            return self.faces.pixels(cell, self.image_side), ""
        except BadImage as error:
            return np.full((self.image_side, self.image_side, 3), 127, np.uint8), str(error)


def pad_images(images) -> torch.Tensor:
    """Images (h, w, 3) uint8 -> (B, H, W, 3), each in the upper left corner."""
    height, width = np.max([image.shape[:2] for image in images], axis=0)
    padded = np.zeros((len(images), height, width, 3), np.uint8)
    for place, image in zip(padded, images):
        place[: image.shape[0], : image.shape[1]] = image
    return torch.from_numpy(padded)


class MakeViews:
    """
    Decoded images -> the model's inputs, on whatever device the images are.

    Args:
        processor: mean, deviation, do_grayscale. origin_size (None: no origin), view_size: sides in pixels.
    """

    def __init__(self, processor, origin_size: int | None, view_size: int):
        self.processor, self.origin_size, self.view_size = processor, origin_size, view_size

    def __call__(self, batch: dict) -> dict:
        """The batch with (B, 3, S, S) float32 inputs of the model in place of the images and parameters."""
        made = {name: batch[name] for name in ("index", "problems")}
        if self.origin_size:
            made["pixel_values"] = resize_whole(batch["images"], batch["sizes"], self.origin_size)
        for view in (1, 2):
            made[f"view_{view}_pixel_values"] = apply_views(batch["images"], batch[f"view_{view}"], self.view_size)
        return {k: normalize(v, self.processor) if k.endswith("pixel_values") else v for k, v in made.items()}


class Feeder:
    """
    Batches on the device, one ahead of the step: copying and the views run beside it on a stream of their own.

    Args:
        loader: batches of training.pretraining.batches. make_views: MakeViews, or None where the workers made them.
    """

    def __init__(self, loader, device: torch.device, make_views):
        self.batches, self.device, self.make_views = iter(loader), device, make_views
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.waited = 0.0  # seconds that the host waited for the loader
        self.upcoming: dict | None = None

    def prepare(self) -> dict | None:
        started = time.perf_counter()
        batch = next(self.batches, None)
        self.waited += time.perf_counter() - started
        if batch is None:
            return None
        indices = batch["index"].tolist()
        with torch.cuda.stream(self.stream) if self.stream else nullcontext():
            batch = send_to_device(batch, self.device, non_blocking=True)
            if self.make_views is not None:
                batch = self.make_views(batch)
            inputs = {
                name: values.contiguous(memory_format=torch.channels_last)
                for name, values in batch.items()
                if name.endswith("pixel_values")
            }
        return {"inputs": inputs, "indices": indices, "problems": batch["problems"]}

    def next(self) -> dict:
        """inputs: the model's; indices and problems of the images."""
        batch = self.prepare() if self.upcoming is None else self.upcoming
        assert batch is not None, "the sampler has a batch for every step"
        self.upcoming = None
        if self.stream:
            torch.cuda.current_stream(self.device).wait_stream(self.stream)
            for tensor in batch["inputs"].values():
                tensor.record_stream(torch.cuda.current_stream(self.device))
        return batch

    def prefetch(self) -> None:
        """Prepares the next batch while the device computes the step; does nothing without CUDA."""
        if self.stream:
            self.upcoming = self.prepare()


def make_feeder(accelerator, model_config, processor, faces, sampler, run: PretrainingArguments, num_workers: int):
    """Loader and views: the views are made in the workers on the CPU, and on the device of an accelerator."""
    image_side = run.image_side or 2 * run.view_size
    on_device = accelerator.device.type != "cpu"
    origin_size = model_config.facemae_image_size if model_config.use_local_branch else None
    make_views = MakeViews(processor, origin_size, run.view_size)
    dataset = PretrainingSet(faces, image_side, run.seed, tuple(run.blur_sigma))
    collate: Any = dict if on_device else make_views  # of a whole batch, as `__getitems__` gives it
    # One loader for the whole run: workers start once.
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if num_workers else None,
        timeout=run.timeout_seconds if num_workers else 0,
        worker_init_fn=ignore_stop_signals,
    )
    return Feeder(loader, accelerator.device, make_views if on_device else None)


def draw_masks(config, batch_size: int, seed: int, step: int, micro: int, rank: int) -> dict[str, torch.Tensor]:
    """group_ids (B,), and under masking="random" noise (B, L): a function of (seed, step, micro-batch, rank)."""
    if not config.use_local_branch:
        return {}
    generator = np.random.default_rng([seed, step, micro, rank])
    drawn = {"group_ids": torch.from_numpy(generator.integers(0, config.num_channel_groups, batch_size))}
    if config.masking == "random":
        drawn["noise"] = torch.from_numpy(generator.random((batch_size, config.num_patches), dtype=np.float32))
    return drawn


def cosine_learning_rate(base: float, batch_size: int, epoch: int, num_epochs: int) -> float:
    """base * batch / 256 * 0.5 (1 + cos(pi epoch / epochs)): set once an epoch, no warm-up."""
    return base * batch_size / 256 * 0.5 * (1 + math.cos(math.pi * epoch / num_epochs))
