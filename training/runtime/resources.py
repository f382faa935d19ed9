"""Memory and threads of a process on the CPU."""

import ctypes
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
