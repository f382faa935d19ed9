"""
Weights as a published folder holds them: float16 on disk, float32 when loaded.

export.py and release.py write such folders.
"""

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


def save_run_as_halves(run: Path, folder: Path, encoder_only: bool, max_shard_size: str | None) -> None:
    """
    The model of a run as float16, its image processor and its code.

    Args:
        encoder_only: save a SimFLEModel. max_shard_size: such as "15MB".
    Raises:
        InputError: damaged weights, or weights that float16 does not hold.
    """
    import modeling_simfle
    from training.models.loading import load_processor, load_weights

    architecture = json.loads((run / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    kind = getattr(modeling_simfle, "SimFLEModel" if encoder_only else architecture)
    model = load_weights(kind, str(run)).eval()
    save_halves(model, folder, int(max_shard_size[:-2]) * 1_000_000 if max_shard_size else None)
    load_processor(run).save_pretrained(folder)
