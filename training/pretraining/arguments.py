"""The arguments of a pretraining run."""

import math
from dataclasses import dataclass, field
from typing import Literal

from training.runtime.arguments import check_range
from training.runtime.errors import InputError

# Arguments that a run and its checkpoint must share.
FIXED_ON_RESUME = (
    *("num_train_epochs", "base_learning_rate", "momentum", "weight_decay", "seed", "view_size"),
    *("image_side", "blur_sigma", "global_grouping", "per_device_train_batch_size"),
)


@dataclass
class PretrainingArguments:
    """The run."""

    output_dir: str = field(default="", metadata={"help": "new folder; holds a loadable model at the end"})
    streaming: bool = field(
        default=False, metadata={"help": "read Parquet or WebDataset shards as a stream, never as a whole"}
    )
    shuffle_buffer: int = field(default=10000, metadata={"help": "images among which a stream draws the next image"})
    num_images: int | None = field(
        default=None, metadata={"help": "images an epoch, for a stream that does not state its length"}
    )
    view_size: int = field(
        default=224, metadata={"help": "side of both views, in pixels; also the size of the saved processor"}
    )
    blur_sigma: list[float] = field(
        default_factory=lambda: [0.1, 2.0],
        metadata={"help": "smallest and largest sigma of the views' blur, in pixels of the view"},
    )
    per_device_train_batch_size: int = field(default=256, metadata={"help": "images per process and micro-batch"})
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "micro-batches per optimizer step"})
    num_train_epochs: int = field(default=100, metadata={"help": "epochs; the learning rate reaches zero at their end"})
    max_train_steps: int | None = field(
        default=None, metadata={"help": "stop after N steps, without a change of the schedule"}
    )
    max_train_minutes: float | None = field(
        default=None, metadata={"help": "stop after N minutes, with a checkpoint and a loadable model"}
    )
    base_learning_rate: float = field(
        default=0.05, metadata={"help": "learning rate of a batch of 256; it scales with the batch"}
    )
    momentum: float = field(default=0.9, metadata={"help": "momentum of SGD"})
    weight_decay: float = field(default=1e-4, metadata={"help": "weight decay of all trained parameters"})
    mixed_precision: Literal["no", "bf16", "fp16"] | None = field(
        default=None, metadata={"help": "precision of autocast; by default that of Accelerate's config, else no"}
    )
    compile: bool = field(
        default=False,
        metadata={"help": "compile the model with torch.compile: minutes at the start, faster steps later"},
    )
    cuda_graph: bool = field(
        default=False, metadata={"help": "record forward and backward once and replay them; faster with a slow host"}
    )
    sync_batchnorm: bool = field(
        default=False, metadata={"help": "compute BatchNorm over all processes (GPUs only; slower)"}
    )
    global_grouping: bool = field(
        default=False, metadata={"help": "compute the channel similarity S over all processes"}
    )
    cache_images: bool = field(
        default=False, metadata={"help": "decode the images once into a memory-mapped file, if it fits on the disk"}
    )
    cache_dir: str = field(default="~/.cache/simfle", metadata={"help": "folder of the files of --cache_images"})
    image_side: int | None = field(
        default=None, metadata={"help": "longest side of a decoded image, in pixels; by default twice the view's side"}
    )
    monitor_dataset: str | None = field(
        default=None,
        metadata={
            "help": "labelled faces with the splits train and validation, for a k-NN accuracy every --monitor_epochs"
        },
    )
    monitor_images: int = field(
        default=10000, metadata={"help": "largest number of faces of its train split in the k-NN bank"}
    )
    monitor_epochs: int = field(default=1, metadata={"help": "write a line of monitor.jsonl every N epochs"})
    seed: int = field(default=0, metadata={"help": "seed of weights, order, views and masks"})
    logging_steps: int = field(default=10, metadata={"help": "write metrics every N optimizer steps"})
    checkpointing_steps: int = field(default=500, metadata={"help": "write a checkpoint every N steps"})
    checkpoints_total_limit: int = field(default=2, metadata={"help": "number of checkpoints that are kept"})
    resume_from_checkpoint: str | None = field(default=None, metadata={"help": "latest, or the folder of a checkpoint"})
    report_to: str | None = field(default=None, metadata={"help": "trackers of Accelerate, separated by commas"})
    timeout_seconds: int = field(
        default=1800, metadata={"help": "how long a process waits for another process or for a data worker"}
    )
    dry_run: bool = field(default=False, metadata={"help": "print the steps and the schedule, and train nothing"})

    def __post_init__(self):
        for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "view_size"):
            check_range(name, getattr(self, name), 1)
        for name in ("max_train_steps", "logging_steps", "checkpointing_steps", "checkpoints_total_limit"):
            check_range(name, getattr(self, name), 1)
        for name in ("image_side", "monitor_images", "monitor_epochs", "timeout_seconds"):
            check_range(name, getattr(self, name), 1)
        for name in ("base_learning_rate", "momentum", "weight_decay", "seed", "max_train_minutes"):
            check_range(name, getattr(self, name), 0)
        if self.streaming and self.cache_images:
            raise InputError("--cache_images keeps every image and --streaming none; choose one.")
        if self.num_images is not None and not self.streaming:
            raise InputError("--num_images is the length of a stream; leave it out, or give --streaming.")
        for name in ("shuffle_buffer", "num_images"):
            check_range(name, getattr(self, name), 1)
        if len(self.blur_sigma) != 2 or not 0 < self.blur_sigma[0] <= self.blur_sigma[1] < math.inf:
            raise InputError(f"--blur_sigma {self.blur_sigma} must be two numbers above 0, the smaller one first.")
        if self.cuda_graph and (self.compile or self.sync_batchnorm):
            raise InputError("--cuda_graph records one plain pass; leave out --compile and --sync_batchnorm.")
        if self.compile and self.sync_batchnorm:
            raise InputError(
                "--compile breaks its graph at every BatchNorm of --sync_batchnorm; leave one of them out."
            )
        if self.per_device_train_batch_size < 2:
            raise InputError("--per_device_train_batch_size 1 cannot train: BatchNorm needs at least 2 images.")
