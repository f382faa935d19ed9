"""
Accelerate's state of a run.

Accelerate takes settings from its environment and config file without a word. The precision is honoured and stands in
run.json; any other setting that changes what is trained is refused by its name.
"""

import os

from training.runtime.errors import InputError

PRECISION, PRECISIONS = "ACCELERATE_MIXED_PRECISION", ("no", "fp16", "bf16")
ACCUMULATION = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
# Environment variables, also of `accelerate launch` with a config file, that change what is trained.
REFUSED = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config",
    "ACCELERATE_DYNAMO_BACKEND": "a dynamo backend",
}


def make_accelerator(mixed_precision: str | None, accumulation: int = 1, report_to: str | None = None, **options):
    """
    Accelerate's state of a script.

    Args:
        mixed_precision: the flag; None takes the precision of Accelerate's environment or config file, else "no".
        accumulation: micro-batches of an optimizer step. report_to: trackers, separated by commas.
        options: further ones of Accelerator.
    """
    check_environment(accumulation)
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, is_initialized
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import GradientAccumulationPlugin

    trackers = report_to.split(",") if report_to else []
    available = sorted(map(str, get_available_trackers())) if trackers else []
    for name in trackers:  # Accelerate only warns
        if name not in available:
            raise InputError(f"--report_to {name} is not available; installed are: {', '.join(available) or 'none'}.")
    precision = mixed_precision or precision_of_environment()
    if is_initialized() and AcceleratorState().mixed_precision != precision:
        raise InputError(
            f"this process computes with mixed_precision {AcceleratorState().mixed_precision}, and Accelerate"
            f" cannot change it to {precision}; start a new process, or give --mixed_precision."
        )
    return Accelerator(
        mixed_precision=precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=accumulation),
        log_with=trackers or None,
        **options,
    )


def precision_of_environment() -> str:
    """The precision of Accelerate's environment or config file. Raises InputError: one that no script has."""
    precision = (os.environ.get(PRECISION) or "no").lower()
    if precision not in PRECISIONS:
        raise InputError(f"{PRECISION}={precision} must be one of {', '.join(PRECISIONS)}; leave it out.")
    return precision


def check_environment(accumulation: int = 1) -> None:
    """Raises InputError naming a setting of Accelerate's environment or config file that these scripts do not have."""
    for variable, name in REFUSED.items():
        value = os.environ.get(variable, "")
        if value.lower() not in ("", "0", "false", "no"):
            raise InputError(f"{variable}={value} asks for {name}, which this script does not support; leave it out.")
    steps = os.environ.get(ACCUMULATION) or "1"
    if steps not in ("1", str(accumulation)):
        raise InputError(f"{ACCUMULATION}={steps} is not used; give pretrain.py --gradient_accumulation_steps instead.")
