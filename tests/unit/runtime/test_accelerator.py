# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Settings of Accelerate's environment that no script has are refused by name. Tier: `make check`."""

import pytest
from accelerate.commands.launch import launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env, prepare_simple_launcher_cmd_env

from training.runtime.accelerator import (
    ACCUMULATION,
    PRECISION,
    REFUSED,
    check_environment,
    precision_of_environment,
)
from training.runtime.errors import InputError


def test_micro_batches_are_the_flags_alone(monkeypatch):
    for value in ("", "1", "4"):
        monkeypatch.setenv(ACCUMULATION, value)
        check_environment(4)
    with pytest.raises(InputError, match=f"{ACCUMULATION}=4 is not used; give pretrain.py --gradient_accum"):
        check_environment(1)


@pytest.mark.parametrize("variable", REFUSED)
def test_settings_that_no_script_has_are_refused_by_name(monkeypatch, variable):
    for value in ("NO", "false", ""):  # what `accelerate launch` sets by itself
        monkeypatch.setenv(variable, value)
        check_environment()
    monkeypatch.setenv(variable, "true")
    with pytest.raises(InputError, match=f"{variable}=true asks for"):
        check_environment()


@pytest.mark.parametrize("precision", ["fp8", "fp32", "bfloat16"])
def test_a_precision_that_no_script_has_is_refused_by_name(monkeypatch, precision):
    for value, meant in (("", "no"), ("NO", "no"), ("bf16", "bf16"), ("FP16", "fp16")):
        monkeypatch.setenv(PRECISION, value)
        assert precision_of_environment() == meant
    monkeypatch.setenv(PRECISION, precision)
    with pytest.raises(InputError, match=f"{PRECISION}={precision} must be one of no, fp16, bf16"):
        precision_of_environment()


@pytest.mark.parametrize(
    "flags,variable",
    [
        (["--dynamo_backend", "inductor"], "ACCELERATE_DYNAMO_BACKEND=INDUCTOR"),
        (["--use_fsdp"], "ACCELERATE_USE_FSDP=true"),
        (["--use_megatron_lm"], "ACCELERATE_USE_MEGATRON_LM=true"),
    ],
)
def test_what_the_launcher_hands_on_is_refused_by_name(monkeypatch, flags, variable):
    """`accelerate launch` turns its flags, and those of its config file, into variables of the environment."""
    prepare = prepare_multi_gpu_env if "fsdp" in flags[0] or "megatron" in flags[0] else None
    arguments = launch_command_parser().parse_args([*flags, "--mixed_precision", "no", "script.py"])
    backend = arguments.dynamo_backend or "no"
    for name, value in {"num_processes": 2, "num_machines": 1, "use_cpu": False, "dynamo_backend": backend}.items():
        setattr(arguments, name, value)
    environment = prepare(arguments) if prepare else prepare_simple_launcher_cmd_env(arguments)[1]
    for name, value in environment.items():
        if name.startswith("ACCELERATE_"):
            monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=variable):
        check_environment()
