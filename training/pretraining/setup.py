"""A pretraining run's arguments, and what it is set up with: model and optimiser, order of the pictures, batches."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from training.data.faces import DatasetArguments
from training.runtime.arguments import check_range
from training.runtime.errors import InputError


@dataclass
class PretrainingArguments:
    """The run."""

    output_dir: str = field(default="", metadata={"help": "new folder; holds a loadable model at the end"})
    view_size: int = field(default=224, metadata={"help": "side of both views, in pixels; the saved processor's size"})
    blur_sigma: list[float] = field(
        default_factory=lambda: [0.1, 2.0],
        metadata={"help": "of the views' blur, from and to, in pixels of the view"},
    )
    per_device_train_batch_size: int = field(default=256, metadata={"help": "faces a process and micro-batch"})
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "micro-batches an optimiser step"})
    num_train_epochs: int = field(default=100, metadata={"help": "epochs; the cosine ends with them"})
    max_train_steps: int | None = field(default=None, metadata={"help": "stop after so many steps, schedule unchanged"})
    max_train_minutes: float | None = field(
        default=None, metadata={"help": "stop after so many minutes with a checkpoint and a loadable model"}
    )
    base_learning_rate: float = field(default=0.05, metadata={"help": "of a batch of 256"})
    momentum: float = field(default=0.9, metadata={"help": "of SGD"})
    weight_decay: float = field(default=1e-4, metadata={"help": "on everything that trains"})
    mixed_precision: Literal["no", "bf16", "fp16"] | None = field(
        default=None, metadata={"help": "autocast; default that of accelerate's config, else no"}
    )
    compile: bool = field(default=False, metadata={"help": "torch.compile the model: minutes first, faster steps then"})
    cuda_graph: bool = field(
        default=False, metadata={"help": "record forward and backward once, replay them: faster where the host is slow"}
    )
    sync_batchnorm: bool = field(default=False, metadata={"help": "BatchNorm over all processes (GPUs only; slower)"})
    global_grouping: bool = field(default=False, metadata={"help": "channel similarity S over all processes"})
    cache_images: bool = field(default=False, metadata={"help": "decode once into a memory-mapped file, if it fits"})
    cache_dir: str = field(default="~/.cache/simfle", metadata={"help": "where --cache_images keeps its files"})
    image_side: int | None = field(
        default=None, metadata={"help": "longest side of a decoded picture, in pixels; default twice the view's"}
    )
    monitor_dataset: str | None = field(
        default=None,
        metadata={
            "help": "labelled faces (train, validation; their format is guessed): k-NN accuracy each --monitor_epochs"
        },
    )
    monitor_images: int = field(
        default=10000, metadata={"help": "most faces of its train split that k-NN compares with"}
    )
    monitor_epochs: int = field(default=1, metadata={"help": "a line of monitor.jsonl each so many epochs"})
    seed: int = field(default=0, metadata={"help": "of weights, order, views and masks"})
    logging_steps: int = field(default=10, metadata={"help": "a line of metrics.jsonl each so many steps"})
    checkpointing_steps: int = field(default=500, metadata={"help": "a checkpoint each so many steps"})
    checkpoints_total_limit: int = field(default=2, metadata={"help": "checkpoints kept"})
    resume_from_checkpoint: str | None = field(default=None, metadata={"help": "latest, or a checkpoint's folder"})
    report_to: str | None = field(default=None, metadata={"help": "Accelerate's trackers, by comma"})
    timeout_seconds: int = field(default=1800, metadata={"help": "how long a process waits for another, or a worker"})
    dry_run: bool = field(default=False, metadata={"help": "print steps, memory and schedule, then leave"})

    def __post_init__(self):
        for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "view_size"):
            check_range(name, getattr(self, name), 1)
        for name in ("max_train_steps", "logging_steps", "checkpointing_steps", "checkpoints_total_limit"):
            check_range(name, getattr(self, name), 1)
        for name in ("image_side", "monitor_images", "monitor_epochs", "timeout_seconds"):
            check_range(name, getattr(self, name), 1)
        for name in ("base_learning_rate", "momentum", "weight_decay", "seed", "max_train_minutes"):
            check_range(name, getattr(self, name), 0)
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


def make_model_and_optimizer(config, start_from: str | None, run: PretrainingArguments):
    import torch

    from modeling_simfle import SimFLEForPreTraining
    from training.models.loading import load_weights

    torch.manual_seed(run.seed)
    if start_from is None:
        model = SimFLEForPreTraining(config)
    else:
        model = load_weights(SimFLEForPreTraining, start_from, needed="encoder.", config=config)
    if run.sync_batchnorm:
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.train().to(memory_format=torch.channels_last)  # convolutions are faster so, on CPUs too
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        parameters, lr=run.base_learning_rate, momentum=run.momentum, weight_decay=run.weight_decay, fused=True
    )
    for parameter in parameters if run.momentum else ():
        # The same numbers as torch's own start, but defined even where a loss scaler skips the first update.
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return model, optimizer


def make_sampler(accelerator, faces, run: PretrainingArguments, step: int, shuffle_buffer: int | None = None):
    """The order of the pictures from a step on; of a stream where there is a buffer to shuffle in."""
    from training.data.streams import StreamSampler
    from training.pretraining.batches import StepSampler

    sampler = StepSampler(
        len(faces),
        run.per_device_train_batch_size,
        run.gradient_accumulation_steps,
        accelerator.num_processes,
        accelerator.process_index,
        run.seed,
        step,
    )
    last = sampler.steps_per_epoch * run.num_train_epochs
    sampler.last_step = min(last, run.max_train_steps or last)
    return StreamSampler(faces, sampler, shuffle_buffer) if shuffle_buffer else sampler


def make_feeder(accelerator, config, processor, faces, sampler, run: PretrainingArguments, data: DatasetArguments):
    """Loader, cache and views: in the workers on the CPU, on the device where there is an accelerator."""
    from training.data.image_store import StoredFaces, store_faces_once
    from training.pretraining.batches import MakeViews, PretrainingSet, as_it_is, make_loader
    from training.pretraining.loop import Feeder

    image_side = run.image_side or 2 * run.view_size
    pictures = None
    if run.cache_images:
        cache_dir = Path(run.cache_dir).expanduser()
        faces = store_faces_once(accelerator, faces, cache_dir, image_side, data.num_workers)
    on_device = accelerator.device.type != "cpu"
    if on_device and isinstance(faces, StoredFaces):
        pictures = faces.on_device(accelerator.device)
    make_views = MakeViews(processor, config.facemae_image_size if config.use_local_branch else None, run.view_size)
    dataset = PretrainingSet(faces, image_side, run.seed, pictures is None, tuple(run.blur_sigma))
    in_worker = as_it_is if on_device else make_views
    loader = make_loader(dataset, sampler, data.num_workers, in_worker, run.timeout_seconds)
    return Feeder(loader, accelerator.device, make_views if on_device else None, pictures)
