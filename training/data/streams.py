"""
Faces read as a stream: Parquet or WebDataset shards, in a folder, at any address of fsspec, or on the Hub.

Each process reads its own part of the shards, in their order, a block at a time; its workers decode. What it reads, and
in what order, is arithmetic on the index's counts (training.data.stream_order).
"""

import hashlib
import io
import itertools
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np

from training.data.faces import DatasetArguments, Faces
from training.data.images import NOWHERE, located, read_image
from training.data.stream_index import Shard, StreamIndex, is_image, open_index
from training.data.stream_order import Spans, block_order, cut, length, pieces, shard_order
from training.runtime.errors import InputError, RunError

READ_AHEAD = 8 << 20  # bytes of a Parquet column that are asked for at once
DECODED = 256  # rows of a Parquet file that are unpacked at once


class StreamedFaces(Faces):
    """Faces of a stream. An image is asked for by its cell {"bytes", "path", "row"}, which the sampler hands on."""

    def __init__(self, index: StreamIndex, source: str, split: str):
        super().__init__(None, index.image_column, source=source, split=split)
        self.index, self.files = index, [index.address(shard) for shard in index.shards]
        self.counts = np.array([sum(shard.counts) for shard in index.shards])

    @cached_property
    def first_rows(self) -> np.ndarray:
        """(S,) the row of each shard's first image."""
        return np.cumsum(self.counts) - self.counts

    def __len__(self) -> int:
        return int(self.counts.sum())

    def image(self, cell):
        return read_image(cell, self.name(cell))

    def name(self, cell) -> str:
        shard = int(np.searchsorted(self.first_rows, cell["row"], side="right")) - 1
        place = f"image {cell['row'] - self.first_rows[shard]} of {self.files[shard]}"
        return f"{cell['path']} ({place})" if cell["path"] else place

    def sample(self, count: int) -> list:
        """The first images that can be read."""
        return list(itertools.islice(self.readable(self.cells()), count))

    def image_sizes(self) -> list[int]:
        return []  # the fingerprint knows the shards' sizes

    def fingerprint(self) -> str:
        """A hash of the shards' names, sizes and counts."""
        about = [(os.path.basename(s.name), s.size, int(n)) for s, n in zip(self.index.shards, self.counts)]
        return hashlib.sha256(repr(about).encode()).hexdigest()[:16]

    def cells(self) -> Iterator[dict]:
        """All cells, in the order of the index."""
        return self.read([(0, len(self))], np.arange(len(self.files)))

    def read(self, spans: Spans, order: np.ndarray) -> Iterator[dict]:
        """
        The cells of spans of an epoch, in the order of their positions.

        Args:
            order: (S,) the shards in the order of the epoch.
        Raises:
            InputError: a shard that is damaged, or is not the one that was indexed. RunError: one that is gone.
        """
        for number, first, end in pieces(self.counts, order, spans):
            shard, address = self.index.shards[number], self.files[number]
            cells = read_tar if shard.offsets else read_parquet
            try:
                count = 0
                for cell in cells(address, shard, self.image_column, first, end):
                    yield {**cell, "row": int(self.first_rows[number]) + first + count}
                    count += 1
            except (tarfile.TarError, ValueError) as error:  # pyarrow's errors of content are ValueErrors
                raise InputError(f"{address}: the shard is cut off or damaged ({error}); get it again.") from error
            except OSError as error:
                raise RunError(f"{address} cannot be read ({error}); the last checkpoint stands") from error
            if count != end - first:
                raise InputError(f"{address} is not the shard that was indexed: make the --stream_index again.")

    def shuffled(self, spans: Spans, place: tuple[int, int, int], first: int, block_size: int) -> Iterator[dict]:
        """
        The cells of a process's part of an epoch, shuffled inside of blocks. The next block is read meanwhile.

        Args:
            place: (seed, epoch, rank). first: the number of cells that were taken before.
        """
        seed, epoch, _ = place
        begun = first // block_size
        cells = self.read(cut(spans, begun * block_size, length(spans)), shard_order(len(self.files), seed, epoch))
        first -= begun * block_size
        with ThreadPoolExecutor(1, "stream") as reader:
            upcoming = reader.submit(read_block, cells, block_size)
            for block in itertools.count(begun):
                images = upcoming.result()
                if not images:
                    return
                upcoming = reader.submit(read_block, cells, block_size)
                for number in block_order(len(images), *place, block)[first:]:
                    yield images[number]
                    images[number] = NOWHERE  # its bytes are not needed any more
                first = 0


def read_block(cells: Iterator[dict], block_size: int) -> list[dict]:
    return list(itertools.islice(cells, block_size))


def parts_of(counts: list[int], first: int, end: int) -> tuple[range, int]:
    """The parts of a shard in which its images `first` to `end` lie, and the number of images before the first part."""
    ends = np.cumsum(counts)
    low, high = (int(np.searchsorted(ends, place, side="right")) for place in (first, end - 1))
    return range(low, high + 1), int(ends[low]) - counts[low]


def read_parquet(address: str, shard: Shard, column: str, first: int, end: int) -> Iterator[dict]:
    """The cells `first` to `end` (not included) of a Parquet file; no other column, and no other row group, is read."""
    import datasets
    import fsspec
    import pyarrow.parquet

    groups, skipped = parts_of(shard.counts, first, end)
    folder = Path(address).parent if "://" not in address else None  # of relative paths; see `located`
    feature = datasets.Image(decode=False)
    file_system, path = fsspec.core.url_to_fs(address)
    with file_system.open(path, "rb", cache_type="none") as file:
        table = pyarrow.parquet.ParquetFile(file, buffer_size=READ_AHEAD, pre_buffer=False)
        if column not in table.schema_arrow.names:
            raise ValueError(f"it has no column {column!r}")
        batches = table.iter_batches(DECODED, row_groups=list(groups), columns=[column], use_threads=False)
        for batch in batches:
            taken = batch.column(0)[max(first - skipped, 0) : max(end - skipped, 0)]
            if pyarrow.types.is_dictionary(taken.type):
                taken = taken.dictionary_decode()
            for cell in feature.cast_storage(taken).to_pylist():
                cell = cell or NOWHERE
                yield {"bytes": cell["bytes"], "path": located(cell["path"], folder)}
            skipped += len(batch)
            if skipped >= end:
                return


def read_tar(address: str, shard: Shard, ending: str, first: int, end: int) -> Iterator[dict]:
    """The cells `first` to `end` (not included) of a .tar shard, of which no other section is read."""
    import fsspec

    sections, number = parts_of(shard.counts, first, end)
    file_system, path = fsspec.core.url_to_fs(address)
    for section in sections:
        with file_system.open(path, "rb", cache_type="none") as file:
            file.seek(shard.offsets[section])
            content = file.read(shard.offsets[section + 1] - shard.offsets[section])
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as members:
            for member in members:
                if is_image(member, ending):
                    if first <= number < end:
                        yield {"bytes": members.extractfile(member).read(), "path": member.name}
                    number += 1


def open_stream(arguments: DatasetArguments, dataset: str, split: str, index_file: str | None = None) -> StreamedFaces:
    """
    Opens a stream.

    Args:
        dataset: a folder of .parquet or .tar shards or one such file (a path, or any address of fsspec), or a Hub id.
        split: its split; names of shards may begin with it. index_file: an index made before; see `open_index`.
    Raises:
        InputError: no shards, no image column, or FER+ by its looks.
    """
    if not dataset:
        raise InputError("--dataset is missing; give a folder of .parquet or .tar shards, or a Hub id.")
    if arguments.data_format not in ("auto", "parquet", "hub"):
        raise InputError(
            f"--streaming reads Parquet or WebDataset shards, not --data_format {arguments.data_format}; leave one out."
        )
    dataset = os.path.expanduser(dataset)
    return StreamedFaces(open_index(arguments, dataset, split, index_file), dataset, split)
