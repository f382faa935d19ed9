# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Settings of Accelerate's environment that no script has are refused by name. Tier: `make check`."""

import pytest

from training.runtime.accelerator import ACCUMULATION, REFUSED, check_environment
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
