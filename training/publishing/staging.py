"""
Copies the files that leave this machine when a folder is published. Only files on a list are copied.

For a model the list is NAMES, SHARD, ONNX and the package's code; for a static Space it is the files of a page.
Checkpoints, logs (metrics.jsonl, run.json), predictions, pictures of the data and hidden files stay here.
"""

import re
import shutil
import sys
from pathlib import Path

from training.publishing import record as names
from training.publishing.card import write_card
from training.publishing.checks import INDEX, WEIGHTS, check_card
from training.publishing.file_kinds import TOKEN
from training.publishing.record import CARD, CONFIG, METRICS, read_record
from training.runtime.errors import InputError
from training.runtime.lineage import read_json, stated_license
from training.runtime.public_paths import public
from training.runtime.run_folder import write_json

MATRIX = "confusion_matrix.png"
NAMES = (
    *(CONFIG, names.PROCESSOR, WEIGHTS, INDEX, CARD, names.NOTES, names.LICENSE_FILE, METRICS, names.EXPORTS),
    *(names.EXAMPLE, MATRIX),
)
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
ONNX = re.compile(r"onnx/[A-Za-z0-9][\w.-]*\.onnx")
# Files on the Hub that would be wrong beside new weights.
OF_EARLIER_WEIGHTS = [
    "model*.safetensors",
    INDEX,
    "onnx/*.onnx",
    names.EXPORTS,
    names.NOTES,
    names.LICENSE_FILE,
    MATRIX,
]
PAGE_FILES = set(".html .css .js .mjs .wasm .json .svg .png .jpg .jpeg .webp .ico .md .txt .webmanifest".split())
MODEL_FILES = set(".safetensors .onnx .bin .pt .pth .tar .pkl .ckpt .h5 .msgpack .tflite .npz .npy".split())
OWN_FOLDER = re.compile(r"/(?:home|Users)/[^/\s\"'`]+/|(?<![\w/])/(?:root|work)/\w|[A-Za-z]:\\+Users", re.IGNORECASE)


def space_sdk(folder: Path) -> str | None:
    """The sdk in the YAML of a Space's README.md; None for a model."""
    text = (folder / CARD).read_text(encoding="utf-8", errors="replace") if (folder / CARD).is_file() else ""
    line = re.match(r"---\s*\n(?:(?!---).*\n)*?sdk:\s*(\S+)", text)
    return line[1] if line else None


def copy_listed(folder: Path, target: Path, is_listed) -> list[str]:
    """
    Copies the listed files of a folder into a new one, and returns the names of all other files. `is_listed` takes a
    name relative to the folder, with slashes. Raises InputError if a listed file is a link, which may lead anywhere.
    """
    left_out = []
    target.mkdir(parents=True)
    for path in sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()):
        name = path.relative_to(folder).as_posix()
        if not is_listed(name):
            left_out.append(name)
            continue
        if path.is_symlink() or not path.is_file():
            raise InputError(f"{path} is a link, or no file; put the file itself there, or take it away.")
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)
    return left_out


def stage_model(folder: Path, target: Path, repo_id: str) -> list[str]:
    """
    Copies the published files of a model (a finished run, an export or a published folder) into a new folder, with the
    package's code and a new card. Returns the names of the files that are not copied. Raises InputError for an
    unfinished run, for a listed file that is a link, and for a card that contradicts the folder's files.
    """
    with_code = "auto_map" in read_json(folder / CONFIG)
    left_out = copy_listed(folder, target, lambda name: name in NAMES or SHARD.fullmatch(name) or ONNX.fullmatch(name))
    for name in (METRICS, names.EXPORTS):
        if (target / name).is_file():
            write_json(target / name, public(read_json(target / name)))
    if with_code:
        copy_code(target)
    record = read_record(folder)
    if (target / CARD).is_file():
        check_card(record, folder)
    given = {**(record.metrics.get("card") or {}), **stated_license(folder)}
    complete(target, record.lineage, given, repo_id, repo_id)
    return [name for name in left_out if not (target / name).is_file()]


def copy_code(folder: Path) -> None:
    """Copies the package's code files, for `trust_remote_code=True`."""
    from modeling_simfle import hub_folder_simfle

    for name in hub_folder_simfle.CODE_FILES:
        shutil.copyfile(Path(hub_folder_simfle.__file__).with_name(name), folder / name)


def refresh(folder: Path) -> None:
    """Gives a published folder the package's present code, the figures of the export beside it, and a new card."""
    record, beside = read_record(folder), folder.with_name(f"{folder.name}-plain")
    exports = read_json(beside / names.EXPORTS, optional=True)
    if exports and exports.get("model_weights_sha256") == record.metrics["weights_sha256"]:
        exports.pop("lineage", None)
        write_json(folder / names.EXPORTS, {**public(exports), "folder": beside.name})
    if not record.is_plain:
        copy_code(folder)
    given = {**record.metrics.get("card", {}), **stated_license(folder)}
    complete(folder, record.lineage, given, str(folder.resolve()))


def complete(folder: Path, lineage: list[dict], given: dict, name: str, repo_id: str | None = None) -> None:
    """
    Writes the card of a folder, and the lineage and the weights' hashes into its metrics.json.

    Args:
        lineage: of the weights. given: see `CardArguments.values`. name: of the weights in the lineage.
        repo_id: for the card's snippets; None where the folder is not on the Hub yet.
    """
    from modeling_simfle.hub_folder_simfle import weights_sha256

    metrics = {"weights_sha256": weights_sha256(folder), **read_json(folder / METRICS, optional=True)}
    own = {**lineage[-1], "name": public(name), "weights_sha256": metrics["weights_sha256"]}
    metrics |= {"lineage": [*lineage[:-1], own], "card": given}
    write_json(folder / METRICS, metrics)
    record = read_record(folder)
    record.lineage[-1]["name"] = own["name"]  # `folder` may still lie under a temporary name
    write_card(folder, record, given, repo_id)
    own["license"] = stated_license(folder)
    write_json(folder / METRICS, metrics)


def stage_space(folder: Path, target: Path) -> list[str]:
    """
    Copies the page of a static Space into a new folder, and returns the names of the files that are not copied. Raises
    InputError for a Space that runs code on the Hub, and for a model file, a link, a token or a path of this machine.
    """
    if (sdk := space_sdk(folder)) != "static":
        raise InputError(f"{folder / CARD} has sdk: {sdk}; only static Spaces are published from here.")
    left_out = copy_listed(folder, target, is_of_page)
    for path in sorted(p for p in target.rglob("*") if p.is_file()):
        content, name = path.read_bytes(), path.relative_to(target).as_posix()
        if TOKEN.search(content):
            raise InputError(f"{name} holds what looks like a token of the Hub; take it out, and revoke it there.")
        if machine := OWN_FOLDER.search(content.decode("utf-8", errors="replace")):
            raise InputError(f"{name} names a path of one machine, {machine[0]}; take it out.")
    return left_out


def is_of_page(name: str) -> bool:
    """Whether a file belongs to a page. Raises InputError for a model file, which belongs in a model repository."""
    suffix = Path(name).suffix.lower()
    if suffix in MODEL_FILES:
        raise InputError(f"{name} is a model file; publish it in a model repository, and let the page load it there.")
    is_hidden = any(part.startswith(".") for part in name.split("/"))
    return not is_hidden and (suffix in PAGE_FILES or Path(name).name in (names.LICENSE_FILE, "NOTICE"))


if __name__ == "__main__":
    for place in sys.argv[1:]:
        refresh(Path(place))
