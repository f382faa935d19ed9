# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Settings of Accelerate's environment: honoured or refused by name. Tier: `make check`."""

import pytest

from training.runtime.accelerator import ACCUMULATION, REFUSED, accumulation_steps, check_environment
from training.runtime.errors import InputError


@pytest.mark.parametrize(
    "value,flag,steps", [(None, None, 1), (None, 4, 4), ("1", 4, 4), ("8", 1, 8), ("8", 8, 8), ("", None, 1)]
)
def test_micro_batches_of_flag_and_environment(monkeypatch, value, flag, steps):
    monkeypatch.delenv(ACCUMULATION, raising=False)
    if value is not None:
        monkeypatch.setenv(ACCUMULATION, value)
    assert accumulation_steps(flag) == steps


@pytest.mark.parametrize(
    "value,flag,sentence",
    [
        ("8", None, f"{ACCUMULATION}=8: this script makes one update a batch; leave the setting out"),
        ("8", 4, f"{ACCUMULATION}=8 and --gradient_accumulation_steps 4 differ; leave one out"),
        ("many", 1, f"{ACCUMULATION}=many must be a whole number"),
    ],
)
def test_micro_batches_that_are_refused(monkeypatch, value, flag, sentence):
    monkeypatch.setenv(ACCUMULATION, value)
    with pytest.raises(InputError, match=sentence):
        accumulation_steps(flag)


@pytest.mark.parametrize("variable", REFUSED)
def test_settings_that_no_script_has_are_refused_by_name(monkeypatch, variable):
    for value in ("NO", "false", ""):  # what `accelerate launch` sets by itself
        monkeypatch.setenv(variable, value)
        check_environment()
    monkeypatch.setenv(variable, "true")
    with pytest.raises(InputError, match=f"{variable}=true asks for"):
        check_environment()
