# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Scripts in several processes on this machine."""

import os
import subprocess

from tests.fork_server import forking_python
from tests.new_process import ROOT


def launch(script, *arguments, num_processes=2, timeout=500, python=None):
    """torchrun with a watchdog: (status, output). python: of launcher and ranks; by default they are forked."""
    command = [python or forking_python()]
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
