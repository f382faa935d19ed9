"""
Outputs of a frozen encoder on disk, for other runs on the same weights, data and image processor.

    features_dir/<name>_<hash of what they are made from>.safetensors
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch

from training.runtime.errors import InputError


def weights_hash(module: torch.nn.Module) -> str:
    """A hash of every parameter and buffer, with its name."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def stored_tensors(
    folder: Path, name: str, made_from: dict, compute: Callable[[], dict[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """
    The tensors of an earlier call with the same `name` and `made_from`. They are computed and stored if there are none.

    Args:
        made_from: what the tensors depend on, as JSON takes it.
    Raises:
        InputError: a file that cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    description = json.dumps(made_from, sort_keys=True)
    path = folder / f"{name}_{hashlib.sha256(description.encode()).hexdigest()[:24]}.safetensors"
    if path.is_file():
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise InputError(f"{path} is damaged ({error}); delete it.") from error
        print(f"{name} from {path}")
        return tensors
    tensors = compute()
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # several runs may share the folder
    save_file(contiguous, temporary, metadata={"made_from": description})
    os.replace(temporary, path)
    return tensors
