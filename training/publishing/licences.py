"""
Chooses and checks the licence of weights. It must not allow more than the licence of any source of the weights, and not
more than the terms of the training images.

A licence here is a mapping of LICENSE_FIELDS, as in the YAML of a card; {} where none is stated.
"""

import re
from pathlib import Path

from training.publishing.record import LICENSE_FILE, Record
from training.runtime.errors import InputError
from training.runtime.lineage import LICENSE_FIELDS, UNKNOWN

LICENSE_NAME = "research-use-only"
LINK = re.compile(r"[a-z]+://\S+")
OURS = "No other use is granted, because none is ours to grant."  # how a LICENSE written here is recognised
LICENSE_TEMPLATE = Path(__file__).with_name("license_template.md")
CODE_TERMS = """
The code in this folder (the .py files) is not under these terms: it is licensed under the Apache License, Version
2.0.
"""
UNKNOWN_TERMS = "The terms of the training images are not recorded. Ask their owners before you use the weights."
# The Hub's identifiers, as far as they are known here; of any other licence, `other` gives name and link.
LICENSE_IDS = frozenset(Path(__file__).with_name("license_ids.txt").read_text(encoding="utf-8").split())
NON_COMMERCIAL = re.compile(r"(?<![a-z])nc(?![a-z])|non-?commercial|research", re.IGNORECASE)


def terms_of(stated: dict) -> str:
    """A licence in one word: its id on the Hub, or its own name where the id is `other`."""
    license_id = stated.get("license") or ""
    return stated.get("license_name") or license_id if license_id == "other" else license_id


def is_non_commercial(stated: dict) -> bool:
    return NON_COMMERCIAL.search(terms_of(stated)) is not None


def restrictions(record: Record) -> dict[str, tuple[str, dict]]:
    """The non-commercial licences in a lineage: maps their terms to (name of the weights under them, licence)."""
    restricted: dict[str, tuple[str, dict]] = {}
    for entry in record.lineage:
        if (stated := entry.get("license")) and is_non_commercial(stated):
            restricted.setdefault(terms_of(stated), (entry.get("name") or "a source", stated))
    return restricted


def choose_license(given: dict, record: Record) -> dict:
    """
    Returns the given licence, else the licence of a source that forbids commercial use, else LICENSE_NAME. Raises
    InputError if it may allow more than the licence of a source, or than the terms of the images.
    """
    sources = restrictions(record)
    inherited = next(iter(sources.values()))[1] if len(sources) == 1 else {}
    stated = {"license": "other", **({} if given.get("license") or given.get("license_name") else inherited)}
    stated |= {name: given[name] for name in LICENSE_FIELDS if given.get(name)}
    if stated["license"] == "other":
        stated.setdefault("license_name", LICENSE_NAME)
        if not LINK.fullmatch(stated.get("license_link", "")):  # a file of the folder that the licence came from
            stated["license_link"] = LICENSE_FILE
    else:
        stated.pop("license_name", None)
    check_license(stated, record)
    return stated


def check_license(stated: dict, record: Record) -> None:
    """Raises InputError if the Hub does not know the id, or if the licence may allow more than those of the sources."""
    check_license_id(stated)
    terms, sources = terms_of(stated), restrictions(record)
    for wanted, (name, _) in sources.items():
        if terms == wanted or is_creative_commons_within(terms, wanted):
            continue
        if len(sources) > 1 and terms == LICENSE_NAME:  # none of several licences fits all: LICENSE names each
            continue
        raise InputError(
            f"The licence {terms} may allow more than {wanted}, the licence of {name}, from which these weights were"
            " made; leave --license out."
        )
    if is_non_commercial(stated):
        return
    for entry in record.lineage:
        if entry.get("license") == UNKNOWN:
            raise InputError(
                f"The licence {terms} may allow more than that of {entry.get('name')}, which is unknown and from which"
                " these weights were made; leave --license out, or give one that says research or non-commercial."
            )
    for facts in (facts for facts in record.facts if facts.research_only):
        raise InputError(
            f"The licence {terms} may allow more than the images of {facts.name} do, which are given for research;"
            " leave --license out, or give one that says research or non-commercial."
        )


def is_creative_commons_within(terms: str, wanted: str) -> bool:
    """Whether both are Creative Commons licences and `terms` adds only conditions, as cc-by-nc-sa does to cc-by-nc."""
    conditions, ours = (set(re.findall(r"by|nc|nd|sa", name)) for name in (wanted, terms))
    return wanted.startswith("cc-") and terms.startswith("cc-") and conditions <= ours


def check_license_id(stated: dict) -> None:
    """Raises InputError if the Hub does not know the id, or if another licence is named after one of its ids."""
    license_id, name = stated.get("license"), stated.get("license_name")
    if license_id not in (None, "other", *LICENSE_IDS):
        raise InputError(
            f"The licence {license_id!r} is no id of the Hub (such as apache-2.0 or cc-by-nc-4.0); give one of those,"
            " or --license other with --license_name and --license_link."
        )
    if name and str(name).strip().lower() in LICENSE_IDS and not is_non_commercial(stated):
        raise InputError(f"{name} is an id of the Hub and no licence's own name; give it by --license.")


def image_terms(record: Record, given: str | None) -> str:
    """The terms of the training images: the sentence of each known data set, and the given one for other sets."""
    sentences = [facts.terms for facts in record.facts]
    formats = {(entry.get("data") or {}).get("format") for entry in record.trainings}
    if given or not sentences or len(formats) > len(sentences):
        sentences.append(given or UNKNOWN_TERMS)
    return " ".join(sentences)


def write_license(folder: Path, stated: dict, record: Record, terms: str) -> None:
    """Writes LICENSE if the card links to it, else removes it. A LICENSE of another author stays as it is."""
    path = folder / LICENSE_FILE
    if path.is_file() and OURS not in path.read_text(encoding="utf-8", errors="replace"):
        return
    if stated.get("license_link") != LICENSE_FILE:
        path.unlink(missing_ok=True)
        return
    several = restrictions(record)
    if len(several) > 1:
        terms += "".join(f" {name} is under {of}." for of, (name, _) in several.items())
    text = LICENSE_TEMPLATE.read_text(encoding="utf-8").format(name=stated["license_name"], terms=terms, ours=OURS)
    path.write_text(text if record.is_plain else text + CODE_TERMS, encoding="utf-8")


def check_license_file(folder: Path, stated: dict) -> None:
    """Raises InputError if the card links to a missing file, or if our LICENSE is about another licence."""
    link, path = stated.get("license_link"), folder / LICENSE_FILE
    if link and not LINK.fullmatch(link) and not (folder / link).is_file():
        raise InputError(f"The YAML of {folder}/README.md has license_link: {link}, which is no URL and no file there.")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    first = text.partition("\n")[0].removeprefix("# ")
    is_named = stated.get("license") == "other" and link == LICENSE_FILE and stated.get("license_name") == first
    if OURS in text and not is_named:
        raise InputError(f"{path} is of {first}, and the card's licence is {terms_of(stated)}; release the run again.")
