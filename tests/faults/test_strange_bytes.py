# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Strange bytes give a result or one sentence: no traceback, no hang, no more than 2 GB, no code run, no file written.

300 of each kind in `make test`, 10,000 in `make test-all`. One alone, with what was said:
`python -m tests.faults.strange_bytes KIND --only NUMBER`.
"""

import os
import subprocess

import pytest

from tests.faults.strange_bytes import NAMES
from tests.fork_server import forking_python
from tests.new_process import ROOT


def faults_of(kind: str, count: int, seed: int) -> list[str]:
    flags = [kind, "--count", str(count), "--seed", str(seed)]
    command = [forking_python(), "-m", "tests.faults.strange_bytes", *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
    *faults, last = done.stdout.splitlines() or [""]
    assert last.startswith(f"{kind}: {count} trials"), done.stderr[-3000:]
    return faults


@pytest.mark.parametrize("kind", NAMES)
def test_300_of_each_kind(kind):
    assert faults_of(kind, 300, 0) == []


@pytest.mark.slow
@pytest.mark.timeout(7200)  # bounds a hang of the whole
@pytest.mark.parametrize("kind", NAMES)
def test_10000_of_each_kind(kind):
    assert faults_of(kind, 10_000, 1) == []
