"""Which images make a batch: of a data set that is there as a whole, and of a stream."""

import itertools
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from training.data.stream_order import length, share, untouched
from training.pretraining.arguments import PretrainingArguments


@dataclass(frozen=True)
class StepShape:
    """
    The batches of an optimizer step: their size and number, the processes, and which process this is.

    Args:
        batch_size: images of a process and micro-batch. accumulation: micro-batches. rank: of this process.
    """

    batch_size: int
    accumulation: int = 1
    num_processes: int = 1
    rank: int = 0

    @property
    def images(self) -> int:
        """Images of a step, over all processes."""
        return self.batch_size * self.accumulation * self.num_processes


class StepSampler(Sampler):
    """
    The (epoch, index) pairs of each micro-batch of one process, from a given step on.

    An epoch is a permutation drawn from (seed, epoch), cut into optimizer steps; the last short step is dropped.
    """

    def __init__(self, num_images: int, shape: StepShape, seed: int, first_step: int = 0, last_step: int = 0):
        self.num_images, self.shape, self.seed = num_images, shape, seed
        self.first_step, self.last_step = first_step, last_step

    @property
    def steps_per_epoch(self) -> int:
        return self.num_images // self.shape.images

    def __len__(self) -> int:
        return (self.last_step - self.first_step) * self.shape.accumulation

    def go_on(self, state: dict) -> int:
        """Starts where a checkpoint's state is. Returns how many images of the epoch are given up for it."""
        self.first_step = state["step"] * state["global_batch_size"] // self.shape.images
        return 0

    def state(self) -> dict:
        """What a checkpoint must hold, beside its step, to go on there."""
        return {}

    def __iter__(self):
        shape, drawn, order = self.shape, None, None
        for step in range(self.first_step, self.last_step):
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != drawn:
                drawn, order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.num_images)
            for micro in range(shape.accumulation):
                first = ((position * shape.accumulation + micro) * shape.num_processes + shape.rank) * shape.batch_size
                yield [(epoch, int(index)) for index in order[first : first + shape.batch_size]]


class StreamSampler(StepSampler):
    """
    The (epoch, row, cell) keys of each micro-batch of one process, from a stream.

    A start with another number of processes shares out what is left of the epoch; see `stream_order.untouched`.

    Args:
        faces: StreamedFaces. block_size: images that are shuffled together.
    """

    def __init__(self, faces, shape: StepShape, seed: int, block_size: int):
        super().__init__(len(faces), shape, seed)
        self.faces, self.block_size = faces, block_size
        self.step_images = shape.batch_size * shape.accumulation  # of a process
        # Of the epoch in which the number of processes changed: (num_processes, step_images, images taken) of each
        # earlier start, and the first step of this one.
        self.changed: dict = {"epoch": 0, "first_step": 0, "parts": []}

    def spans(self, epoch: int) -> list[tuple[int, int]]:
        """What this start and later ones share of an epoch."""
        parts = self.changed["parts"] if epoch == self.changed["epoch"] else []
        return untouched([(0, self.num_images)], parts, self.block_size)

    def epoch_start(self, epoch: int) -> int:
        """The first step of an epoch, or of this start's part of it."""
        return self.changed["first_step"] if epoch == self.changed["epoch"] else epoch * self.steps_per_epoch

    def go_on(self, state: dict) -> int:
        step, num_processes, images = (state[name] for name in ("step", "num_processes", "global_batch_size"))
        epoch, position = divmod(step, self.num_images // images)
        if state["stream"]["epoch"] == epoch:
            self.changed = state["stream"]
            position = step - self.changed["first_step"]
        if num_processes == self.shape.num_processes:
            self.first_step = step
            return 0
        before = length(self.spans(epoch)) - position * images
        parts = self.changed["parts"] if self.changed["epoch"] == epoch else []
        part = [num_processes, images // num_processes, position * images // num_processes]
        self.changed = {"epoch": epoch, "parts": [*parts, part]}
        left = length(self.spans(epoch))
        self.first_step = (epoch + 1) * self.steps_per_epoch - left // self.shape.images
        self.changed["first_step"] = self.first_step
        return before - left

    def state(self) -> dict:
        return {"stream": self.changed}

    def __iter__(self):
        step = self.first_step
        while step < self.last_step:
            epoch = step // self.steps_per_epoch
            spans = share(self.spans(epoch), self.shape.num_processes, self.shape.rank, self.step_images)
            taken = (step - self.epoch_start(epoch)) * self.step_images
            cells = self.faces.shuffled(spans, (self.seed, epoch, self.shape.rank), taken, self.block_size)
            for _ in range(min((epoch + 1) * self.steps_per_epoch, self.last_step) - step):
                for _ in range(self.shape.accumulation):
                    yield [(epoch, cell["row"], cell) for cell in itertools.islice(cells, self.shape.batch_size)]
                step += 1
            cells.close()


def make_sampler(accelerator, faces, run: PretrainingArguments):
    """The order of the images, of a stream where the run streams."""
    shape = StepShape(
        run.per_device_train_batch_size,
        accelerator.gradient_accumulation_steps,
        accelerator.num_processes,
        accelerator.process_index,
    )
    sampler = StepSampler(len(faces), shape, run.seed)
    if run.streaming:
        sampler = StreamSampler(faces, shape, run.seed, run.shuffle_block)
    last = sampler.steps_per_epoch * run.num_train_epochs
    sampler.last_step = min(last, run.max_train_steps or last)
    return sampler
