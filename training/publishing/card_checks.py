"""What must hold of a published folder: its card, its figures, its code, its weights, and nothing that runs unasked."""

import json
import pickletools
import re
import zipfile
from pathlib import Path

from training.publishing.card_facts import Facts, read_facts, read_json
from training.publishing.card_sections import EXPORTS, FIGURES, SENTENCES, read_section
from training.publishing.model_card import EXAMPLE, LINK, eval_results, task_of
from training.publishing.weight_licences import (
    check_data_license,
    check_license,
    check_license_file,
    check_license_id,
    stated_license,
    terms_of,
)
from training.runtime.errors import InputError
from training.runtime.public_paths import MACHINE_PATH, public, strings

HEADINGS = (
    *("Summary", "How to use", "Direct use", "Out-of-scope use", "Bias, risks and limitations", "Preprocessing"),
    *("Training data", "Training procedure", "Evaluation", "Exports", "Environmental impact", "Citation", "Licence"),
)
FIELDS = ("license", "library_name", "pipeline_tag", "tags")


def check_card(folder: Path) -> None:
    """
    Checks a published folder without a network.

    Raises:
        ValueError: one sentence about the first thing that is wrong: the card's YAML, a missing section, a figure that
            is not the one in metrics.json or exports.json, a licence that may allow more than the one that came with
            the weights or than their images do, a LICENSE of another one, labels or preprocessing that are not those
            measured, another version of the code, other weights, a pickle, a path of the machine that it was made on.
    """
    from modeling_simfle.hub_folder_simfle import check_weights

    folder = Path(folder)
    if not (folder / "README.md").is_file():
        raise InputError(f"{folder} holds no README.md; write it by training/make_card.py.")
    facts = read_facts(folder)
    if not facts.metrics.get("weights_sha256") or not facts.metrics.get("recipe"):
        raise InputError(
            f"{folder}/metrics.json lacks weights_sha256 or recipe; assemble it by training/assemble_release.py."
        )
    text = (folder / "README.md").read_text(encoding="utf-8")
    check_yaml(text, facts, folder)
    check_text(text, facts)
    check_terms(text, folder)
    check_labels(facts)
    check_preprocessing(facts, folder)
    check_paths(text, folder)
    check_weights(folder)
    check_exports(facts, folder)
    check_code(facts, folder)
    check_files(folder)


def check_yaml(text: str, facts: Facts, folder: Path) -> None:
    """Raises ValueError: YAML that huggingface_hub cannot read, a field that is missing or says something else."""
    import yaml
    from huggingface_hub import ModelCard
    from huggingface_hub.repocard_data import eval_results_to_model_index

    try:
        data = ModelCard(text).data.to_dict()
    except (yaml.YAMLError, TypeError) as error:
        raise InputError(f"the YAML of {folder}/README.md cannot be read: {' '.join(str(error).split())}") from error
    needed = [*FIELDS, *(("license_name", "license_link") if data.get("license") == "other" else ())]
    missing = [name for name in needed if not data.get(name)]
    if missing:
        raise InputError(f"the YAML of {folder}/README.md lacks {', '.join(missing)}.")
    for name, expected in (("library_name", "transformers"), ("pipeline_tag", task_of(facts))):
        if data[name] != expected:
            raise InputError(f"the YAML of {folder}/README.md has {name}: {data[name]}; {expected} was expected.")
    check_license_id(data)
    check_license(data, facts.metrics.get("source_license") or {})
    check_data_license(data, facts)
    link = data.get("license_link")
    if link and not LINK.fullmatch(link) and not (folder / link).is_file():
        raise InputError(f"the YAML of {folder}/README.md has license_link: {link}, which is no URL and no file there.")
    check_license_file(folder, data)
    if EXAMPLE in text and not (folder / EXAMPLE).is_file():
        raise InputError(f"{folder}/README.md shows {EXAMPLE}, which is not there.")
    results = eval_results(facts)
    index = eval_results_to_model_index(facts.name, results) if results else None
    found = data.get("model-index")
    if index and found:  # a copy of the folder may bear another name
        index[0]["name"] = found[0].get("name")
    if found != index:
        raise InputError(f"the model-index of {folder}/README.md is not what metrics.json says; write the card again.")


def check_labels(facts: Facts) -> None:
    """Raises ValueError: a classifier whose config.json names its outputs otherwise than the figures do."""
    if not (facts.is_classifier and facts.is_measured):
        return
    metrics, by_number = facts.metrics, facts.config.get("id2label") or {}
    # Of a classifier that was measured on others' faces, the first are its own words.
    expected = list(metrics.get("model_labels") or metrics.get("class_names") or metrics["per_class"])
    for name, found, wanted in (
        ("id2label", by_number, {str(number): label for number, label in enumerate(expected)}),
        ("label2id", facts.config.get("label2id"), {label: number for number, label in enumerate(expected)}),
    ):
        if found != wanted:
            raise InputError(
                f"config.json has {name}: {found}, and metrics.json was measured with {wanted}; put it back."
            )


def check_preprocessing(facts: Facts, folder: Path) -> None:
    """Raises ValueError: an image processor that does something else than the one that the figures were measured by."""
    from training.measuring.classification import describe_preprocessing
    from training.models.loading import load_processor

    if not facts.is_measured:
        return
    here = json.loads(json.dumps(describe_preprocessing(load_processor(folder))))  # lists, as a file has them
    measured = facts.metrics["preprocessing"]
    for name in sorted((here.keys() | measured.keys()) - {"image_processor"}):  # which goes by the libraries here
        found, wanted = here.get(name) or None, measured.get(name) or None
        if found != wanted:
            raise InputError(
                f"preprocessor_config.json has {name}: {found}, and metrics.json was measured with {wanted}; put it"
                " back, or measure again."
            )


def check_text(text: str, facts: Facts) -> None:
    """Raises ValueError: a section that is missing or there twice, or a figure that is not the folder's own."""
    twice = [heading for heading in HEADINGS if len(re.findall(rf"^## {re.escape(heading)}$", text, re.MULTILINE)) > 1]
    if twice:
        raise InputError(f"the card has the section {', '.join(twice)} twice.")
    missing = [heading for heading in HEADINGS if read_section(text, heading) is None]
    if missing:
        raise InputError(f"the card lacks the section {', '.join(missing)}.")
    for heading, make_section in FIGURES.items():
        compare(heading, read_section(text, heading), make_section(facts), whole=True)
    for heading, make_sentence in SENTENCES.items():
        compare(heading, read_section(text, heading), make_sentence(facts), whole=False)


def check_terms(text: str, folder: Path) -> None:
    """Raises ValueError: the card's YAML has another licence than its section on it."""
    terms = terms_of(stated_license(folder))
    if terms not in (read_section(text, "Licence") or ""):
        raise InputError(
            f"the YAML of {folder}/README.md has the licence {terms}, which its section Licence does not name; write"
            " the card again by training/make_card.py --license."
        )


def check_paths(text: str, folder: Path) -> None:
    """Raises ValueError: the card, metrics.json or exports.json names a path of the machine that it was made on."""
    said = [("the card", text)]
    for name in ("metrics.json", "exports.json"):
        said += [(name, value) for value in strings(read_json(folder / name, optional=True))]
    for name, value in said:
        if found := MACHINE_PATH.search(value):
            raise InputError(f"{name} names a path of one machine, {found[0]}; write it from the repository's root.")


def compare(heading: str, found: str, expected: str, whole: bool) -> None:
    """Raises ValueError naming the first line of a section that differs from what the folder's files say."""
    if found == expected or (not whole and expected in found):
        return
    lines = zip([*found.splitlines(), ""], [*expected.splitlines(), ""], strict=False)
    line = next((ours for ours, theirs in lines if ours != theirs), "its end") if whole else f"no {expected[:80]!r}"
    raise InputError(f"the card's section {heading} is not what the folder's files say ({line}); write the card again.")


def check_exports(facts: Facts, folder: Path) -> None:
    """
    Checks exports.json: a plain folder's own, or the copy of it in the SimFLE folder that it was made of.

    Raises:
        ValueError: files that are missing or are not those of exports.json; exports of other weights than those here; a
            plain folder beside this one that has other figures.
    """
    from modeling_simfle.hub_folder_simfle import file_sha256

    exports = facts.exports
    if facts.is_plain:
        for row in (exports[name] for name in EXPORTS if name in exports):
            path = folder / row["file"]
            if not path.is_file() or file_sha256(path) != row["sha256"]:
                raise InputError(f"{path} is missing or not the file whose hash stands in exports.json; export again.")
        known = {exports[name]["file"] for name in EXPORTS if name in exports}
        check_onnx_files(folder, known)
        return
    check_onnx_files(folder, set())
    if exports and exports.get("model_weights_sha256") != facts.metrics["weights_sha256"]:
        raise InputError(f"{folder / 'exports.json'} is of other weights than those here; export again.")
    beside = folder.parent / exports.get("folder", "") / "exports.json"
    is_copy = "folder" in exports and beside.is_file()
    if is_copy and {**public(read_json(beside)), "folder": exports["folder"]} != exports:
        raise InputError(f"{folder / 'exports.json'} is not that of {beside.parent}; run make_card.py --exports.")


def check_onnx_files(folder: Path, known: set[str]) -> None:
    """Raises ValueError: an ONNX file that exports.json says nothing of."""
    for path in sorted(folder.glob("onnx/*.onnx")):
        if path.relative_to(folder).as_posix() not in known:
            raise InputError(f"{path} is of no export that was measured: exports.json lacks it; take it away.")


def check_code(facts: Facts, folder: Path) -> None:
    """Raises ValueError: a code file that is not the one in modeling_simfle/, or any in a plain folder."""
    from modeling_simfle import hub_folder_simfle

    if facts.is_plain:
        code = sorted(folder.glob("*.py"))
        if code or "auto_map" in {**facts.config, **facts.preprocessing}:
            raise InputError(f"{folder} is a plain folder and holds or names code of its own; export it anew.")
        return
    source = Path(hub_folder_simfle.__file__).parent
    for name in hub_folder_simfle.CODE_FILES:
        path = folder / name
        if not path.is_file() or path.read_bytes() != (source / name).read_bytes():
            raise InputError(f"{path} is not modeling_simfle/{name}; copy it anew, or assemble the folder again.")


def check_files(folder: Path) -> None:
    """Raises ValueError: a file that Python would unpickle, or that PyTorch saved, by its bytes."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if is_pickle(path):
            raise InputError(f"{path} is a pickle or a zip archive, which can run code; publish safetensors only.")


def is_pickle(path: Path) -> bool:
    """Whether the file is a zip archive (torch.save's form) or reads as a pickle up to its stop."""
    if zipfile.is_zipfile(path):
        return True
    try:
        return any(code.name == "STOP" and place for code, _, place in pickletools.genops(path.read_bytes()))
    except (ValueError, IndexError, OverflowError):  # what pickletools says of other files
        return False
