"""
Accelerate's state of a run.

Accelerate takes settings from its environment and config file without a word. The precision is honoured and stands in
run.json; any other setting that changes what is trained is refused by its name.
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
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import GradientAccumulationPlugin

    trackers = report_to.split(",") if report_to else []
    available = sorted(map(str, get_available_trackers())) if trackers else []
    for name in trackers:  # Accelerate only warns
        if name not in available:
            raise InputError(f"--report_to {name} is not available; installed are: {', '.join(available) or 'none'}.")
    return Accelerator(
        mixed_precision=mixed_precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=accumulation),
        log_with=trackers or None,
        **options,
    )


def check_environment(accumulation: int = 1) -> None:
    """Raises InputError naming a setting of Accelerate's environment or config file that these scripts do not have."""
    for variable, name in REFUSED.items():
        value = os.environ.get(variable, "")
        if value.lower() not in ("", "0", "false", "no"):
            raise InputError(f"{variable}={value} asks for {name}, which this script does not support; leave it out.")
    steps = os.environ.get(ACCUMULATION) or "1"
    if steps not in ("1", str(accumulation)):
        raise InputError(f"{ACCUMULATION}={steps} is not used; give pretrain.py --gradient_accumulation_steps instead.")
