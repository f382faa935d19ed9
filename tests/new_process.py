# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Runs code in a process that has neither this package nor a network, as a user of a saved folder may."""

import os
import subprocess
from pathlib import Path

from tests.fork_server import forking_python

ROOT = Path(__file__).parents[1]
ALONE = """
import socket, sys
for name in ("modeling_simfle", "training", "tests"):
    sys.modules[name] = None  # an import of it fails
def refuse(*arguments, **options):
    raise OSError("this test has no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""


def run_alone(code: str, *arguments, cache, python=None) -> str:
    """Standard output of `code` in a new process; its sys.argv[1:] are the arguments. cache: an empty HF_HOME."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_", "PYTHONPATH"))}
    environment = {**kept, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cache), "HOME": str(cache)}
    command = [str(python or forking_python()), "-c", ALONE + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cache, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
