"""
The index of a stream: its shards, and how many images lie in each part of them.

    python -m training.data.stream_index --dataset s3://bucket/faces --output faces_index.json

Of Parquet the footers are read. Of .tar shards (WebDataset) every file's header is read, which takes a pass over remote
shards. `pretrain.py --streaming` makes the index by itself, once, and keeps it in the cache of `datasets`;
`--stream_index` gives it one that this command has made.
"""

import hashlib
import json
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from simfle.housekeeping import is_below_housekeeping, is_housekeeping
from training.data.faces import DatasetArguments
from training.data.image_files import image_endings
from training.data.splits import split_files
from training.runtime.arguments import flag, parse_arguments, run_main
from training.runtime.errors import NOT_JSON, InputError
from training.runtime.run_folder import replaced

SECTION = 16 << 20  # bytes of a .tar shard that are read at once
READERS = 16  # shards whose counts are read at the same time
CHANGES = ("mtime", "LastModified", "last_modified", "ETag", "etag")  # what file systems call the state of a file


@dataclass(frozen=True)
class Shard:
    """
    Args:
        name: address, or path below the index's root. size: bytes. counts: images of each part, which is a row group of
        Parquet or a section of a .tar file. offsets: of a .tar file, where its sections begin, and the end of the last.
    """

    name: str
    size: int
    counts: list[int]
    offsets: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class StreamIndex:
    """
    Args:
        root: what the shards' names are relative to. image_column: of Parquet; of .tar shards, the ending of the
        images, or "" for any.
    """

    root: str
    image_column: str
    shards: list[Shard]

    def address(self, shard: Shard) -> str:
        return f"{self.root}/{shard.name}" if self.root else shard.name


def open_index(arguments: DatasetArguments, dataset: str, split: str, file: str | None = None) -> StreamIndex:
    """
    The index of a split: the one in `file`, else from the cache, else made anew and kept there.

    Raises:
        InputError: no shards, no image column, FER+ by its looks, or shards or an index that cannot be read.
    """
    if file is not None:
        return read_index(Path(file), dataset)
    root, files = find_shards(dataset, split)
    state = [[name, info["size"], *(str(info[key]) for key in CHANGES if key in info)] for name, info in files.items()]
    key = hashlib.sha256(json.dumps([arguments.image_column, arguments.data_format, SECTION, root, state]).encode())
    import datasets

    cached = Path(datasets.config.HF_DATASETS_CACHE) / "stream_indexes" / f"{key.hexdigest()[:32]}.json"
    if cached.is_file():
        with suppress(InputError):  # a damaged one is made again
            return read_index(cached, dataset)
    index = make_index(arguments, dataset, root, files)
    with suppress(OSError):  # a cache that cannot be written costs time, not the run
        write_index(cached, index)
    return index


def read_index(file: Path, dataset: str) -> StreamIndex:
    """The index in a file. Its shards lie below `dataset`, where the index names no other place."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        shards = [Shard(*(shard[name] for name in Shard.__dataclass_fields__)) for shard in content["shards"]]
        index = StreamIndex(content["root"], content["image_column"], shards)
        if not shards or not all(map(is_whole, shards)):
            raise ValueError("a shard without a name, counts or offsets")
        if not isinstance(index.root, str) or not isinstance(index.image_column, str):
            raise ValueError("root and image_column must be texts")
    except (OSError, *NOT_JSON, KeyError, TypeError) as error:
        raise InputError(
            f"--stream_index {file} cannot be read ({error!r}); make it by python -m training.data.stream_index."
        ) from error
    is_of_hub = looks_like_hub_id(dataset) and not os.path.exists(dataset)
    return index if is_of_hub else StreamIndex(root_of(dataset), index.image_column, shards)


def is_whole(shard: Shard) -> bool:
    """Whether a shard from a file has a name, counts of its parts, and rising offsets between them if it is .tar."""
    numbers = [shard.size, *shard.counts, *shard.offsets]
    if not isinstance(shard.name, str) or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
        return False
    ends = len(shard.counts) + 1 if shard.name.endswith(".tar") else 0
    return bool(shard.counts) and len(shard.offsets) == ends and shard.offsets == sorted(shard.offsets)


def write_index(file: Path, index: StreamIndex) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with replaced(file) as temporary:
        temporary.write_text(json.dumps(asdict(index)), encoding="utf-8")


def looks_like_hub_id(name: str) -> bool:
    """Whether a name that is no local path has the form owner/data_set."""
    return "://" not in name and name.count("/") == 1 and not name.startswith((".", "/")) and not name.endswith("/")


def root_of(dataset: str) -> str:
    """The folder of the shards: the data set itself, or the folder of a single shard."""
    is_shard = dataset.endswith((".parquet", ".tar"))
    return dataset.rpartition("/")[0] or "." if is_shard else dataset.rstrip("/")


def find_shards(dataset: str, split: str) -> tuple[str, dict[str, dict]]:
    """
    The root of the shards of a split, and what the file system says of each shard, by its name below the root.

    Args:
        dataset: a folder or a shard (a path, or any address of fsspec), or a Hub id.
    Raises:
        InputError: no shards, or a place that cannot be listed.
    """
    if "://" not in dataset and not os.path.exists(dataset):
        if not looks_like_hub_id(dataset):
            raise InputError(f"{dataset} does not exist; --dataset takes a folder of shards, an address or a Hub id.")
        return find_hub_shards(dataset, split)
    import fsspec

    root = root_of(dataset)
    try:
        files, inner = fsspec.core.url_to_fs(root)
        if root != dataset.rstrip("/"):
            name = dataset.rpartition("/")[2]
            return root, {name: files.info(f"{inner}/{name}")}
        infos = {}
        for folder in ("", "data/"):  # where the Hub keeps its files
            if files.isdir(f"{inner}/{folder}".rstrip("/")):
                for info in files.ls(f"{inner}/{folder}".rstrip("/"), detail=True):
                    infos[folder + info["name"].rstrip("/").rpartition("/")[2]] = info
    except (OSError, ValueError, ImportError) as error:  # no such bucket, no such protocol, no library for it
        raise InputError(f"{dataset} cannot be listed ({' '.join(str(error).split())}); look at --dataset.") from error
    for ending in (".parquet", ".tar"):
        names = sorted(n for n in infos if n.endswith(ending) and not is_housekeeping(n.rpartition("/")[2]))
        if names:
            chosen = set(split_files([Path(root, name) for name in names], split))
            return root, {name: infos[name] for name in names if Path(root, name) in chosen}
    raise InputError(f"--streaming: {dataset} holds no .parquet or .tar shards; give a folder that does.")


def find_hub_shards(dataset: str, split: str) -> tuple[str, dict[str, dict]]:
    """As `find_shards`, of a data set of the Hub at its present revision."""
    import datasets
    import fsspec
    from datasets.exceptions import DatasetsError

    try:
        data_files = datasets.load_dataset_builder(dataset).config.data_files or {}
        addresses = {str(name): list(map(str, files)) for name, files in data_files.items()}[split]
        places = map(fsspec.core.url_to_fs, addresses)
        info = [file_system.info(path) for file_system, path in places]
    except (OSError, ValueError, KeyError, DatasetsError) as error:  # no network, no such data set, no such split
        raise InputError(
            f"{dataset} is no local folder, and the Hub gave no split {split!r}: {error.__cause__ or error}"
        ) from error
    if not all(address.endswith((".parquet", ".tar")) for address in addresses):
        raise InputError(
            f"{dataset} holds other files than .parquet or .tar shards, such as {addresses[0]}; give the Hub's own"
            f" conversion, hf://datasets/{dataset}@~parquet/default/{split}."
        )
    protocol = addresses[0].partition("://")[0]
    root = f"{protocol}://{os.path.commonpath([os.path.dirname(a.partition('://')[2]) for a in addresses])}"
    return root, {address[len(root) + 1 :]: about for address, about in zip(addresses, info, strict=True)}


def make_index(arguments: DatasetArguments, dataset: str, root: str, files: dict[str, dict]) -> StreamIndex:
    """Reads the counts of the shards; see `open_index`."""
    import fsspec
    import pyarrow

    is_parquet = next(iter(files)).endswith(".parquet")
    column = parquet_column(arguments, f"{root}/{next(iter(files))}", dataset) if is_parquet else ""
    if not is_parquet and arguments.image_column != DatasetArguments.image_column:
        column = arguments.image_column.lower().lstrip(".")

    def count(name: str) -> Shard:
        address, size = f"{root}/{name}", files[name]["size"]
        try:
            if is_parquet:
                file_system, path = fsspec.core.url_to_fs(address)
                with file_system.open(path, "rb", cache_type="none") as file:
                    return Shard(name, size, row_groups(file))
            with fsspec.open(address, "rb") as file:
                return Shard(name, size, *tar_sections(file, address, column))
        except InputError:
            raise
        except (ValueError, pyarrow.ArrowException, tarfile.TarError) as error:  # ValueError: a size beyond 64 bits
            raise InputError(f"{address}: the shard is cut off or damaged ({error}); get it again.") from error
        except OSError as error:
            raise InputError(f"{address} cannot be read ({error}); look at --dataset.") from error

    with ThreadPoolExecutor(READERS) as readers:
        shards = list(readers.map(count, files))
    if not any(sum(shard.counts) for shard in shards):
        wanted = f"with the ending {column!r} (--image_column)" if column and not is_parquet else ""
        raise InputError(f"{dataset} holds no image {wanted}".rstrip() + "; look at --dataset.")
    return StreamIndex(root, column, shards)


def row_groups(file) -> list[int]:
    """Rows of each row group of an open Parquet file."""
    import pyarrow.parquet

    metadata = pyarrow.parquet.ParquetFile(file).metadata
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] or [0]


def parquet_column(arguments: DatasetArguments, address: str, dataset: str) -> str:
    """The image column of a Parquet file. Raises InputError: there is none, or the file is FER+ by its looks."""
    import datasets
    import fsspec
    import pyarrow.parquet

    try:
        with fsspec.open(address, "rb") as file:
            columns = datasets.Features.from_arrow_schema(pyarrow.parquet.read_schema(file))
    except (OSError, ValueError, pyarrow.ArrowException) as error:  # ValueError: of what `datasets` wrote beside it
        raise InputError(f"{address}: the shard is cut off or damaged ({error}); get it again.") from error
    if "votes" in columns and arguments.data_format == "auto":
        raise InputError(
            f"{dataset} looks like FER+, and a stream cannot leave out training images that equal validation images;"
            " leave --streaming out, or say --data_format parquet to take them all."
        )
    images = [name for name, kind in columns.items() if isinstance(kind, datasets.Image)]
    if arguments.image_column in columns:
        return arguments.image_column
    if not images:
        raise InputError(f"{dataset} has no image column {arguments.image_column!r}; found {', '.join(columns)}.")
    return images[0]


def image_kind(name: str) -> tuple[str, str]:
    """
    (sample, ending) of a file's name in a .tar shard, in lower case: WebDataset parts them at the first dot. Numbers
    after it do not count as an ending: face.0001.jpg has the ending jpg.
    """
    folder, _, file = name.rpartition("/")
    sample, *endings = file.split(".")
    return f"{folder}/{sample}", ".".join(ending for ending in endings if not ending.isdecimal()).lower()


def is_image(member: tarfile.TarInfo, ending: str) -> bool:
    """Whether a file of a .tar shard is an image of the stream. ending: of the images; "" for any."""
    last_ending = os.path.splitext(member.name)[1].lower()
    if not member.isfile() or is_below_housekeeping(member.name) or last_ending not in image_endings():
        return False
    return not ending or image_kind(member.name)[1] == ending


def tar_sections(file, address: str, ending: str) -> tuple[list[int], list[int]]:
    """
    The counts and offsets of a .tar shard's sections; see `Shard`. Only the headers of its files are read.

    Raises:
        InputError: two images of a sample. tarfile.TarError: a damaged file.
    """
    counts, offsets, last, end = [0], [0], ("", ""), 0
    with tarfile.open(fileobj=file, mode="r:") as shard:
        for member in shard:
            if is_image(member, ending):
                kind = image_kind(member.name)
                if kind[0] == last[0] and kind[1] != last[1]:
                    raise InputError(
                        f"{address}: {member.name} is a second image of the sample {kind[0].lstrip('/')!r}, which ends"
                        f" at the first dot of a name. Name the ending of the images, --image_column {last[1]}; or"
                        " rename files whose names have a dot before the ending."
                    )
                last = kind
                if member.offset - offsets[-1] >= SECTION and counts[-1]:
                    counts.append(0)
                    offsets.append(member.offset)
                counts[-1] += 1
            end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return counts, [*offsets, end]


@dataclass
class IndexArguments:
    """The index."""

    output: str = flag("", "new .json file")


def main(argv=None) -> None:
    data, index = parse_arguments((DatasetArguments, IndexArguments), argv, __doc__)
    if not index.output or not data.dataset:
        raise InputError("--dataset and --output are needed: the shards, and a new .json file.")
    made = open_index(data, data.dataset, data.train_split)
    write_index(Path(index.output), made)
    print(f"{sum(sum(shard.counts) for shard in made.shards):,} images in {len(made.shards):,} shards: {index.output}")


if __name__ == "__main__":
    run_main("stream_index", main)
