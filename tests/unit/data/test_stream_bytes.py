# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
What a stream costs: the bytes that each process reads over an epoch and after a resume; memory. `pytest -s` prints the
figures of docs/results.md.
"""

import tracemalloc

import datasets
import pytest

from tests.counted_files import SIZE, CountedFiles, write_parquet, write_tars
from training.data import stream_index, streams
from training.data.faces import DatasetArguments
from training.data.streams import open_stream
from training.pretraining.samplers import StepShape, StreamSampler

COUNTS = [40, 333, 7, 120, 512, 64, 200, 324]  # 1,600 images of 4 KiB
BLOCK, BATCH, FOOTER = 64, 8, 65536  # pyarrow asks for the last 64 KiB of a file


@pytest.fixture(autouse=True)
def small_parts(monkeypatch, tmp_path):
    monkeypatch.setattr(stream_index, "SECTION", 32 * SIZE)
    monkeypatch.setattr(streams, "READ_AHEAD", 4 * SIZE)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(CountedFiles, "store", {})
    monkeypatch.setattr(CountedFiles, "read", {})


def open_shards(kind, counts):
    if kind == "parquet":
        write_parquet("/faces", counts, rows_per_group=32)
    else:
        write_tars("/faces", counts)
    return open_stream(DatasetArguments(), "counted:///faces", "train")


def take(faces, num_processes=1, rank=0, first=0, last=None):
    """The images' numbers, batch by batch, and the bytes read for them."""
    sampler = StreamSampler(faces, StepShape(BATCH, 1, num_processes, rank), 0, BLOCK)
    sampler.first_step, sampler.last_step = first, sampler.steps_per_epoch if last is None else last
    CountedFiles.read.clear()
    numbers = [[int.from_bytes(cell["bytes"][:8], "big") for *_, cell in batch] for batch in sampler]
    return numbers, CountedFiles.total(), len(CountedFiles.read)


@pytest.mark.parametrize("kind", ["parquet", "tar"])
@pytest.mark.parametrize("num_processes", [1, 4, 16])
def test_a_process_reads_its_share(kind, num_processes):
    faces = open_shards(kind, COUNTS)
    seen, most = [], 0
    for rank in range(num_processes):
        numbers, num_bytes, num_files = take(faces, num_processes, rank)
        seen += [number for batch in numbers for number in batch]
        images = SIZE * sum(map(len, numbers)) * (1.0 if kind == "parquet" else 1.5)  # .tar: headers and .json files
        boundaries = 2 * 34 * SIZE * 1.5 + 8 * SIZE
        most = max(most, num_bytes)
        assert num_bytes < 1.02 * images + boundaries + num_files * FOOTER * (kind == "parquet")
    print(f"\n{kind}, {num_processes} processes: {most:,} bytes at most, for {len(seen) // num_processes} images each")
    assert len(seen) == len(set(seen)) and len(seen) > 1600 - num_processes * BATCH


@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_a_resume_reads_at_most_a_block_and_the_head_of_a_part(kind):
    faces = open_shards(kind, COUNTS)
    whole, *_ = take(faces, 2, 1)
    rest, num_bytes, num_files = take(faces, 2, 1, first=93)
    assert rest == whole[93:]
    images = SIZE * sum(map(len, rest)) * (1.0 if kind == "parquet" else 1.5)
    print(f"\n{kind}, resumed at step 93 of {len(whole)}: {num_bytes:,} bytes for {sum(map(len, rest))} images")
    head = (BLOCK + 3 * 34) * SIZE * 1.5
    assert num_bytes < 1.02 * images + head + num_files * FOOTER * (kind == "parquet")


def test_the_index_costs_footers_and_is_made_once():
    faces = open_shards("parquet", COUNTS)
    first = CountedFiles.total()
    assert first <= (len(COUNTS) + 2) * 2 * FOOTER + 100_000
    again = open_stream(DatasetArguments(), "counted:///faces", "train")
    assert CountedFiles.total() == first and again.index == faces.index


@pytest.mark.parametrize("kind", ["parquet", pytest.param("tar", marks=pytest.mark.slow)])
def test_memory_is_that_of_two_blocks_whatever_the_size(kind):
    peaks = []
    for factor in (1, 4):
        CountedFiles.store.clear()
        faces = open_shards(kind, COUNTS * factor)
        tracemalloc.start()
        for _ in range(3):
            sampler = StreamSampler(faces, StepShape(BATCH), 0, BLOCK)
            sampler.last_step = sampler.steps_per_epoch
            for _ in sampler:
                pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    print(f"\n{kind}: {peaks[0]:,} bytes of memory for 1,600 images, {peaks[1]:,} for 6,400")
    assert peaks[1] < 1.3 * peaks[0]
    assert peaks[1] < 6 * BLOCK * SIZE + 300_000
