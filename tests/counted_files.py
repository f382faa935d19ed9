# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""A file system in memory, counted://, that counts the bytes asked of it, as an object store would bill them."""

import io
import os
import tarfile

import datasets
import fsspec
import numpy as np
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

SIZE = 4096  # bytes of an image


class CountedFile(AbstractBufferedFile):
    def _fetch_range(self, start, end):
        content = self.fs.store[self.path][start:end]
        self.fs.read[self.path] = self.fs.read.get(self.path, 0) + len(content)
        return content


class CountedFiles(AbstractFileSystem):
    protocol = "counted"
    cachable = False
    store: dict[str, bytes] = {}
    read: dict[str, int] = {}  # bytes, by file

    def info(self, path, **_):
        path = self._strip_protocol(path)
        if path in self.store:
            return {"name": path, "size": len(self.store[path]), "type": "file"}
        if any(name.startswith(f"{path}/") for name in self.store):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def ls(self, path, detail=True, **_):
        path = self._strip_protocol(path)
        found = [self.info(name) for name in self.store if os.path.dirname(name) == path]
        return found if detail else [entry["name"] for entry in found]

    def _open(self, path, mode="rb", **options):
        return CountedFile(self, path, mode, **{k: v for k, v in options.items() if k in ("cache_type", "block_size")})

    @classmethod
    def total(cls) -> int:
        return sum(cls.read.values())


fsspec.register_implementation("counted", CountedFiles, clobber=True)


def contents(first: int, end: int) -> list[bytes]:
    """Noise that no codec makes smaller; each begins with the image's number."""
    noise = np.random.default_rng([first, end]).bytes(SIZE * (end - first))
    parts = [noise[i : i + SIZE - 8] for i in range(0, len(noise), SIZE)]
    return [number.to_bytes(8, "big") + part for number, part in enumerate(parts, first)]


def write_parquet(folder: str, counts: list[int], rows_per_group: int) -> None:
    """Shards of so many images. A column that nobody asks for is as large as the images."""
    first = 0
    for shard, count in enumerate(counts):
        cells = [{"bytes": content, "path": None} for content in contents(first, first + count)]
        other = [content + b"x" for content in contents(first, first + count)]
        features = datasets.Features({"image": datasets.Image(), "other": datasets.Value("binary")})
        rows = datasets.Dataset.from_dict({"image": cells, "other": other}, features=features)
        buffer = io.BytesIO()
        rows.to_parquet(buffer, batch_size=rows_per_group)
        CountedFiles.store[f"{folder}/train-{shard:05d}.parquet"] = buffer.getvalue()
        first += count


def write_tars(folder: str, counts: list[int]) -> None:
    """As `write_parquet`, of WebDataset shards."""
    first = 0
    for shard, count in enumerate(counts):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as file:
            for number, content in enumerate(contents(first, first + count), first):
                for name, data in ((f"{number:06d}.jpg", content), (f"{number:06d}.json", b"{}")):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    file.addfile(member, io.BytesIO(data))
        CountedFiles.store[f"{folder}/train-{shard:05d}.tar"] = buffer.getvalue()
        first += count
