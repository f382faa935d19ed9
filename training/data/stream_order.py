"""
The order of a stream by arithmetic alone: which images a process takes, and when.

A *row* is the number of an image in the whole stream, its shards in the index's order. A *position* is a place in an
epoch, in which the shards lie end to end in an order drawn from (seed, epoch). A *span* is a range (first, end) of
positions, `end` not included. Each process takes one part of an epoch's spans, block by block. The order inside a block
is drawn from (seed, epoch, process, block).
"""

from collections.abc import Iterator

import numpy as np

Spans = list[tuple[int, int]]


def length(spans: Spans) -> int:
    """Number of positions."""
    return sum(end - first for first, end in spans)


def cut(spans: Spans, first: int, end: int) -> Spans:
    """The positions `first` to `end` (not included) of the spans laid end to end."""
    taken = []
    for low, high in spans:
        if first < high - low and end > 0:
            taken.append((low + max(first, 0), min(low + end, high)))
        first, end = first - (high - low), end - (high - low)
    return taken


def share_size(spans: Spans, num_processes: int, step_images: int) -> int:
    """Images that each process takes: whole steps of `step_images` images of a process. The last short step is left."""
    return length(spans) // (num_processes * step_images) * step_images


def share(spans: Spans, num_processes: int, rank: int, step_images: int) -> Spans:
    """The spans of one process; see `share_size`."""
    size = share_size(spans, num_processes, step_images)
    return cut(spans, rank * size, (rank + 1) * size)


def untouched(spans: Spans, parts: list[list[int]], block_size: int) -> Spans:
    """
    What is left of an epoch after starts with other numbers of processes. A block that a process has begun is not left.

    Args:
        parts: (num_processes, step_images, images that each process has taken) of each start, in their order.
    """
    for num_processes, step_images, taken in parts:
        size = share_size(spans, num_processes, step_images)
        begun = min(size, -(-taken // block_size) * block_size)
        left = [span for rank in range(num_processes) for span in cut(spans, rank * size + begun, (rank + 1) * size)]
        spans = left + cut(spans, num_processes * size, length(spans))
    return spans


def shard_order(num_shards: int, seed: int, epoch: int) -> np.ndarray:
    """(S,) the shards in the order of an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(num_shards)


def pieces(counts: np.ndarray, order: np.ndarray, spans: Spans) -> Iterator[tuple[int, int, int]]:
    """
    The spans as (shard, first, end): images `first` to `end` (not included) of the shard.

    Args:
        counts: (S,) images of each shard. order: (S,) the shards in the order of the epoch.
    """
    ends = np.cumsum(counts[order])
    for low, high in spans:
        place = int(np.searchsorted(ends, low, side="right"))
        while low < high:
            shard, end = int(order[place]), min(high, int(ends[place]))
            start = int(ends[place]) - int(counts[shard])
            if low < end:
                yield shard, low - start, end - start
            low, place = end, place + 1


def block_order(size: int, seed: int, epoch: int, rank: int, block: int) -> np.ndarray:
    """(size,) the images of a process's block in the order in which they are taken."""
    return np.random.default_rng([seed, epoch, rank, block]).permutation(size)
