"""What a pretraining run shares with the checkpoint that it goes on from, and what may have changed since."""

import json
import shutil
from pathlib import Path

from training.pretraining.arguments import FIXED_ON_RESUME, PretrainingArguments
from training.runtime.checkpoints import IMAGE_SIZES
from training.runtime.errors import InputError
from training.runtime.training_run import TrainingRun


def fixed_settings(accelerator, config, processor, faces, run: PretrainingArguments) -> dict:
    """What a run and its checkpoints must share. Raises InputError for fewer images than one batch."""
    accumulation = accelerator.gradient_accumulation_steps
    batch_size = run.per_device_train_batch_size * accumulation * accelerator.num_processes
    if len(faces) < batch_size:
        raise InputError(
            f"{faces.source} has {len(faces)} images, fewer than one batch of {batch_size}; use a smaller"
            " --per_device_train_batch_size."
        )
    return {
        "config": describe_config(config),
        "dataset_fingerprint": faces.fingerprint(),
        IMAGE_SIZES: faces.image_sizes(),
        "processor": {name: getattr(processor, name) for name in ("do_grayscale", "image_mean", "image_std")},
        **{name: getattr(run, name) for name in FIXED_ON_RESUME},
        "gradient_accumulation_steps": accumulation,
        "global_batch_size": batch_size,
        "num_processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "shuffle_buffer": run.shuffle_buffer if run.streaming else None,
    }


def describe_config(config) -> dict:
    """The fields of a SimFLEConfig, as JSON values."""
    return {name: value for name, value in config.to_diff_dict().items() if name != "transformers_version"}


def resume(training: TrainingRun, model, optimizer, max_bad_images: int) -> tuple[int, list]:
    """
    Loads the checkpoint, if there is one, and prints what has changed since.

    Returns:
        The step to go on from, counted in this run's batches, and the keys of the bad images so far.
    """
    defaults = {"config": json.loads(json.dumps(describe_config(type(model.config)())))}
    state = training.load(model, optimizer, max_bad_images, free=("mixed_precision",), defaults=defaults)
    if not state:
        return 0, []
    fixed, say = training.fixed, training.accelerator.print
    step = state["step"] * state["global_batch_size"] // fixed["global_batch_size"]
    say(f"resuming from step {step}")
    if state["num_processes"] != fixed["num_processes"]:
        say(
            f"the checkpoint was made by {state['num_processes']} processes with {state['global_batch_size']} images a"
            f" step at step {state['step']}; this run has {fixed['num_processes']} with {fixed['global_batch_size']}"
        )
    if state["global_batch_size"] != fixed["global_batch_size"] and training.is_main:
        set_logs_aside(training.folder, state["global_batch_size"])
    if state["mixed_precision"] != fixed["mixed_precision"]:
        say(
            f"the checkpoint was made with mixed_precision {state['mixed_precision']}; this run has"
            f" {fixed['mixed_precision']}"
        )
    return step, state["bad_images"]


def set_logs_aside(output_dir: Path, batch_size: int) -> None:
    """Copies the logs so far, whose steps have `batch_size` images: the run drops lines by its own count of steps."""
    for name in ("metrics", "monitor"):
        log = output_dir / f"{name}.jsonl"
        if log.exists():
            shutil.copyfile(log, log.with_name(f"{name}_in_steps_of_{batch_size}.jsonl"))
