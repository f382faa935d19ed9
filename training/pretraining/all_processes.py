"""Tensors of all processes inside of a loss. Each function returns its argument in a run of one process."""

import torch


def is_alone() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1


def process_index() -> int:
    return 0 if is_alone() else torch.distributed.get_rank()


@torch.compiler.disable  # its communication cannot be compiled
def mean_over_processes(tensor: torch.Tensor) -> torch.Tensor:
    """
    The mean over all processes, with gradient.

    After DDP has averaged, the gradient is that of one process which sees all images.
    """
    if is_alone():
        return tensor
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(tensor) / torch.distributed.get_world_size()


@torch.compiler.disable
def gather_with_gradient(rows: torch.Tensor) -> torch.Tensor:
    """
    (B, ...) of each process -> (P * B, ...) of all P, in the order of the processes.

    The gradient of a row is the sum of what all processes' losses give it.
    """
    if is_alone():
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(rows.contiguous()))


@torch.compiler.disable
def gather(rows: torch.Tensor) -> torch.Tensor:
    """As `gather_with_gradient`, without gradient."""
    return gather_with_gradient(rows.detach())
