"""
What make_card.py keeps in a run's folder, in card.json, which is not published: its flags, which a later card,
publishing and assembling take where they are not given again, and the hash of the card it wrote. A published folder has
no such file: its metrics.json says what it was trained on and by.
"""

import hashlib
import typing
from dataclasses import replace
from pathlib import Path

from training.publishing.card_facts import read_facts, read_json
from training.publishing.model_card import TOLD, CardArguments, make_card, write_card
from training.publishing.weight_licences import LICENSE_FIELDS
from training.runtime.arguments import matches_type
from training.runtime.errors import InputError
from training.runtime.public_paths import public
from training.runtime.run_folder import write_json

NOTES = "card.json"
FLAGS = ("training_recipes", *LICENSE_FIELDS, "datasets", "data_terms", "base_model", *TOLD)


def with_kept(folder: Path, given: CardArguments | None = None) -> CardArguments:
    """
    The flags that are given, and for all others those that the folder keeps; a licence goes as a whole.

    Raises:
        ValueError: a card.json that is no such file.
    """
    given = given or CardArguments()
    kept = {} if is_published(folder) else read_notes(folder).get("flags", {})
    if any(getattr(given, name) for name in LICENSE_FIELDS):
        kept = {name: value for name, value in kept.items() if name != "license"}
    return replace(given, **{name: value for name, value in kept.items() if not getattr(given, name)})


def read_notes(folder: Path) -> dict:
    """card.json: flags, readme_sha256; {} where there is none. Raises ValueError naming a flag that is none."""
    path = Path(folder) / NOTES
    notes, hints = read_json(path, optional=True), typing.get_type_hints(CardArguments)
    flags = notes.get("flags", {})
    for name, value in flags.items() if isinstance(flags, dict) else [("flags", flags)]:
        if name not in FLAGS or not matches_type(value, hints[name]):
            raise InputError(
                f"{path}: {name}={value!r} is no flag of make_card.py; delete that file, and write the card again."
            )
    return notes


def is_published(folder: Path) -> bool:
    return bool(read_json(Path(folder) / "metrics.json", optional=True).get("recipe"))


def write_own_card(folder: Path, output: Path, given: CardArguments) -> Path | None:
    """
    README.md, see `write_card`, by the flags given and kept; the folder's own card leaves its flags in the folder.

    Returns:
        Where a text lies that was there before and that this did not write; None where there was none.
    Raises:
        ValueError: as `make_card` does.
    """
    arguments, is_own = with_kept(folder, given), output.resolve() == (folder / "README.md").resolve()
    text = make_card(folder, arguments)
    aside = put_aside(output, text, read_notes(folder).get("readme_sha256") if is_own else None)
    if is_own and is_published(folder):
        note_figures(folder, arguments)
    elif is_own:
        flags = {name: getattr(arguments, name) for name in FLAGS if getattr(arguments, name)}
        write_json(folder / NOTES, {"flags": flags, "readme_sha256": sha256(text.encode())})
    write_card(folder, output, arguments)
    return aside


def note_figures(folder: Path, arguments: CardArguments) -> None:
    """Puts what the flags say of the trainings into a published folder's metrics.json, where it says nothing yet."""
    metrics = read_json(folder / "metrics.json")
    added = {**told(arguments), **metrics, "recipe": read_facts(folder, arguments.training_recipes).recipe}
    if added != metrics:
        write_json(folder / "metrics.json", added)


def told(arguments: CardArguments) -> dict:
    """What metrics.json keeps of the flags."""
    return {name: public(value) for name in TOLD if (value := getattr(arguments, name))}


def put_aside(path: Path, text: str, known: str | None) -> Path | None:
    """
    Copies what stands at `path` beside it, unless it is `text` or has the hash `known`.

    Returns:
        the copy, README.md.bak, or .bak2 and so on where that is taken; None where none was needed.
    """
    before = path.read_bytes() if path.is_file() else text.encode()
    if before == text.encode() or sha256(before) == known:
        return None
    number = 1
    while (aside := path.with_name(f"{path.name}.bak{number if number > 1 else ''}")).exists():
        if aside.read_bytes() == before:
            return aside
        number += 1
    aside.write_bytes(before)
    return aside


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
