"""Accelerate's state of a pretraining run, and which flags its devices allow."""

import warnings
from datetime import timedelta
from pathlib import Path

from training.pretraining.arguments import PretrainingArguments
from training.runtime.accelerator import make_accelerator
from training.runtime.errors import InputError


def open_devices(run: PretrainingArguments, output_dir: Path):
    """Accelerate's state. Raises InputError for flags that the devices do not allow."""
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    # torch 2.13 names a successor that still shares buffers at the start, and says itself to keep to this one for now.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    options = [
        InitProcessGroupKwargs(timeout=timedelta(seconds=run.timeout_seconds)),
        # Running statistics are each process's own, as in the released code; the main process's are saved.
        DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
    ]
    accelerator = make_accelerator(
        run.mixed_precision,
        run.gradient_accumulation_steps,
        run.report_to,
        project_dir=output_dir,
        kwargs_handlers=options,
    )
    if run.sync_batchnorm and accelerator.device.type == "cpu":
        raise InputError("--sync_batchnorm needs GPUs: torch has no synchronised BatchNorm for CPUs; leave it out.")
    if run.cuda_graph and not run.dry_run:
        check_cuda_graph(accelerator)
    return accelerator


def check_cuda_graph(accelerator) -> None:
    """Raises InputError where `--cuda_graph` has nothing to record, cannot record it, or was not measured."""
    kind, processes = accelerator.device.type, accelerator.num_processes
    if kind != "cuda" or processes > 1 or accelerator.mixed_precision not in ("bf16", "no"):
        raise InputError(
            "--cuda_graph is for one process on an NVIDIA GPU, in bf16 or float32; this run has"
            f" {processes} on {kind} with mixed_precision {accelerator.mixed_precision}; leave it out."
        )
    if accelerator.gradient_accumulation_steps > 1:
        raise InputError("--cuda_graph keeps one batch's gradients; leave out --gradient_accumulation_steps.")
