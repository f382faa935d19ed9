"""What a file is by its bytes, whatever its name says: for files that leave this machine."""

import importlib.util
import json
import pickletools
import re
import zipfile
from pathlib import Path

from training.runtime.errors import InputError

TOKEN = re.compile(rb"hf_[A-Za-z0-9]{20,}")  # how the Hub's tokens look
PNG, ONNX_START = b"\x89PNG\r\n\x1a\n", b"\x08"  # an ONNX file starts with the tag of its first field, ir_version


def check_file(path: Path) -> None:
    """Raises InputError: a pickle or zip archive, a token, or a file that is not of the kind that its name says."""
    if is_pickle(path):
        raise InputError(f"{path.name} is a pickle or a zip archive by its bytes, which can run code; it is not sent.")
    kind, content = path.suffix, path.read_bytes()
    if TOKEN.search(content):
        raise InputError(f"{path.name} holds what looks like a token of the Hub; take it out, and revoke it there.")
    if kind == ".safetensors":
        read_tensor_names(path)
    elif kind == ".png" and not is_png(path, content):
        raise InputError(f"{path.name} is not a whole PNG picture by its bytes; draw it again.")
    elif kind == ".onnx" and not is_onnx(path, content):
        raise InputError(f"{path.name} is not a whole ONNX file by its bytes; export it again.")
    elif kind not in (".safetensors", ".png", ".onnx"):
        check_text(path, content)


def is_pickle(path: Path) -> bool:
    """Whether the file is a zip archive (torch.save's form) or reads as a pickle up to its stop."""
    if zipfile.is_zipfile(path):
        return True
    try:
        return any(code.name == "STOP" and place for code, _, place in pickletools.genops(path.read_bytes()))
    except (ValueError, IndexError, OverflowError):  # what pickletools says of other files
        return False


def read_tensor_names(path: Path) -> list[str]:
    """Raises InputError: no safetensors file, or one whose header does not cover it to its last byte."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as tensors:
            return list(tensors.keys())
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path.name} is cut off, damaged, or no safetensors file ({reason}); save it again."
        ) from error


def is_png(path: Path, content: bytes) -> bool:
    from PIL import Image

    if not content.startswith(PNG):
        return False
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):  # Pillow's words for a damaged one
        return False
    return True


def is_onnx(path: Path, content: bytes) -> bool:
    """By the whole file where onnx is installed, else by its start."""
    if not content.startswith(ONNX_START) or importlib.util.find_spec("onnx") is None:
        return content.startswith(ONNX_START)
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except DecodeError:
        return False
    return len(graph.node) > 0 and not any(tensor.external_data for tensor in graph.initializer)


def check_text(path: Path, content: bytes) -> None:
    """Raises InputError: bytes that are no text, or a .json file that is not JSON."""
    try:
        text = content.decode("utf-8")
        if path.suffix == ".json":
            json.loads(text)
    except ValueError as error:
        raise InputError(f"{path.name} is not {'JSON' if path.suffix == '.json' else 'text'}: {error}") from error
    if "\0" in text:
        raise InputError(f"{path.name} is not text: it holds a zero byte.")
