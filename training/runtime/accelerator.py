"""
Accelerate's state of a run.

Accelerate takes settings from its environment and config file without a word. Each setting is either honoured here,
and then stands in run.json, or refused by its name.
"""

import os

from training.runtime.errors import InputError

ACCUMULATION = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
# Environment variables, also of `accelerate launch` with a config file, that change what is trained.
REFUSED = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config",
    "ACCELERATE_DYNAMO_BACKEND": "a dynamo backend",
}


def make_accelerator(
    mixed_precision: str | None, accumulation: int | None = None, report_to: str | None = None, **options
):
    """
    Accelerate's state of a script; its `mixed_precision` and `gradient_accumulation_steps` are those that the run has.

    Args:
        mixed_precision: the flag; None is that of Accelerate's environment or config file, else "no".
        accumulation: --gradient_accumulation_steps; None where the script has no such flag.
        report_to: trackers, separated by commas. options: further ones of Accelerator.
    """
    check_environment()
    steps = accumulation_steps(accumulation)
    check_trackers(report_to)
    from accelerate import Accelerator
    from accelerate.utils import GradientAccumulationPlugin

    return Accelerator(
        mixed_precision=mixed_precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=steps),
        log_with=report_to.split(",") if report_to else None,
        **options,
    )


def check_environment() -> None:
    """Raises InputError naming a setting of Accelerate's environment or config file that these scripts do not have."""
    for variable, name in REFUSED.items():
        value = os.environ.get(variable, "")
        if value.lower() not in ("", "0", "false", "no"):
            raise InputError(f"{variable}={value} asks for {name}, which this script does not support; leave it out.")


def accumulation_steps(flag: int | None) -> int:
    """Micro-batches an optimizer step: the flag's, or those of Accelerate's environment where the flag has none."""
    value = os.environ.get(ACCUMULATION, "1") or "1"
    if not value.isdecimal() or int(value) < 1:
        raise InputError(f"{ACCUMULATION}={value} must be a whole number of at least 1.")
    steps = int(value)
    if steps == 1 or steps == flag:
        return flag or 1
    if flag is None:
        raise InputError(f"{ACCUMULATION}={value}: this script makes one update a batch; leave the setting out.")
    if flag > 1:
        raise InputError(f"{ACCUMULATION}={value} and --gradient_accumulation_steps {flag} differ; leave one out.")
    return steps


def check_trackers(report_to: str | None) -> None:
    """Raises InputError for a tracker that Accelerate does not know or find; Accelerate itself only warns."""
    if not report_to:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known, installed = (sorted(map(str, names)) for names in (LOGGER_TYPE_TO_CLASS, get_available_trackers()))
    for name in report_to.split(","):
        if name not in known:
            raise InputError(f"--report_to {name} is not known; Accelerate has {', '.join(known)}.")
        if name not in installed:
            raise InputError(f"--report_to {name} is not installed; install it, or leave it out.")


def describe_accelerator(accelerator) -> dict:
    """What Accelerate decides of a run, for run.json."""
    return {
        "num_processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "gradient_accumulation_steps": accelerator.gradient_accumulation_steps,
        "device": accelerator.device.type,
    }
