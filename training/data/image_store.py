"""
Images decoded once: a memory-mapped file of 8-bit pixels that all processes and workers share.

    cache_dir/<key>/pixels.bin     the images one after the other, each (h, w, 3) uint8
    cache_dir/<key>/index.json     heights, widths, and the problems of unreadable images

The key covers the data set and the longest side, so that no other data set gets these pixels.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from training.data.faces import Faces, evenly
from training.data.images import NOWHERE, BadImage
from training.runtime.processes import any_process

CHUNK = 128  # images decoded at once
ABANDONED = 24 * 3600  # seconds without a write


class StoredFaces:
    """Faces whose pixels come from the file: those of `faces.pixels` with the side that the file was built with."""

    def __init__(self, faces: Faces, folder: Path):
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.faces, self.image_side = faces, index["image_side"]
        self.sizes = np.array(index["sizes"], dtype=np.int64).reshape(-1, 2)
        self.problems = {int(number): problem for number, problem in index["problems"].items()}
        self.ends = np.cumsum(self.sizes.prod(1) * 3)
        self.file = np.memmap(folder / "pixels.bin", np.uint8, mode="r", shape=(int(self.ends[-1]),))

    def __len__(self) -> int:
        return len(self.faces)

    def __getattr__(self, name: str):  # source, split, labels ...
        if name.startswith("__") or name == "faces":
            raise AttributeError(name)
        return getattr(self.faces, name)

    def pixels(self, index: int, longest_side: int) -> np.ndarray:
        """Image `index` as (h, w, 3) uint8. Raises BadImage."""
        assert longest_side == self.image_side
        if index in self.problems:
            raise BadImage(self.problems[index])
        height, width = self.sizes[index]
        end = self.ends[index]
        return self.file[end - height * width * 3 : end].reshape(height, width, 3)

    def on_device(self, device: torch.device) -> torch.Tensor | None:
        """All images as (N, h, w, 3) uint8 on the device; None if sizes differ or it has too little memory."""
        if len(np.unique(self.sizes, axis=0)) != 1 or self.problems:
            return None
        if device.type == "cuda" and self.file.nbytes > torch.cuda.mem_get_info(device)[0] / 4:
            return None
        return torch.from_numpy(np.array(self.file)).view(len(self), *self.sizes[0], 3).to(device)


def decode(faces: Faces, index: int, image_side: int) -> tuple[np.ndarray, str]:
    """Pixels (h, w, 3) uint8, and the problem, "" where the image can be read."""
    try:
        return faces.pixels(index, image_side), ""
    except BadImage as error:
        return np.zeros((0, 0, 3), np.uint8), str(error)


def store_key(faces: Faces, image_side: int) -> str:
    """A key that changes with every file's size and time (folders), or with the table's content (Parquet, Hub)."""
    digest = hashlib.sha256(f"{faces.rows._fingerprint} {len(faces)} {image_side}".encode())
    if faces.cell(0)["bytes"] is None:
        for cell in faces.rows[faces.image_column]:
            path = (cell or NOWHERE)["path"]
            found = os.stat(path) if path and os.path.exists(path) else None
            size, time = (found.st_size, found.st_mtime_ns) if found else (-1, -1)
            digest.update(f"{path} {size} {time}\n".encode())
    return digest.hexdigest()[:24]


def store_faces_once(
    accelerator, faces: Faces, cache_dir: Path, image_side: int, num_workers: int
) -> StoredFaces | Faces:
    """
    `store_faces` by one process of each machine first (each machine may have its own cache), then by the others.

    All processes meet after every chunk of the decoding: decoding millions of images takes longer than the time after
    which a silent process counts as dead.
    """
    where, stored = (faces, cache_dir, image_side, num_workers), None
    if accelerator.is_local_main_process:
        stored = store_faces(*where, beat=lambda: any_process(accelerator, True))
    while any(any_process(accelerator, False)):
        pass
    return store_faces(*where) if stored is None else stored


def store_faces(
    faces: Faces, cache_dir: Path, image_side: int, num_workers: int, beat: Callable[[], object] = lambda: None
) -> StoredFaces | Faces:
    """
    The faces from a store, which is built if it is missing or damaged; the faces as they are if the disk is too small.

    Args:
        cache_dir: folder of the stores. image_side: longest side of a stored image, in pixels.
        num_workers: threads that decode. beat: called after every chunk.
    """
    folder = cache_dir / store_key(faces, image_side)
    if folder.is_dir():
        try:
            return StoredFaces(faces, folder)
        except (FileNotFoundError, ValueError, KeyError, IndexError) as error:  # after any other error the store stays
            print(f"--cache_images: {folder} is damaged ({error}) and is built again", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
    needed = len(faces) * np.mean([decode(faces, index, image_side)[0].nbytes for index in evenly(len(faces), 64)])
    cache_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache_dir).free
    if needed > 0.9 * free:
        print(
            f"--cache_images: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free in {cache_dir}; the"
            " images are decoded every epoch instead.",
            file=sys.stderr,
        )
        return faces
    build_store(faces, folder, image_side, num_workers, beat)
    return StoredFaces(faces, folder)


def build_store(
    faces: Faces, folder: Path, image_side: int, num_workers: int, beat: Callable[[], object] = lambda: None
) -> None:
    """Decodes every image once, into a temporary folder that is then renamed."""
    for left in folder.parent.glob(f"{folder.name}.*.tmp"):  # of a killed process; newer ones may be in use
        with suppress(FileNotFoundError):
            if time.time() - (left / "pixels.bin").stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(".tmp", f"{folder.name}.", folder.parent))
    temporary.chmod(0o755)
    sizes: list[tuple[int, ...]] = []
    problems: dict[int, str] = {}
    numbers = range(len(faces))
    bar = tqdm(total=len(faces), desc="decoding", disable=not sys.stderr.isatty(), leave=False, unit="image")
    # Threads will do: Pillow decodes and resizes without the interpreter's lock.
    with open(temporary / "pixels.bin", "wb") as file, ThreadPool(max(1, num_workers)) as pool, bar:
        for start in numbers[::CHUNK]:
            chunk = numbers[start : start + CHUNK]
            for pixels, problem in pool.map(lambda index: decode(faces, index, image_side), chunk):
                if problem:
                    problems[len(sizes)] = problem
                sizes.append(pixels.shape[:2])
                file.write(np.ascontiguousarray(pixels).data)
            bar.update(len(chunk))
            beat()
        file.flush()
        os.fsync(file.fileno())
    if len(problems) == len(sizes):
        shutil.rmtree(temporary)
        raise BadImage(f"none of the {len(sizes)} images can be read; the first: {problems[0]}")
    index = {"image_side": image_side, "sizes": sizes, "problems": problems}
    (temporary / "index.json").write_text(json.dumps(index), encoding="utf-8")
    try:
        os.replace(temporary, folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(temporary)  # another process was faster
