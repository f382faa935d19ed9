"""
Pretrains SimFLE on faces without labels.

    python training/pretrain.py --dataset FOLDER --output_dir OUT          (or: accelerate launch training/pretrain.py)

The defaults are the paper's schedule (100 epochs, batch 256, learning rate 0.05 * batch / 256, cosine by epoch).
"""

import sys
import warnings
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from training.face_data import DatasetArguments, open_faces
from training.hub_arguments import HubArguments, push_run
from training.model_setup import ModelArguments, ProcessorArguments, make_processor, read_config
from training.script_arguments import check_range, leave_processes, parse_arguments, run_main

# Arguments that a run and its checkpoint must share.
SHARED = ("num_train_epochs", "base_learning_rate", "momentum", "weight_decay", "image_side", "global_grouping")


@dataclass
class PretrainingArguments:
    """The run."""

    output_dir: str = field(default="", metadata={"help": "new folder; holds a loadable model at the end"})
    view_size: int = field(default=224, metadata={"help": "side of both views, in pixels; the saved processor's size"})
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
    sync_batchnorm: bool = field(default=False, metadata={"help": "BatchNorm over all processes (GPUs only)"})
    global_grouping: bool = field(default=False, metadata={"help": "channel similarity S over all processes"})
    cache_images: bool = field(default=False, metadata={"help": "decode once into a memory-mapped file, if it fits"})
    cache_dir: str = field(default="~/.cache/simfle", metadata={"help": "where --cache_images keeps its files"})
    image_side: int | None = field(
        default=None, metadata={"help": "longest side of a decoded picture, in pixels; default twice the view's"}
    )
    monitor_dataset: str | None = field(
        default=None, metadata={"help": "labelled faces with train and validation: k-NN accuracy every epoch"}
    )
    monitor_images: int = field(
        default=10000, metadata={"help": "most faces of its train split that k-NN compares with"}
    )
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
        for name in ("image_side", "monitor_images", "timeout_seconds"):
            check_range(name, getattr(self, name), 1)
        for name in ("base_learning_rate", "momentum", "weight_decay", "seed", "max_train_minutes"):
            check_range(name, getattr(self, name), 0)
        if self.per_device_train_batch_size < 2:
            raise ValueError("--per_device_train_batch_size 1 cannot train: BatchNorm needs at least 2 images.")


def main(argv=None) -> None:
    kinds = (DatasetArguments, ModelArguments, ProcessorArguments, PretrainingArguments, HubArguments)
    data, model_arguments, processor_arguments, run, hub = parse_arguments(kinds, argv, __doc__)
    from training.process_memory import keep_freed_memory
    from training.run_state import find_checkpoint, prepare_output_dir

    keep_freed_memory()
    output_dir = Path(run.output_dir)
    checkpoint = None
    if not run.dry_run:
        output_dir = prepare_output_dir(run.output_dir, run.resume_from_checkpoint is not None)
        if run.resume_from_checkpoint:
            checkpoint = find_checkpoint(output_dir, run.resume_from_checkpoint)
    config = read_config(model_arguments)
    processor = make_processor(processor_arguments, run.view_size)
    faces = open_training_faces(data, run)
    monitored = open_monitored(data, run)
    accelerator = make_accelerator(run, output_dir)
    arguments = {**asdict(data), **asdict(model_arguments), **asdict(processor_arguments), **asdict(run)}
    if run.dry_run:
        from training.dry_run import describe_run

        describe_run(config, faces, run, accelerator)
        return
    from safetensors import SafetensorError

    from training.run_guard import WORKER_ERRORS, describe_breakdown

    try:
        loop = pretrain(
            accelerator, config, processor, faces, monitored, model_arguments.model, run, data, arguments, output_dir,
            checkpoint,
        )  # fmt: skip
    except (RuntimeError, SafetensorError, *WORKER_ERRORS) as error:
        sentence = describe_breakdown(error)
        if sentence is None:
            raise
        raise ValueError(sentence) from error
    if accelerator.is_main_process and loop.saved_step >= loop.sampler.last_step:
        push_run(output_dir, hub)
    status = 0 if loop.stop_signal is None else 128 + loop.stop_signal
    leave_processes(status)
    if status:
        sys.exit(status)


def open_training_faces(data: DatasetArguments, run: PretrainingArguments):
    if not data.streaming:
        return open_faces(data, data.dataset, data.train_split, with_labels=False)
    from training.streaming import open_stream

    if run.cache_images:
        raise ValueError("--cache_images keeps every picture and --streaming none; choose one.")
    return open_stream(data, data.dataset, data.train_split)


def open_monitored(data: DatasetArguments, run: PretrainingArguments):
    """Labelled faces (bank, queries) of --monitor_dataset, or (None, None)."""
    if run.monitor_dataset is None:
        return None, None
    import numpy as np

    from training.fer_datasets import match_labels

    bank = open_faces(data, run.monitor_dataset, "train", with_labels=True)
    queries = open_faces(data, run.monitor_dataset, "validation", with_labels=True)
    queries.labels = match_labels(queries.class_names, queries.labels, bank.class_names)
    kept = np.unique(np.linspace(0, len(bank) - 1, min(len(bank), run.monitor_images)).astype(int))
    return bank.select(kept), queries


def make_accelerator(run: PretrainingArguments, output_dir: Path):
    """Accelerate's state; `accelerate config` decides what the flags leave open."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    # torch 2.13 names a successor that still shares buffers at the start, and says itself to keep to this one for now.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)

    check_trackers(run.report_to)
    accelerator = Accelerator(
        mixed_precision=run.mixed_precision,
        gradient_accumulation_steps=run.gradient_accumulation_steps,
        log_with=run.report_to.split(",") if run.report_to else None,
        project_dir=output_dir,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=timedelta(seconds=run.timeout_seconds)),
            # Running statistics are each process's own, as in the released code; the main process's are saved.
            DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
        ],
    )
    run.gradient_accumulation_steps = accelerator.gradient_accumulation_steps
    if run.sync_batchnorm and accelerator.device.type == "cpu":
        raise ValueError("--sync_batchnorm needs GPUs: torch has no synchronised BatchNorm for CPUs; leave it out.")
    return accelerator


def check_trackers(report_to: str | None) -> None:
    """Accelerate only warns of a tracker that it cannot find."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known, found = (sorted(map(str, names)) for names in (LOGGER_TYPE_TO_CLASS, get_available_trackers()))
    for name in report_to.split(",") if report_to else []:
        if name not in known:
            raise ValueError(f"--report_to {name} is not known; Accelerate has {', '.join(known)}.")
        if name not in found:
            raise ValueError(f"--report_to {name} is not installed; install it, or leave it out.")


def pretrain(
    accelerator, config, processor, faces, monitored, start_from, run, data, arguments, output_dir, checkpoint
):
    """Set-up, the loop and the end of a run. Returns the loop."""
    from training.pretraining_loop import PretrainingLoop
    from training.run_guard import StepGuard
    from training.run_state import abandon_later_checkpoints, save_model, versions, write_json

    state = describe_state(accelerator, config, processor, faces, run)
    model, optimizer = make_model_and_optimizer(config, start_from, run)
    step, bad_images, scaler_state = resume(accelerator, run, checkpoint, model, optimizer, state)
    sampler = make_sampler(accelerator, faces, run, step, data.shuffle_buffer if data.streaming else None)
    if accelerator.is_main_process:
        if checkpoint is not None:
            abandon_later_checkpoints(output_dir, checkpoint)
        about = {"arguments": arguments, "versions": versions(), "num_images": len(faces), **state}
        write_json(output_dir / "run.json", about)
        if step >= sampler.last_step:
            print(f"the run is already finished at step {step}; nothing to do but to save the model")
    bare_model = model
    if run.compile:
        model.compile()
    model, optimizer = accelerator.prepare(model, optimizer)
    if run.report_to:
        accelerator.init_trackers("simfle", {k: v for k, v in arguments.items() if isinstance(v, (int, float, str))})
    if accelerator.scaler is not None and scaler_state:
        accelerator.scaler.load_state_dict(scaler_state)
    feeder = make_feeder(accelerator, config, processor, faces, sampler, run, data)
    guard = StepGuard(accelerator, optimizer, data.max_bad_images, bad_images)
    monitor = make_monitor(accelerator, processor, faces, monitored, output_dir, data)
    loop = PretrainingLoop(
        accelerator, model, optimizer, feeder, sampler, run, state, guard, monitor, processor, output_dir
    )
    done = loop.train()
    if accelerator.is_main_process:
        save_model(output_dir, bare_model, processor)
        ending = "finished" if done == sampler.last_step else "stopped, to go on by --resume_from_checkpoint latest,"
        print(f"{ending} at step {done}; the model is in {output_dir}")
    accelerator.wait_for_everyone()
    for tracker in accelerator.trackers:
        tracker.finish()
    return loop


def describe_state(accelerator, config, processor, faces, run: PretrainingArguments) -> dict:
    """What a checkpoint must share with the run that resumes from it. Raises ValueError: too few faces for a batch."""
    batch_size = run.per_device_train_batch_size * run.gradient_accumulation_steps * accelerator.num_processes
    if len(faces) < batch_size:
        raise ValueError(
            f"{faces.source} has {len(faces)} images, fewer than one batch of {batch_size}; use a smaller"
            " --per_device_train_batch_size."
        )
    return {
        "config": {k: v for k, v in config.to_diff_dict().items() if k != "transformers_version"},
        "dataset_fingerprint": faces.fingerprint(),
        "seed": run.seed,
        "view_size": run.view_size,
        "processor": {name: getattr(processor, name) for name in ("do_grayscale", "image_mean", "image_std")},
        **{name: getattr(run, name) for name in SHARED},
        "per_device_train_batch_size": run.per_device_train_batch_size,
        "gradient_accumulation_steps": run.gradient_accumulation_steps,
        "global_batch_size": batch_size,
        "num_processes": accelerator.num_processes,
    }


def make_model_and_optimizer(config, start_from: str | None, run: PretrainingArguments):
    import torch

    from modeling_simfle import SimFLEForPreTraining

    torch.manual_seed(run.seed)
    if start_from is None:
        model = SimFLEForPreTraining(config)
    else:
        model = SimFLEForPreTraining.from_pretrained(start_from, config=config)
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


def resume(accelerator, run, checkpoint: Path | None, model, optimizer, state: dict) -> tuple[int, int, dict]:
    """Loads the checkpoint, if there is one; returns its step, in this run's batches, bad images, and fp16's scaler."""
    from training.run_state import load_checkpoint

    if checkpoint is None:
        if run.resume_from_checkpoint:
            accelerator.print("no checkpoint found; starting from step 0")
        return 0, 0, {}
    found = load_checkpoint(checkpoint, model, optimizer, state)
    step = found["step"] * found["global_batch_size"] // state["global_batch_size"]
    accelerator.print(f"resuming from step {step}")
    if found["num_processes"] != accelerator.num_processes:
        accelerator.print(
            f"the checkpoint was made by {found['num_processes']} processes with {found['global_batch_size']} images a"
            f" step at step {found['step']}; this run has {accelerator.num_processes} with {state['global_batch_size']}"
        )
    return step, found["bad_images"], found.get("scaler", {})


def make_sampler(accelerator, faces, run: PretrainingArguments, step: int, shuffle_buffer: int | None = None):
    """The order of the pictures from a step on; of a stream where there is a buffer to shuffle in."""
    from training.pretraining_data import StepSampler
    from training.streaming import StreamSampler

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
    from training.image_store import StoredFaces, store_faces
    from training.pretraining_data import MakeViews, PretrainingSet, as_it_is, make_loader
    from training.pretraining_loop import Feeder

    image_side = run.image_side or 2 * run.view_size
    pictures = None
    if run.cache_images:
        with accelerator.main_process_first():
            faces = store_faces(faces, Path(run.cache_dir).expanduser(), image_side, data.num_workers)
    on_device = accelerator.device.type != "cpu"
    if on_device and isinstance(faces, StoredFaces):
        pictures = faces.on_device(accelerator.device)
    make_views = MakeViews(processor, config.facemae_image_size if config.use_local_branch else None, run.view_size)
    dataset = PretrainingSet(faces, image_side, run.seed, with_pictures=pictures is None)
    in_worker = as_it_is if on_device else make_views
    loader = make_loader(dataset, sampler, data.num_workers, in_worker, run.timeout_seconds)
    return Feeder(loader, accelerator.device, make_views if on_device else None, pictures)


def make_monitor(accelerator, processor, faces, monitored, output_dir: Path, data: DatasetArguments):
    from training.monitor import Monitor

    if not accelerator.is_main_process:
        return None
    bank, queries = monitored
    return Monitor(faces, processor, bank, queries, output_dir, data.num_workers, data.max_bad_images)


if __name__ == "__main__":
    run_main("pretrain", main)
