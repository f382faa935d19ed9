# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
What makes a saved folder stand alone: the code that it carries, and the hashes of its weights.

Transformers (5.17 to 5.24) copies the file of a remote class to its module cache, with every file that its text names
in a relative import. The lines below count as such imports. Loading any class therefore copies all files, and a later
save finds them beside this one.

    from .configuration_simfle import SimFLEConfig
    from .face_detection_simfle import detect_faces
    from .facemae_simfle import FaceMAE
    from .image_processing_simfle import SimFLEImageProcessor
    from .modeling_simfle import SimFLEModel
    from .pipeline_simfle import FaceExpressionPipeline
"""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from transformers.dynamic_module_utils import get_relative_import_files
from transformers.utils import cached_file, logging

logger = logging.get_logger(__name__)

# The files that a saved folder carries so that `trust_remote_code=True` works without this package.
CODE_FILES = (
    "configuration_simfle.py",
    "face_detection_simfle.py",
    "facemae_simfle.py",
    "hub_folder_simfle.py",
    "image_processing_simfle.py",
    "modeling_simfle.py",
    "pipeline_simfle.py",
)
AUTO_MAP = {
    "AutoConfig": "configuration_simfle.SimFLEConfig",
    "AutoModel": "modeling_simfle.SimFLEModel",
    "AutoModelForPreTraining": "modeling_simfle.SimFLEForPreTraining",
    "AutoModelForImageClassification": "modeling_simfle.SimFLEForImageClassification",
}
CUSTOM_PIPELINES = {
    "face-expression-recognition": {
        "impl": "pipeline_simfle.FaceExpressionPipeline",
        "pt": ["AutoModelForImageClassification"],
        "type": "image",
    }
}
PIXEL_SETTINGS = ("size", "do_grayscale", "image_mean", "image_std", "do_normalize", "do_rescale")
STALE_METRICS = "metrics.of_other_weights.json"  # what a metrics.json becomes once other weights are saved beside it


def save_remote_code(folder: str | os.PathLike, json_name: str, entries: dict[str, tuple], source: str = "") -> None:
    """
    Makes a saved folder loadable without this package: for configurations, models (through their configuration) and
    image processors alike. Transformers 5 writes only the saved class into `auto_map`, and copies no file from an
    installed package.

    Args:
        folder: the folder just saved.
        json_name: its JSON file that names the code (config.json or preprocessor_config.json).
        entries: for each key of that file ("auto_map", "custom_pipelines"), this package's entries and the object's.
            An entry of the object stays if its file is not one of CODE_FILES: a derived class that the user registered
            (`register_for_auto_class`). An entry whose file, or a file that it imports, cannot be found is left out.
        source: the folder or Hub id that the object was loaded from, for files that do not lie beside this one.
    """
    folder = Path(folder)
    for name in CODE_FILES:
        file, target = find_code_file(name, source), folder / name
        if file and not (target.exists() and file.samefile(target)):
            shutil.copyfile(file, folder / f"{name}.tmp")
            os.replace(folder / f"{name}.tmp", target)
    content = json.loads((folder / json_name).read_text(encoding="utf-8"))
    for key, (ours, own) in entries.items():
        content.pop(key, None)
        derived = {name: entry for name, entry in (own or {}).items() if code_file(entry) not in CODE_FILES}
        if named := {name: entry for name, entry in (ours | derived).items() if can_be_loaded(folder, entry)}:
            content[key] = named
    temporary = folder / f"{json_name}.tmp"
    temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, folder / json_name)


def find_code_file(name: str, source: str) -> Path | None:
    """A code file beside this one, else in the folder or Hub repository `source` (its cache first), else None."""
    beside = Path(__file__).parent / name
    if beside.is_file() or not source:
        return beside if beside.is_file() else None
    # The module cache keeps a repository's code in a folder named after the commit.
    revision = beside.parent.name if re.fullmatch("[0-9a-f]{40}", beside.parent.name) else None
    try:
        return Path(cached_file(source, name, revision=revision))
    except (OSError, ValueError):
        return None


def code_file(entry) -> str:
    """The file of "file.Class", or of a custom pipeline's {"impl": "file.Class"}; "" for any other entry."""
    target = entry.get("impl") if isinstance(entry, dict) else entry
    return f"{target.partition('.')[0]}.py" if isinstance(target, str) else ""


def can_be_loaded(folder: Path, entry) -> bool:
    """Whether a folder holds the file that an entry names, and every file that this one imports from the folder."""
    try:
        get_relative_import_files(folder / code_file(entry))
    except OSError:
        return False
    return True


def weights_sha256(folder: Path) -> dict[str, str]:
    """The hash of every .safetensors file at the top of a folder, and of the shards' index, by its name."""
    paths = sorted([*folder.glob("[!.]*.safetensors"), *folder.glob("[!.]*.safetensors.index.json")])
    return {path.name: file_sha256(path) for path in paths}


def file_sha256(path: Path) -> str:
    """Hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def recorded_sha256(folder: Path) -> dict[str, str]:
    """The weights' hashes in a folder's metrics.json, {} where it has none. Raises ValueError: it is not JSON."""
    path = folder / "metrics.json"
    if not path.is_file():
        return {}
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # the latter on deep nesting
        raise ValueError(f"{path} is not JSON ({error}); get the whole folder again.") from error
    hashes = (metrics.get("weights_sha256") if isinstance(metrics, dict) else None) or {}
    if not isinstance(hashes, dict):
        raise ValueError(f"{path}: weights_sha256 does not map files to hashes; get the whole folder again.")
    return hashes


def check_weights(folder: str | os.PathLike) -> None:
    """
    Compares a published folder's weights with the hashes in its metrics.json; does nothing where that holds none.

    Raises:
        ValueError: a file that is missing, was changed or cut off, or that metrics.json does not know.
    """
    folder = Path(folder)
    check_shards(folder)
    expected = recorded_sha256(folder)
    if expected and (hashes := weights_sha256(folder)) != expected:
        names = sorted(set(hashes) | set(expected))
        wrong = ", ".join(name for name in names if hashes.get(name) != expected.get(name))
        raise ValueError(
            f"{folder}: {wrong} is not the file whose hash stands in metrics.json (changed, cut off, or of another"
            " version); get the whole folder again, or delete metrics.json if the weights are meant to be other ones."
        )


def check_shards(folder: str | os.PathLike) -> None:
    """
    Raises ValueError where the index of a local folder's shards names anything but .safetensors files of the folder.
    Transformers (5.24) would look for such a name anywhere on the disk, and read a file of another kind as a pickle.
    """
    index = Path(folder) / "model.safetensors.index.json"
    if not index.is_file() or index.with_name("model.safetensors").is_file():  # Transformers takes the single file
        return
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of shards ({error!r}); get the whole folder again.") from error
    for name in names:
        is_plain = isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name
        if not is_plain or len(name) > 255 or "\0" in name or not index.with_name(name).is_file():
            raise ValueError(f"{index} names {str(name)[:200]!r}, no shard of this folder; get the whole folder again.")


def set_stale_metrics_aside(folder: str | os.PathLike) -> None:
    """Renames a metrics.json that was measured with other weights or other preprocessing than lie beside it; warns."""
    folder = Path(folder)
    try:
        expected = recorded_sha256(folder)
        has_other_weights = expected and (hashes := weights_sha256(folder)) and hashes != expected
        what = "weights" if has_other_weights else "preprocessing" if has_other_preprocessing(folder) else ""
    except ValueError:
        return  # nobody takes it for the weights' own
    if what:
        os.replace(folder / "metrics.json", folder / STALE_METRICS)
        logger.warning(f"{folder}: metrics.json was measured with other {what}; it is now {STALE_METRICS}.")


def has_other_preprocessing(folder: Path) -> bool:
    """Whether metrics.json names other settings of the pixels than preprocessor_config.json. Raises ValueError."""
    files = [folder / "metrics.json", folder / "preprocessor_config.json"]
    if not all(file.is_file() for file in files):
        return False
    metrics, processor = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    measured = metrics.get("preprocessing") if isinstance(metrics, dict) else None
    return isinstance(measured, dict) and any(
        name in measured and name in processor and measured[name] != processor[name] for name in PIXEL_SETTINGS
    )
