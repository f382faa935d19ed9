"""
The licence of weights travels with what is made of them: runs that start from a folder or learn from its answers, and
exports of one.

A folder states its licence in the YAML of its README.md; assemble_release.py notes the one that came with the weights
in metrics.json, under `source_license`, because the folders that it came from stay behind. A licence here is a mapping
of LICENSE_FIELDS, {} where none is known.
"""

import re
from pathlib import Path

import yaml

from training.publishing.card_data_sets import image_terms
from training.publishing.card_facts import Facts, places_of, read_json
from training.runtime.errors import InputError
from training.runtime.run_folder import write_text

LICENSE_FIELDS = ("license", "license_name", "license_link")
LICENSE_FILE = "LICENSE"
LICENSE_TEXT = """\
# {name}

The weights in this folder (the .safetensors files, and .onnx files made from them) may be used, shared and
changed for research and teaching, with this note beside them. {terms}
No other use is granted, because none is ours to grant.

They come as they are, without any warranty.
"""
CODE_TERMS = """\
The code in this folder (the .py files) is not under these terms: it is licensed under the Apache License, Version
2.0."""
OURS = re.compile(  # a LICENSE that was written here, not by hand
    re.escape(LICENSE_TEXT).replace(r"\{name\}", "(?P<name>.+)").replace(r"\{terms\}", r"[\s\S]*")
    + rf"(?:\n{re.escape(CODE_TERMS)}\n)?"
)
# The Hub's identifiers, as far as they are known here; of any other licence, `other` gives name and link.
LICENSE_IDS = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0
    etalab-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 h-research
    intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit
    mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openmdw-1.0 openrail openrail++ osl-3.0 pddl postgresql unlicense wtfpl
    zlib
    """.split()
)
NON_COMMERCIAL = re.compile(r"(?<![a-z])nc(?![a-z])|non-?commercial|research", re.IGNORECASE)


def source_license(folder: Path, seen: frozenset = frozenset()) -> dict:
    """
    The licence that the weights in a run's or a published folder bring with them: the first that is not commercial
    among those of the folders that they were made from, as far as these are here; of an export, that of its folder.

    Args:
        seen: folders on the way here, so that none is asked twice.
    Raises:
        ValueError: a JSON file or a card's YAML that cannot be read.
    """
    noted = read_json(folder / "metrics.json", optional=True).get("source_license")
    if noted:
        return noted
    seen = seen | {folder.resolve()}
    for source in sources(folder):
        if source.resolve() in seen or not source.is_dir():
            continue
        stated = stated_license(source)
        found = stated if is_non_commercial(stated) else source_license(source, seen)
        if found or is_export(folder):
            return found or stated
    return {}


def sources(folder: Path) -> list[Path]:
    """Where the folders may lie that a folder's weights were made from, the nearest first."""
    if is_export(folder):
        return places_of(read_json(folder / "exports.json")["model"])
    trainings = read_json(folder / "metrics.json", optional=True).get("recipe") or []
    runs = [read_json(folder / "run.json", optional=True), *reversed(trainings)]
    names = [run.get("arguments", {}).get(flag) for run in runs for flag in ("model", "teacher")]
    return [place for name in names for place in places_of(name)]


def is_export(folder: Path) -> bool:
    """Whether it is a plain folder of export.py."""
    exported = "model" in read_json(folder / "exports.json", optional=True)
    return exported and read_json(folder / "config.json", optional=True).get("model_type") != "simfle"


def stated_license(folder: Path) -> dict:
    """What the YAML of a folder's README.md says. Raises ValueError: YAML that cannot be read."""
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    try:
        said = yaml.safe_load(head[1]) if head else {}
    except yaml.YAMLError as error:
        raise InputError(f"the YAML of {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(said, dict) or not said.get("license"):
        return {}
    stated = {name: str(said[name]) for name in LICENSE_FIELDS if said.get(name)}
    return {**stated, "license": stated["license"].lower()}


def terms_of(stated: dict) -> str:
    """A licence in one word: its id on the Hub, or its own name where that is `other`."""
    license_id = stated.get("license") or ""
    return stated.get("license_name") or license_id if license_id == "other" else license_id


def is_non_commercial(stated: dict) -> bool:
    return NON_COMMERCIAL.search(terms_of(stated)) is not None


def check_license(given: dict, source: dict) -> None:
    """Raises ValueError: `given` allows, or may allow, what the licence of the weights' source does not."""
    wanted, found = terms_of(source), terms_of(given)
    if not is_non_commercial(source) or found == wanted:
        return
    # Creative Commons' words only add conditions: cc-by-nc-sa is no looser than cc-by-nc.
    conditions, ours = (set(re.findall(r"by|nc|nd|sa", name)) for name in (wanted, found))
    if not (wanted.startswith("cc-") and found.startswith("cc-") and conditions <= ours):
        raise InputError(
            f"the licence {found} may allow more than {wanted}, which the weights that these were made from are under;"
            " leave --license out."
        )


def check_data_license(given: dict, facts: Facts) -> None:
    """Raises ValueError: `given` may allow more than FER+'s images do, on which the weights were trained."""
    if facts.saw_ferplus and not is_non_commercial(given):
        raise InputError(
            f"the licence {terms_of(given)} may allow more than FER+'s images do, which are given for research; leave"
            " --license out, or give one that says research or non-commercial."
        )


def check_license_id(given: dict) -> None:
    """Raises ValueError: an id that the Hub does not know, or one of its own as the name of another licence."""
    license_id, name = given.get("license"), given.get("license_name")
    if license_id not in (None, "other", *LICENSE_IDS):
        raise InputError(
            f"the licence {license_id!r} is no id of the Hub (such as apache-2.0 or cc-by-nc-4.0); give one of those,"
            " or --license other with --license_name and --license_link."
        )
    if name and str(name).strip().lower() in LICENSE_IDS and not is_non_commercial(given):
        raise InputError(f"{name} is an id of the Hub and no licence's own name; give it by --license.")


def license_file(facts: Facts, name: str, data_terms: str | None) -> str:
    """LICENSE: what may be done with the weights, in words of our own."""
    text = LICENSE_TEXT.format(name=name, terms=image_terms(facts, data_terms))
    return text if facts.is_plain else f"{text}\n{CODE_TERMS}\n"


def written_name(path: Path) -> str | None:
    """The licence's name in a LICENSE that `license_file` made; None of another text, or where there is none."""
    found = OURS.fullmatch(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else None
    return found["name"] if found else None


def write_license(path: Path, facts: Facts, stated: dict, data_terms: str | None) -> None:
    """
    LICENSE where the card names it, anew where its name or the terms that are given are others; one of ours that the
    card does not name goes. A text of somebody else stays.
    """
    name = written_name(path)
    if path.exists() and name is None:
        return
    if stated.get("license_link") != LICENSE_FILE:
        path.unlink(missing_ok=True)
    elif name != stated["license_name"] or data_terms:
        write_text(path, license_file(facts, stated["license_name"], data_terms))


def check_license_file(folder: Path, stated: dict) -> None:
    """Raises ValueError: a LICENSE of ours is of another licence than the card's."""
    name = written_name(folder / LICENSE_FILE)
    named = stated.get("license") == "other" and stated.get("license_link") == LICENSE_FILE
    if name and not (named and stated.get("license_name") == name):
        raise InputError(
            f"{folder / LICENSE_FILE} is of {name}, and the card's licence is {terms_of(stated)}; write the card again"
            " by training/make_card.py."
        )
