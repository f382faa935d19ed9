"""What must hold of the staged files, by their bytes, before they are sent; card and figures: card_checks.py."""

import importlib.util
import json
import re
from pathlib import Path

from training.publishing.card_checks import check_card, is_pickle
from training.publishing.staging import CONFIG, INDEX, WEIGHTS, Staged
from training.runtime.errors import InputError

TOKEN = re.compile(rb"hf_[A-Za-z0-9]{20,}")  # how the Hub's tokens look
PNG = b"\x89PNG\r\n\x1a\n"
ONNX_START = b"\x08"  # the first field's tag, ir_version


def check_staged(staged: Staged) -> None:
    """
    Checks everything that can be checked without running the model.

    Raises:
        ValueError: one sentence about the first thing that is wrong.
    """
    for file in staged.files:
        check_kind(staged.folder / file.name)
    check_tensors(staged.folder)
    check_auto_map(staged.folder)
    check_card(staged.folder)


def check_kind(path: Path) -> None:
    """Raises ValueError: a pickle or zip archive, a file that is not of the kind that its name says, or a token."""
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


def read_tensor_names(path: Path) -> list[str]:
    """Raises ValueError: no safetensors file, or one whose header does not cover it to its last byte."""
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
    """Raises ValueError: bytes that are no text, or a .json file that is none."""
    try:
        text = content.decode("utf-8")
        if path.suffix == ".json":
            json.loads(text)
    except ValueError as error:
        raise InputError(f"{path.name} is not {'JSON' if path.suffix == '.json' else 'text'}: {error}") from error
    if "\0" in text:
        raise InputError(f"{path.name} is not text: it holds a zero byte.")


def check_tensors(folder: Path) -> None:
    """Raises ValueError: no weights, two kinds of them, or shards that are not those of their index."""
    shards = {path.name: read_tensor_names(path) for path in sorted(folder.glob("model-*.safetensors"))}
    if (folder / WEIGHTS).is_file() == bool(shards):
        raise InputError(
            f"the folder must hold either {WEIGHTS} or shards of it, and holds {'both' if shards else 'none'}."
        )
    if (folder / INDEX).is_file() != bool(shards):
        raise InputError(f"shards and {INDEX} go together, and one of them is missing.")
    if shards:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        found = {tensor: name for name, tensors in shards.items() for tensor in tensors}
        if index.get("weight_map") != found:
            raise InputError(f"the shards do not hold what {INDEX} says; save them again.")


def check_auto_map(folder: Path) -> None:
    """Raises ValueError: config files that name code elsewhere than in the folder."""
    from modeling_simfle.hub_folder_simfle import CODE_FILES

    for name in (CONFIG, "preprocessor_config.json"):
        if not (folder / name).is_file():
            raise InputError(f"{name} is missing; save model and image processor into the folder.")
        settings = json.loads((folder / name).read_text(encoding="utf-8"))
        named = {**settings.get("auto_map", {}), **settings.get("custom_pipelines", {})}
        for target in named.values():
            if not isinstance(target, str) or f"{target.split('.')[0]}.py" not in CODE_FILES:
                raise InputError(f"{name} names the code {target!r}, which is not in the folder; save it again.")
