# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The memory that a step frees stays with the process."""

import subprocess
import sys

from tests.new_process import ROOT

CHILD = """
import platform, resource, sys, torch
from training.runtime.resources import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16 * 2**20).sum()  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(int(kept), faults(), platform.libc_ver()[0] or "other")
"""


def page_faults(mode: str) -> tuple[bool, int, str]:
    done = subprocess.run([sys.executable, "-c", CHILD, mode], capture_output=True, text=True, cwd=ROOT, check=True)
    kept, faults, library = done.stdout.split()
    return bool(int(kept)), int(faults), library


def test_later_steps_need_few_new_pages():
    kept, faults, library = page_faults("keep")
    assert kept == (library == "glibc")
    assert not kept or faults < page_faults("leave")[1] / 4
