"""Weights as export.py and release.py write them: float16 on disk, float32 when loaded."""

import json
from pathlib import Path

from training.runtime.errors import InputError
from training.runtime.run_folder import share_weights, write_json

HEADER_ROOM = 200_000  # bytes that the names and shapes of a shard may take beside its tensors


def save_halves(model, folder: Path, max_shard_size: int | None = None) -> None:
    """
    Saves a model as float16 tensors beside "dtype": "float32" in config.json, so that the default load is float32.

    Args:
        model: any PreTrainedModel; it becomes half precision. max_shard_size: of a file, in bytes; one file when None.
    Raises:
        InputError: a weight that float16 does not hold, or shards too small for the largest tensor or the names.
    """
    options = {}
    if max_shard_size is not None:
        if max_shard_size <= 2 * HEADER_ROOM:
            raise InputError(f"shards of {max_shard_size} bytes are too small; give at least 1MB.")
        options["max_shard_size"] = max_shard_size - HEADER_ROOM
    for name, tensor in model.half().state_dict().items():
        if not tensor.isfinite().all():
            raise InputError(
                f"{name} has values that float16 does not hold (above 65504); such a model stays as it is."
            )
    model.save_pretrained(folder, **options)
    share_weights(folder)
    for path in folder.glob("[!.]*.safetensors"):
        if max_shard_size is not None and path.stat().st_size > max_shard_size:
            raise InputError(f"{path.name} is larger than {max_shard_size} bytes: one tensor is; give larger shards.")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", {**config, "dtype": "float32"})
