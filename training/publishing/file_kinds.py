"""Checks what a file is by its bytes, whatever its name says, before it leaves this machine."""

import json
import pickletools
import re
import zipfile
from pathlib import Path

from training.runtime.errors import NOT_JSON, InputError

TOKEN = re.compile(rb"hf_[A-Za-z0-9]{20,}")  # how the Hub's tokens look
# How the files begin. Of an ONNX file this is the tag of its first field, ir_version; exports.json has its hash.
STARTS = {".png": b"\x89PNG\r\n\x1a\n", ".onnx": b"\x08"}


def check_file(path: Path) -> None:
    """Raises InputError for a pickle, a zip archive, a token, or a file that is not what its name says."""
    if is_pickle(path):
        raise InputError(f"{path.name} is a pickle or a zip archive by its bytes, which can run code; it is not sent.")
    kind, content = path.suffix, path.read_bytes()
    if TOKEN.search(content):
        raise InputError(f"{path.name} holds what looks like a token of the Hub; take it out, and revoke it there.")
    if kind == ".safetensors":
        read_tensor_names(path)
    elif kind in STARTS:
        if not content.startswith(STARTS[kind]):
            raise InputError(f"{path.name} is no {kind} file by its bytes; make it again.")
    else:
        check_text(path, content)


def is_pickle(path: Path) -> bool:
    """Whether the file is a zip archive (which torch.save writes) or reads as a pickle up to its stop."""
    if zipfile.is_zipfile(path):
        return True
    try:
        return any(code.name == "STOP" and place for code, _, place in pickletools.genops(path.read_bytes()))
    except (ValueError, IndexError, OverflowError):  # what pickletools says of other files
        return False


def read_tensor_names(path: Path) -> list[str]:
    """Raises InputError if the file is no safetensors file, or if its header does not cover it to its last byte."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as tensors:
            return list(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path.name} is damaged, cut off or no safetensors file ({error}); save it again.") from error


def check_text(path: Path, content: bytes) -> None:
    """Raises InputError if the bytes are no text, or if a .json file is not JSON."""
    try:
        text = content.decode("utf-8")
        if path.suffix == ".json":
            json.loads(text)
    except NOT_JSON as error:
        raise InputError(f"{path.name} is not {'JSON' if path.suffix == '.json' else 'text'}: {error}") from error
    if "\0" in text:
        raise InputError(f"{path.name} is not text: it holds a zero byte.")
