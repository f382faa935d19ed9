"""Batches of (origin, view 1, view 2) for pretraining; what each holds is a function of (seed, epoch, image) alone."""

import math
import sys

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from modeling_simfle.image_processing_simfle import resize_face
from modeling_simfle.modeling_simfle import LUMINANCE
from training.face_data import BadImage, Faces
from training.views import apply_view, draw_view, view_generator


def normalize(pixels: np.ndarray, processor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> float32, gray under do_grayscale, mean 0 and deviation 1 over the training faces."""
    if processor.do_grayscale:
        pixels = np.tensordot(np.array(LUMINANCE, np.float32), pixels, 1)[None].repeat(3, 0)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (processor.image_mean, processor.image_std))
    return ((pixels - mean) / std).astype(np.float32)


def to_pixel_values(image, processor) -> np.ndarray:
    """An RGB picture, not resized, as (3, H, W) float32."""
    return normalize(np.asarray(image, np.float32).transpose(2, 0, 1) / 255, processor)


class PretrainingSet(Dataset):
    """
    Items are asked for by (epoch, index): workers need no state.

    Args:
        faces: the pictures. processor: mean, deviation, do_grayscale. origin_size, view_size: sides in pixels.
    """

    def __init__(self, faces: Faces, processor, origin_size: int, view_size: int, seed: int):
        self.faces, self.processor, self.seed = faces, processor, seed
        self.origin_size, self.view_size = origin_size, view_size

    def __getitem__(self, key: tuple[int, int]) -> dict:
        """pixel_values, view_1_pixel_values, view_2_pixel_values (3, S, S) float32; index; problem, "" if none."""
        epoch, index = key
        image, problem = self.readable_image(index)
        origin = to_pixel_values(resize_face(image, self.origin_size), self.processor)
        item = {"pixel_values": origin, "index": index, "problem": problem}
        for view in (1, 2):
            parameters = draw_view(view_generator(self.seed, epoch, index, view), image.height, image.width)
            pixels = apply_view(image, parameters, self.view_size)
            item[f"view_{view}_pixel_values"] = normalize(pixels, self.processor)
        return item

    def readable_image(self, index: int):
        """Picture `index`, or the next that can be read; and what was wrong with it."""
        problem = ""
        for offset in range(len(self.faces)):
            try:
                return self.faces.image((index + offset) % len(self.faces)), problem
            except BadImage as error:
                problem = problem or str(error)
        raise BadImage(f"none of the {len(self.faces)} pictures can be read; the first: {problem}")


class StepSampler(Sampler):
    """
    The (epoch, index) pairs of each micro-batch of one process, from a given step on.

    An epoch is a permutation drawn from (seed, epoch), cut into optimiser steps of batch * accumulation * processes
    images; the last short step is dropped.
    """

    def __init__(self, num_images, batch_size, accumulation, num_processes, rank, seed, first_step, last_step):
        self.num_images, self.batch_size, self.accumulation = num_images, batch_size, accumulation
        self.num_processes, self.rank, self.seed = num_processes, rank, seed
        self.first_step, self.last_step = first_step, last_step

    @property
    def steps_per_epoch(self) -> int:
        return self.num_images // (self.batch_size * self.accumulation * self.num_processes)

    def __len__(self) -> int:
        return (self.last_step - self.first_step) * self.accumulation

    def __iter__(self):
        drawn, order = None, None
        for step in range(self.first_step, self.last_step):
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != drawn:
                drawn, order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.num_images)
            for micro in range(self.accumulation):
                first = ((position * self.accumulation + micro) * self.num_processes + self.rank) * self.batch_size
                yield [(epoch, int(index)) for index in order[first : first + self.batch_size]]


def make_loader(dataset: PretrainingSet, sampler: StepSampler, num_workers: int) -> DataLoader:
    """One loader for the whole run: workers start once."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if num_workers else None,
    )


def draw_masks(config, batch_size: int, seed: int, step: int, micro: int, rank: int) -> dict[str, torch.Tensor]:
    """group_ids (B,), and under masking="random" noise (B, L): a function of (seed, step, micro-batch, rank)."""
    if not config.use_local_branch:
        return {}
    generator = np.random.default_rng([seed, step, micro, rank])
    drawn = {"group_ids": torch.from_numpy(generator.integers(0, config.num_channel_groups, batch_size))}
    if config.masking == "random":
        drawn["noise"] = torch.from_numpy(generator.random((batch_size, config.num_patches), dtype=np.float32))
    return drawn


class BadImageCount:
    """Names and counts unreadable pictures over a run; beyond the limit the run stops."""

    def __init__(self, limit: int, seen: int = 0):
        self.limit, self.seen = limit, seen

    def add(self, problems: list[str]) -> None:
        for problem in filter(None, problems):
            self.seen += 1
            print(f"bad image {self.seen} (limit {self.limit}): {problem}", file=sys.stderr)
        if self.seen > self.limit:
            raise ValueError(
                f"{self.seen} bad images are more than --max_bad_images {self.limit}; see the names above."
            )


def cosine_learning_rate(base: float, batch_size: int, epoch: int, num_epochs: int) -> float:
    """base * batch / 256 * 0.5 (1 + cos(pi epoch / epochs)): set once an epoch, no warm-up."""
    return base * batch_size / 256 * 0.5 * (1 + math.cos(math.pi * epoch / num_epochs))
