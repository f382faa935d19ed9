# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The arithmetic of a stream: coverage, shares, and what is left after starts with other numbers of processes."""

import numpy as np
import pytest

from training.data.stream_order import (
    block_order,
    cut,
    length,
    pieces,
    shard_order,
    share,
    share_size,
    untouched,
)


def rows_of(counts, order, spans):
    """(N,) the rows of spans, in the order of their positions."""
    first_rows = np.cumsum(counts) - counts
    found = [np.arange(first, end) + first_rows[shard] for shard, first, end in pieces(counts, order, spans)]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def cover(counts, num_processes, step_images, block_size, epoch=0):
    """(N,) how often each image is taken in an epoch, block by block, and the most shards that a process reads."""
    counts, order = np.asarray(counts), shard_order(len(counts), 0, epoch)
    seen, whole = np.zeros(counts.sum(), np.uint8), [(0, int(counts.sum()))]
    most_shards = 0
    for rank in range(num_processes):
        spans = share(whole, num_processes, rank, step_images)
        most_shards = max(most_shards, len({shard for shard, *_ in pieces(counts, order, spans)}))
        rows = rows_of(counts, order, spans)
        for block, first in enumerate(range(0, len(rows), block_size)):
            part = rows[first : first + block_size]
            np.add.at(seen, part[block_order(len(part), 0, epoch, rank, block)], 1)
    return seen, most_shards


@pytest.mark.parametrize(
    "counts,num_processes",
    [([10, 20, 18], 1), ([10, 20, 18], 4), ([1, 0, 97, 3, 3, 50], 3), ([100], 7), ([0, 40, 0], 5), ([2] * 50, 3)],
)
def test_every_image_once_but_for_the_last_short_step(counts, num_processes):
    for epoch in range(3):
        seen, _ = cover(counts, num_processes, 4, 16, epoch)
        assert seen.max() <= 1
        assert len(seen) - seen.sum() < 4 * num_processes


def test_a_process_reads_its_share_and_two_boundary_shards():
    seen, most_shards = cover([100] * 64, 8, 10, 50)
    assert seen.sum() == 6400 and most_shards <= 6400 // 8 // 100 + 2


def test_the_order_differs_by_epoch_block_and_process():
    orders = [tuple(block_order(20, *place)) for place in ((0, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))]
    assert len(set(orders)) == 4
    assert list(shard_order(9, 0, 0)) != list(shard_order(9, 0, 1))


def test_cutting_spans():
    spans = [(0, 5), (10, 12), (20, 30)]
    assert cut(spans, 3, 9) == [(3, 5), (10, 12), (20, 22)]
    assert cut(spans, 0, length(spans)) == spans
    assert cut(spans, 5, 7) == [(10, 12)] and cut(spans, 7, 7) == []


@pytest.mark.parametrize("starts", [[(2, 5), (3, 4)], [(4, 0), (1, 8)], [(1, 3), (8, 1), (2, 2), (5, 1)]])
def test_other_numbers_of_processes_repeat_nothing_and_skip_at_most_a_block_each(starts):
    counts, block, step_images = np.array([30, 7, 200, 1, 62, 300]), 16, 4
    order, whole = shard_order(len(counts), 3, 2), [(0, int(counts.sum()))]
    seen, parts, may_skip = np.zeros(counts.sum(), int), [], 0
    for num_processes, steps in [*starts, (2, None)]:  # the last start ends the epoch
        spans = untouched(whole, parts, block)
        size = share_size(spans, num_processes, step_images)
        taken = size if steps is None else min(steps * step_images, size)
        for rank in range(num_processes):
            rows = rows_of(counts, order, share(spans, num_processes, rank, step_images))
            blocks = [rows[i : i + block] for i in range(0, len(rows), block)]
            shuffled = [part[block_order(len(part), 3, 2, rank, b)] for b, part in enumerate(blocks)]
            np.add.at(seen, np.concatenate([*shuffled, np.empty(0, int)])[:taken].astype(int), 1)
        parts.append([num_processes, step_images, taken])
        may_skip += num_processes * block
    assert seen.max() == 1
    assert (seen == 0).sum() < may_skip + 2 * step_images


@pytest.mark.slow
def test_a_hundred_million_images_in_ten_thousand_shards_over_64_processes():
    """Every one of 100 million rows is counted. docs/results.md has the seconds."""
    counts = np.random.default_rng(0).integers(5_000, 15_001, 10_000)
    counts[-1] += 100_000_000 - counts.sum() if counts.sum() < 100_000_000 else 0
    while (excess := counts.sum() - 100_000_000) > 0:
        taken = min(excess, counts[counts.argmax()] - 1)
        counts[counts.argmax()] -= taken
    seen, most_shards = cover(counts, 64, 256, 10_000)
    assert len(seen) == 100_000_000 and seen.max() == 1
    assert len(seen) - int(seen.sum()) < 64 * 256
    assert most_shards < 200
