"""
Pretrains SimFLE on faces without labels.

    python training/pretrain.py --dataset FOLDER --output_dir OUT          (or: accelerate launch training/pretrain.py)

The defaults are the paper's schedule (100 epochs, batch 256, learning rate 0.05 * batch / 256, cosine by epoch).
"""

import warnings
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

from training.data.faces import DatasetArguments, evenly, open_faces
from training.models.loading import ModelArguments, ProcessorArguments, make_processor, read_config
from training.pretraining.setup import (
    PretrainingArguments,
    make_feeder,
    make_model_and_optimizer,
    make_sampler,
)
from training.publishing.hub_arguments import HubArguments, push_run
from training.runtime.arguments import parse_arguments, run_main
from training.runtime.errors import InputError

# Arguments that a run and its checkpoint must share.
SHARED = (
    *("num_train_epochs", "base_learning_rate", "momentum", "weight_decay"),
    *("image_side", "blur_sigma", "global_grouping"),
)


def main(argv=None) -> int:
    kinds = (DatasetArguments, ModelArguments, ProcessorArguments, PretrainingArguments, HubArguments)
    data, model_arguments, processor_arguments, run, hub = parse_arguments(kinds, argv, __doc__)
    from training.runtime.checkpoints import find_checkpoint
    from training.runtime.resources import keep_freed_memory
    from training.runtime.run_folder import prepare_output_dir

    keep_freed_memory()
    output_dir = Path(run.output_dir)
    checkpoint = None
    if not run.dry_run:
        output_dir = prepare_output_dir(run.output_dir, run.resume_from_checkpoint is not None, can_resume=True)
        if run.resume_from_checkpoint:
            checkpoint = find_checkpoint(output_dir, run.resume_from_checkpoint)
    config = read_config(model_arguments)
    processor = make_processor(processor_arguments, run.view_size)
    faces = open_training_faces(data, run)
    monitored = open_monitored(data, run)
    accelerator = make_accelerator(run, output_dir)
    arguments = {**asdict(data), **asdict(model_arguments), **asdict(processor_arguments), **asdict(run)}
    if run.dry_run:
        from training.pretraining.dry_run import describe_run

        describe_run(config, faces, run, accelerator)
        return 0
    from training.runtime.errors import run_errors

    with run_errors("the last checkpoint stands"):
        loop = pretrain(
            accelerator, config, processor, faces, monitored, model_arguments.model, run, data, arguments, output_dir,
            checkpoint,
        )  # fmt: skip
    if accelerator.is_main_process and loop.saved_step >= loop.sampler.last_step:
        push_run(output_dir, hub)
    return 0 if loop.stop_signal is None else 128 + loop.stop_signal


def open_training_faces(data: DatasetArguments, run: PretrainingArguments):
    if not data.streaming:
        return open_faces(data, data.dataset, data.train_split, with_labels=False)
    from training.data.streams import open_stream

    if run.cache_images:
        raise InputError("--cache_images keeps every picture and --streaming none; choose one.")
    return open_stream(data, data.dataset, data.train_split)


def open_monitored(data: DatasetArguments, run: PretrainingArguments):
    """Labelled faces (bank, queries) of --monitor_dataset, or (None, None)."""
    if run.monitor_dataset is None:
        return None, None
    import numpy as np

    from training.data.expressions import match_labels

    data = replace(data, streaming=False, num_images=None)
    if run.monitor_dataset != data.dataset:  # of a format of its own
        data = replace(data, data_format="auto")
    bank = open_faces(data, run.monitor_dataset, "train", with_labels=True)
    queries = open_faces(data, run.monitor_dataset, "validation", with_labels=True)
    queries.labels = match_labels(queries.class_names, queries.labels, bank.class_names)
    return bank.select(np.array(evenly(len(bank), run.monitor_images))), queries


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
    if accelerator.mixed_precision != "no":  # the flag's, or that of accelerate's config
        run.mixed_precision = accelerator.mixed_precision
    if run.sync_batchnorm and accelerator.device.type == "cpu":
        raise InputError("--sync_batchnorm needs GPUs: torch has no synchronised BatchNorm for CPUs; leave it out.")
    if run.cuda_graph and not run.dry_run:
        check_cuda_graph(accelerator)
    return accelerator


def check_cuda_graph(accelerator) -> None:
    """Raises ValueError where `--cuda_graph` has nothing to record, more than it can, or what was not measured."""
    kind, processes = accelerator.device.type, accelerator.num_processes
    if kind != "cuda" or processes > 1 or accelerator.mixed_precision not in ("bf16", "no"):
        raise InputError(
            "--cuda_graph is for one process on an NVIDIA GPU, in bf16 or float32; this run has"
            f" {processes} on {kind} with mixed_precision {accelerator.mixed_precision}; leave it out."
        )
    if accelerator.gradient_accumulation_steps > 1:
        raise InputError("--cuda_graph keeps one batch's gradients; leave out --gradient_accumulation_steps.")


def check_trackers(report_to: str | None) -> None:
    """Accelerate only warns of a tracker that it cannot find."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known, found = (sorted(map(str, names)) for names in (LOGGER_TYPE_TO_CLASS, get_available_trackers()))
    for name in report_to.split(",") if report_to else []:
        if name not in known:
            raise InputError(f"--report_to {name} is not known; Accelerate has {', '.join(known)}.")
        if name not in found:
            raise InputError(f"--report_to {name} is not installed; install it, or leave it out.")


def pretrain(
    accelerator, config, processor, faces, monitored, start_from, run, data, arguments, output_dir, checkpoint
):
    """Set-up, the loop and the end of a run. Returns the loop."""
    from training.pretraining.loop import PretrainingLoop
    from training.pretraining.step_guard import StepGuard
    from training.runtime.checkpoints import PICTURE_SIZES, abandon_later_checkpoints
    from training.runtime.processes import check_same_step
    from training.runtime.run_folder import save_model, versions

    shuffle_buffer = data.shuffle_buffer if data.streaming else None
    state = {**describe_state(accelerator, config, processor, faces, run), "shuffle_buffer": shuffle_buffer}
    model, optimizer = make_model_and_optimizer(config, start_from, run)
    step, bad_images, scaler_state = resume(accelerator, run, checkpoint, model, optimizer, state, data.max_bad_images)
    check_same_step(step)
    sampler = make_sampler(accelerator, faces, run, step, shuffle_buffer)
    if accelerator.is_main_process:
        if checkpoint is not None:
            abandon_later_checkpoints(output_dir, checkpoint)
        about = {"arguments": arguments, "versions": versions(), "num_images": len(faces), **state}
        del about[PICTURE_SIZES]
        write_progress(output_dir, about, step, sampler.last_step)
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
    guard = StepGuard(accelerator, optimizer, data.max_bad_images, bad_images, data.streaming)
    monitor = make_monitor(accelerator, processor, faces, monitored, output_dir, data)
    loop = PretrainingLoop(
        accelerator, model, optimizer, feeder, sampler, run, state, guard, monitor, processor, output_dir
    )
    done = loop.train()
    if accelerator.is_main_process:
        save_model(output_dir, bare_model, processor)
        write_progress(output_dir, about, done, sampler.last_step)
        ending = "finished" if done >= sampler.last_step else "stopped, to go on by --resume_from_checkpoint latest,"
        print(f"{ending} at step {done}; the model is in {output_dir}")
    accelerator.wait_for_everyone()
    for tracker in accelerator.trackers:
        tracker.finish()
    return loop


def write_progress(output_dir: Path, about: dict, step: int, planned_steps: int) -> None:
    """run.json: what the run is, how far it is, whether that is its end. A killed run is not finished."""
    from training.runtime.run_folder import write_json

    progress = {"finished": step >= planned_steps, "step": step, "planned_steps": planned_steps}
    write_json(output_dir / "run.json", {**about, **progress})


def describe_state(accelerator, config, processor, faces, run: PretrainingArguments) -> dict:
    """What a checkpoint must share with the run that resumes from it. Raises ValueError: too few faces for a batch."""
    from training.runtime.checkpoints import PICTURE_SIZES

    batch_size = run.per_device_train_batch_size * run.gradient_accumulation_steps * accelerator.num_processes
    if len(faces) < batch_size:
        raise InputError(
            f"{faces.source} has {len(faces)} images, fewer than one batch of {batch_size}; use a smaller"
            " --per_device_train_batch_size."
        )
    return {
        "config": {k: v for k, v in config.to_diff_dict().items() if k != "transformers_version"},
        "dataset_fingerprint": faces.fingerprint(),
        PICTURE_SIZES: faces.picture_sizes(),
        "seed": run.seed,
        "view_size": run.view_size,
        "processor": {name: getattr(processor, name) for name in ("do_grayscale", "image_mean", "image_std")},
        **{name: getattr(run, name) for name in SHARED},
        "per_device_train_batch_size": run.per_device_train_batch_size,
        "gradient_accumulation_steps": run.gradient_accumulation_steps,
        "global_batch_size": batch_size,
        "num_processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
    }


def resume(
    accelerator, run, checkpoint: Path | None, model, optimizer, state: dict, max_bad_images: int
) -> tuple[int, list, dict]:
    """Loads the checkpoint, if there is one; returns its step, in this run's batches, bad images, and fp16's scaler."""
    from training.runtime.checkpoints import load_checkpoint

    if checkpoint is None:
        if run.resume_from_checkpoint:
            accelerator.print("no checkpoint found; starting from step 0")
        return 0, [], {}
    compared = {name: value for name, value in state.items() if name != "mixed_precision"}
    found = load_checkpoint(checkpoint, model, optimizer, compared, max_bad_images)
    step = found["step"] * found["global_batch_size"] // state["global_batch_size"]
    accelerator.print(f"resuming from step {step}")
    if found["num_processes"] != accelerator.num_processes:
        accelerator.print(
            f"the checkpoint was made by {found['num_processes']} processes with {found['global_batch_size']} images a"
            f" step at step {found['step']}; this run has {accelerator.num_processes} with {state['global_batch_size']}"
        )
    if found["global_batch_size"] != state["global_batch_size"] and accelerator.is_main_process:
        set_logs_aside(checkpoint.parents[1], found["global_batch_size"])
    if found["mixed_precision"] != accelerator.mixed_precision:
        accelerator.print(
            f"the checkpoint was made with mixed_precision {found['mixed_precision']}; this run has"
            f" {accelerator.mixed_precision}"
        )
    return step, found["bad_images"], found.get("scaler", {})


def set_logs_aside(output_dir: Path, batch_size: int) -> None:
    """Copies of the logs so far: theirs are steps of `batch_size` images, and the run drops lines by its own count."""
    import shutil

    for name in ("metrics", "monitor"):
        log = output_dir / f"{name}.jsonl"
        if log.exists():
            shutil.copyfile(log, log.with_name(f"{name}_in_steps_of_{batch_size}.jsonl"))


def make_monitor(accelerator, processor, faces, monitored, output_dir: Path, data: DatasetArguments):
    from training.pretraining.monitor import Monitor

    if not accelerator.is_main_process:
        return None
    bank, queries = monitored
    return Monitor(faces, processor, bank, queries, output_dir, data.num_workers, data.max_bad_images)


if __name__ == "__main__":
    run_main("pretrain", main)
