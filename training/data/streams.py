"""
Faces read as a stream: Parquet or WebDataset shards, local or on the Hub, shuffled by a buffer.

Every process reads the whole stream in one order, which is a function of (seed, epoch), and takes its share of each
step from it. Whatever the number of shards and processes, no image comes twice in an epoch, and only the last short
step is left out. Each process reads the stream once; its workers decode.
"""

import hashlib
import itertools
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from torch.utils.data import Sampler

from training.data import tables
from training.data.faces import DatasetArguments, Faces
from training.data.images import NOWHERE, BadImage, located, read_image
from training.data.splits import split_files
from training.runtime.errors import InputError


class StreamedFaces(Faces):
    """
    Faces of a stream. An image is asked for by its cell ({"bytes", "path"}), which the sampler hands on.

    Args:
        rows: a `datasets.IterableDataset`, images not decoded. num_images: images of an epoch.
        files: the shards, or the Hub id: the fingerprint is taken over their names and sizes.
    """

    def __init__(self, rows, image_column: str, num_images: int, files: list[str], source: str, split: str):
        super().__init__(rows, image_column)
        self.num_images, self.files, self.source, self.split = num_images, files, source, split

    def __len__(self) -> int:
        return self.num_images

    def cells(self, rows=None) -> Iterator[dict]:
        """The images of the rows, in the stream's own order if they are not given."""
        return (
            row[self.image_column] or NOWHERE for row in whole_shards(self.rows if rows is None else rows, self.source)
        )

    def shuffled_cells(self, seed: int, epoch: int, buffer_size: int) -> Iterator[dict]:
        shuffled = self.rows.shuffle(seed=seed, buffer_size=buffer_size)
        shuffled.set_epoch(epoch)
        return self.cells(shuffled)

    def image(self, cell):
        try:
            folder = Path(self.files[0]).parent  # of the shards; see `located`
            return read_image({**cell, "path": located(cell["path"], folder)}, self.name(cell))
        except BadImage as error:  # the hash tells it from other images of the same name, or without a name
            raise BadImage(f"{error} [sha256 {hashlib.sha256(cell['bytes'] or b'').hexdigest()[:12]}]") from error

    def name(self, cell) -> str:
        return cell["path"] or f"an image of {self.source}"

    def sample(self, count: int) -> list:
        """The first images that can be read."""
        return list(itertools.islice(self.readable(self.cells()), count))

    def image_sizes(self) -> list[int]:
        return []  # the fingerprint knows the shards' sizes

    def fingerprint(self) -> str:
        """A hash of the shards' names and sizes."""
        digest = hashlib.sha256(str(self.num_images).encode())
        for file in self.files:
            size = os.path.getsize(file) if os.path.exists(file) else ""
            digest.update(f"{os.path.basename(file)} {size}\n".encode())
        return digest.hexdigest()[:16]


def whole_shards(rows, source: str) -> Iterator[dict]:
    """The rows. Raises InputError where a .tar file is damaged or ends early."""
    try:
        yield from rows
    except tarfile.TarError as error:
        raise InputError(f"{source}: a .tar shard is cut off or damaged ({error}); get it again.") from error


def open_stream(arguments: DatasetArguments, dataset: str, split: str, num_images: int | None = None) -> StreamedFaces:
    """
    Opens a stream.

    Args:
        dataset: folder of .parquet or .tar shards, one such file, or a Hub id. split: its split; names of shards may
            begin with it. num_images: images of an epoch, where the stream does not say.
    Raises:
        InputError: no shards, no image column, a length that nobody says, or FER+ by its looks.
    """
    if not dataset:
        raise InputError("--dataset is missing; give a folder of .parquet or .tar shards, or a Hub id.")
    if arguments.data_format not in ("auto", "parquet", "hub"):
        raise InputError(
            f"--streaming reads Parquet or WebDataset shards, not --data_format {arguments.data_format}; leave one out."
        )
    import datasets

    path = Path(dataset).expanduser()
    files = find_shards(path, split)
    if files:
        rows = tables.load_shards(files, "parquet" if files[0].suffix == ".parquet" else "webdataset", streaming=True)
    elif path.exists():
        raise InputError(f"--streaming: {dataset} holds no .parquet or .tar shards; give a folder that does.")
    else:
        rows = tables.load_hub(dataset, split, streaming=True)
    columns: dict = rows.features or next(whole_shards(rows, dataset), {})
    if "votes" in columns and arguments.data_format == "auto":
        raise InputError(
            f"{dataset} looks like FER+, and a stream cannot leave out training images that equal validation images;"
            " leave --streaming out, or say --data_format parquet to take them all."
        )
    image_columns = [name for name, kind in columns.items() if isinstance(kind, datasets.Image)]
    column = arguments.image_column if arguments.image_column in columns else (image_columns or [None])[0]
    if column is None:
        raise InputError(f"{dataset} has no image column {arguments.image_column!r}; found {', '.join(columns)}.")
    if (num_images := num_images or count_rows(files, rows, split)) is None:
        raise InputError(f"--streaming: {dataset} does not say how many images it has; give --num_images.")
    rows = rows.select_columns(column).cast_column(column, datasets.Image(decode=False))
    return StreamedFaces(rows, column, num_images, list(map(str, files)) or [dataset], dataset, split)


def find_shards(path: Path, split: str) -> list[Path]:
    """The shards of a split: those whose names begin with it, or all shards where no name does."""
    if path.is_file():
        return [path]
    shards = tables.parquet_files(path) or sorted([*path.glob("*.tar"), *path.glob("data/*.tar")])
    return split_files(shards, split) if shards else []


def count_rows(files: list[Path], rows, split: str) -> int | None:
    """The number of rows by Parquet's metadata, or by the Hub; None where neither says it."""
    if files and files[0].suffix == ".parquet":
        import pyarrow.parquet

        return sum(pyarrow.parquet.read_metadata(file).num_rows for file in files)
    splits = getattr(rows.info, "splits", None) or {}
    return splits[split].num_examples if split in splits else None


class StreamSampler(Sampler):
    """
    The (epoch, position, cell) keys of each micro-batch of one process, from a stream.

    Args:
        steps: the StepSampler whose steps are taken. buffer_size: images among which the next is drawn.
    """

    def __init__(self, faces: StreamedFaces, steps, buffer_size: int):
        self.faces, self.steps, self.buffer_size = faces, steps, buffer_size

    def __getattr__(self, name: str):  # first_step, last_step, steps_per_epoch
        if name == "steps":
            raise AttributeError(name)
        return getattr(self.steps, name)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self):
        steps, shape = self.steps, self.steps.shape
        process_batch = shape.batch_size * shape.num_processes  # images of one micro-batch of all processes
        cells, epoch = None, None
        for step in range(steps.first_step, steps.last_step):
            position = step % steps.steps_per_epoch * shape.accumulation * process_batch
            if step // steps.steps_per_epoch != epoch:
                epoch = step // steps.steps_per_epoch
                cells = self.faces.shuffled_cells(steps.seed, epoch, self.buffer_size)
                cells = itertools.islice(cells, position, None)  # without the images that a resumed run has seen
            for micro in range(shape.accumulation):
                first = position + micro * process_batch
                taken = list(itertools.islice(cells, process_batch))
                if len(taken) < process_batch:
                    raise InputError(
                        f"{self.faces.source} ended after {first + len(taken)} images, before the {len(self.faces)}"
                        " that --num_images or its metadata promised."
                    )
                mine = range(shape.rank * shape.batch_size, (shape.rank + 1) * shape.batch_size)
                yield [(epoch, first + place, taken[place]) for place in mine]
