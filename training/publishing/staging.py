"""
What leaves this machine when a folder is published: copies of the files of a list, and nothing else.

The list is NAMES, SHARD, ONNX and, where config.json names remote code, the package's code. Checkpoints, optimiser
state, logs (metrics.jsonl, run.json), card.json, predictions, pictures of the data and hidden files are not on it, so
they stay.
"""

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from training.publishing.card_facts import read_facts, read_json
from training.publishing.card_notes import told, with_kept
from training.publishing.model_card import EXAMPLE, LICENSE_FILE, with_repo_id, write_card
from training.publishing.weight_licences import source_license
from training.runtime.errors import InputError
from training.runtime.public_paths import public
from training.runtime.run_folder import write_json

CONFIG, CARD, METRICS, EXPORTS = "config.json", "README.md", "metrics.json", "exports.json"
WEIGHTS, INDEX, MATRIX = "model.safetensors", "model.safetensors.index.json", "confusion_matrix.png"
NAMES = (
    *(CONFIG, "preprocessor_config.json", WEIGHTS, INDEX, CARD, LICENSE_FILE, METRICS, EXPORTS),
    *(EXAMPLE, MATRIX),  # drawn by this repository
)
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
ONNX = re.compile(r"onnx/[A-Za-z0-9][\w.-]*\.onnx")


@dataclass(frozen=True)
class StagedFile:
    """A file that will be sent: its name in the repository, its bytes and their hash (hexadecimal)."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Staged:
    """
    A folder that holds exactly `files`; left_out: what else lay in the folder that it was copied from. is_card_made:
    README.md is not from there.
    """

    folder: Path
    files: tuple[StagedFile, ...]
    left_out: tuple[str, ...]
    is_card_made: bool


def stage(folder: Path, target: Path, repo_id: str) -> Staged:
    """
    Copies what is published of a folder into a new one.

    Absolute paths in metrics.json and exports.json are made public as on the card, the card's snippets get the
    repository's name, and a run gets what a published folder has and it has not (see `complete_run`).

    Args:
        folder: a published folder, or that of a finished run. target: is made.
    Raises:
        ValueError: no folder of a model, an unfinished run, or a listed file that is a link: it may lead anywhere.
    """
    from modeling_simfle.hub_folder_simfle import file_sha256

    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder of a finished run, or a published one.")
    with_code = "auto_map" in read_json(folder / CONFIG)
    left_out = []
    for path in sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()):
        name = path.relative_to(folder).as_posix()
        if not is_listed(name, with_code):
            left_out.append(name)
            continue
        if path.is_symlink() or not path.is_file():
            raise InputError(f"{path} is a link, or no file; put the file itself there, or take it away.")
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)
    for name in (METRICS, EXPORTS):
        if (target / name).is_file():
            write_json(target / name, public(read_json(target / name)))
    is_card_made = not (target / CARD).is_file()
    complete_run(folder, target, repo_id)
    names = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    files = (StagedFile(name, (target / name).stat().st_size, file_sha256(target / name)) for name in names)
    return Staged(target, tuple(files), tuple(left_out), is_card_made)


def complete_run(folder: Path, target: Path, repo_id: str) -> None:
    """
    Gives the copy of a run, or of a bare export, recipe, hashes, machine and its source's licence in metrics.json, and
    a card where there is none; the flags are those that make_card.py kept.

    Raises:
        ValueError: a folder that nothing was trained in.
    """
    from modeling_simfle.hub_folder_simfle import weights_sha256

    kept = with_kept(folder)
    metrics = read_json(target / METRICS, optional=True)
    if not metrics.get("recipe"):
        added = {"recipe": read_facts(folder, kept.training_recipes).recipe, "weights_sha256": weights_sha256(target)}
        added |= told(kept)
        came_with = source_license(folder)  # the folders that it is read from stay here
        write_json(target / METRICS, {**added, **({"source_license": came_with} if came_with else {}), **metrics})
    card = target / CARD
    if card.is_file():
        # A byte that is no text stays as it is, for check_text to name.
        text = card.read_text(encoding="utf-8", errors="surrogateescape")
        card.write_text(with_repo_id(text, repo_id), encoding="utf-8", errors="surrogateescape")
    else:
        write_card(target, card, replace(kept, training_recipes=[], repo_id=repo_id))


def is_listed(name: str, with_code: bool) -> bool:
    """Whether a file of this name, relative to the folder and with slashes, is published."""
    from modeling_simfle.hub_folder_simfle import CODE_FILES

    listed = name in NAMES or SHARD.fullmatch(name) or ONNX.fullmatch(name)
    return bool(listed or (with_code and name in CODE_FILES))


def belongs_to_weights(name: str) -> bool:
    """Whether a file of this name says something wrong beside other weights: weights, exports, figures, licence."""
    said = (WEIGHTS, INDEX, EXPORTS, LICENSE_FILE, MATRIX)
    return bool(name in said or SHARD.fullmatch(name) or ONNX.fullmatch(name))


def summarize(names: tuple[str, ...]) -> str:
    """Names in one line; a subfolder as one, with the number of its files."""
    counts: dict[str, int] = {}
    for name in names:
        first, slash, _ = name.partition("/")
        counts[first + slash] = counts.get(first + slash, 0) + 1
    return ", ".join(f"{name} ({count} files)" if name.endswith("/") else name for name, count in counts.items())
