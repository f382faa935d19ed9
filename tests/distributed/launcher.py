# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Scripts in several processes on this machine."""

import os
import subprocess
import sys

from tests.new_process import ROOT


def launch(script, *arguments, num_processes=2, timeout=500):
    """torchrun with a watchdog: (status, output)."""
    command = [sys.executable]
    if num_processes > 1:
        command += ["-m", "torch.distributed.run", f"--nproc_per_node={num_processes}", "--standalone"]
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "EXPECTED_WORLD_SIZE": str(num_processes),
    }
    done = subprocess.run(
        [*command, str(ROOT / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=timeout,
    )
    return done.returncode, done.stdout + done.stderr
