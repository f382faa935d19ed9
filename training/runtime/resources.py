"""Memory and threads of a process on the CPU."""

import ctypes
import resource
import sys
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h
TOP_PAD = 64 * 2**20  # bytes asked of the kernel at a time


def keep_freed_memory() -> bool:
    """
    Keeps the memory that a step frees for the next step. Returns whether the C library can do so.

    By default glibc maps every large tensor anew and gives it back: the kernel then clears the same pages at every
    step. Other C libraries have no `mallopt`; nothing changes there.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(*setting) for setting in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, TOP_PAD)))


def peak_memory(device) -> int:
    """The most bytes that this process has held so far: of a GPU's memory, or of the host's where it trains there."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def torch_threads(threads: int):
    """Torch computes with so many threads inside, and as before outside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
