"""The arguments of a pretraining run."""

import math
from dataclasses import dataclass, field
from typing import Literal

from training.pretraining.methods import method_names
from training.runtime.arguments import PRECISION, check_ranges, flag
from training.runtime.errors import InputError

# Arguments that a run and its checkpoint must share.
FIXED_ON_RESUME = (
    *("num_train_epochs", "base_learning_rate", "momentum", "weight_decay", "seed", "view_size"),
    *("image_side", "blur_sigma", "global_grouping", "per_device_train_batch_size"),
)


@dataclass
class PretrainingArguments:
    """The run."""

    output_dir: str = flag("", "new folder; holds a loadable model at the end")
    method: str | None = field(
        default=None,
        metadata={
            "help": "method of pretraining; by default simfle, or byol under --use_local_branch false",
            "choices": method_names(),
        },
    )
    method_settings: list[str] = flag([], "NAME=NUMBER pairs in place of the method's own, such as temperature=0.2")
    streaming: bool = flag(False, "read Parquet or WebDataset shards as a stream, never as a whole")
    shuffle_block: int = flag(10000, "images of a stream that a process reads and shuffles together", low=1)
    stream_index: str | None = flag(None, "index of a stream's shards, from python -m training.data.stream_index")
    view_size: int = flag(224, "side of both views, in pixels; also the size of the saved processor", low=1)
    blur_sigma: list[float] = flag([0.1, 2.0], "smallest and largest sigma of the views' blur, in pixels of the view")
    per_device_train_batch_size: int = flag(256, "images per process and micro-batch", low=1)
    gradient_accumulation_steps: int = flag(1, "micro-batches per optimizer step", low=1)
    num_train_epochs: int = flag(100, "epochs; the learning rate reaches zero at their end", low=1)
    max_train_steps: int | None = flag(None, "stop after N steps, without a change of the schedule", low=1)
    max_train_minutes: float | None = flag(None, "stop after N minutes, with a checkpoint and a loadable model", low=0)
    base_learning_rate: float = flag(0.05, "learning rate of a batch of 256; it scales with the batch", low=0)
    momentum: float = flag(0.9, "momentum of SGD", low=0)
    weight_decay: float = flag(1e-4, "weight decay of all trained parameters", low=0)
    mixed_precision: Literal["no", "bf16", "fp16"] | None = flag(None, PRECISION)
    compile: bool = flag(False, "compile the model with torch.compile: minutes at the start, faster steps later")
    cuda_graph: bool = flag(False, "record forward and backward once and replay them; faster with a slow host")
    sync_batchnorm: bool = flag(False, "compute BatchNorm over all processes (GPUs only; slower)")
    global_grouping: bool = flag(False, "compute the channel similarity S over all processes")
    image_side: int | None = flag(
        None, "longest side of a decoded image, in pixels; by default twice the view's side", low=1
    )
    monitor_dataset: str | None = flag(
        None, "labelled faces with the splits train and validation, for a k-NN accuracy every --monitor_epochs"
    )
    monitor_images: int = flag(10000, "largest number of faces of its train split in the k-NN bank", low=1)
    monitor_epochs: int = flag(1, "write a line of monitor.jsonl every N epochs", low=1)
    seed: int = flag(0, "seed of weights, order, views and masks", low=0)
    logging_steps: int = flag(10, "write metrics every N optimizer steps", low=1)
    checkpointing_steps: int = flag(500, "write a checkpoint every N steps", low=1)
    checkpoints_total_limit: int = flag(2, "number of checkpoints that are kept", low=1)
    resume_from_checkpoint: str | None = flag(None, "latest, or the folder of a checkpoint")
    report_to: str | None = flag(None, "trackers of Accelerate, separated by commas")
    timeout_seconds: int = flag(1800, "how long a process waits for another process or for a data worker", low=1)
    dry_run: bool = flag(False, "print the steps and the schedule, and train nothing")

    def __post_init__(self):
        check_ranges(self)
        if self.stream_index is not None and not self.streaming:
            raise InputError("--stream_index is the index of a stream; leave it out, or give --streaming.")
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
