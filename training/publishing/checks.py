"""Checks a folder before it is published: the bytes of its files, its weights, labels, code, exports and card."""

import json
from pathlib import Path

from training.publishing.card import eval_results, task_of
from training.publishing.file_kinds import check_file, read_tensor_names
from training.publishing.licences import check_license, check_license_file
from training.publishing.record import CARD, CONFIG, EXAMPLE, EXPORTED, EXPORTS, METRICS, PROCESSOR, Record, read_record
from training.runtime.errors import InputError
from training.runtime.lineage import read_json
from training.runtime.public_paths import MACHINE_PATH, strings

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def check_folder(folder: Path) -> None:
    """Checks everything that needs no run of the model. Raises InputError about the first thing that is wrong."""
    from modeling_simfle.hub_folder_simfle import check_weights

    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        check_file(path)
    check_tensors(folder)
    check_auto_map(folder)
    record = read_record(folder)
    if not record.metrics.get("weights_sha256"):
        raise InputError(f"{folder / METRICS} lacks weights_sha256; make the folder by training/release.py.")
    try:
        check_weights(folder)
    except ValueError as error:
        raise InputError(str(error)) from error
    check_labels(record)
    check_preprocessing(record, folder)
    check_exports(record, folder)
    check_card(record, folder)
    check_paths(folder)


def check_tensors(folder: Path) -> None:
    """Raises InputError for no weights, for two kinds of them, or for shards that do not match their index."""
    shards = {path.name: read_tensor_names(path) for path in sorted(folder.glob("model-*.safetensors"))}
    if (folder / WEIGHTS).is_file() == bool(shards):
        raise InputError(f"The folder must hold {WEIGHTS} or shards of it, and holds {'both' if shards else 'none'}.")
    if (folder / INDEX).is_file() != bool(shards):
        raise InputError(f"Shards and {INDEX} go together, and one of them is missing.")
    if shards:
        tensors = {tensor: name for name, names in shards.items() for tensor in names}
        if read_json(folder / INDEX).get("weight_map") != tensors:
            raise InputError(f"The shards do not hold what {INDEX} says; save them again.")


def check_auto_map(folder: Path) -> None:
    """Raises InputError if a config file names code outside of the folder, or if a plain folder holds code."""
    from modeling_simfle.hub_folder_simfle import CODE_FILES, code_file

    named: dict[str, str] = {}
    for name in (CONFIG, PROCESSOR):
        settings = read_json(folder / name)
        entries = {**(settings.get("auto_map") or {}), **(settings.get("custom_pipelines") or {})}
        for target in entries.values():
            path = target.get("impl") if isinstance(target, dict) else target
            if code_file(target) not in CODE_FILES or not (folder / code_file(target)).is_file():
                raise InputError(f"{name} names the code {path!r}, which is not in the folder; save it again.")
        named |= entries
    if read_json(folder / CONFIG).get("model_type") != "simfle" and (named or any(folder.glob("*.py"))):
        raise InputError(f"{folder} is a plain folder and holds or names code of its own; export it again.")


def check_labels(record: Record) -> None:
    """Raises InputError if the class names in config.json differ from those in metrics.json."""
    if not (record.is_classifier and record.is_measured):
        return
    metrics = record.metrics
    # `model_labels` are the model's own names where it was measured on faces with other names.
    expected = metrics.get("model_labels") or metrics.get("class_names") or metrics["per_class"]
    id2label = {str(number): label for number, label in enumerate(expected)}
    label2id = {label: number for number, label in enumerate(expected)}
    for name, wanted in (("id2label", id2label), ("label2id", label2id)):
        if (stated := record.config.get(name)) != wanted:
            raise InputError(f"config.json has {name}: {stated}, and metrics.json was measured with {wanted}; undo it.")


def check_preprocessing(record: Record, folder: Path) -> None:
    """Raises InputError if the folder's image processor differs from the one that produced the figures."""
    from training.measuring.classification import describe_preprocessing
    from training.models.loading import load_processor

    if not record.is_measured:
        return
    now = json.loads(json.dumps(describe_preprocessing(load_processor(folder))))  # lists, as a file has them
    measured = record.metrics["preprocessing"]
    # The processor's class depends on installed libraries.
    for name in sorted((now.keys() | measured.keys()) - {"image_processor"}):
        if (now.get(name) or None) != (measured.get(name) or None):
            raise InputError(
                f"preprocessor_config.json has {name}: {now.get(name)}, and metrics.json was measured with"
                f" {measured.get(name)}; put it back, or measure again."
            )


def check_exports(record: Record, folder: Path) -> None:
    """
    Raises InputError if an ONNX file is missing, is not listed in exports.json or has another hash there. The SimFLE
    folder holds a copy of the plain folder's exports.json; it must be about the same weights.
    """
    from modeling_simfle.hub_folder_simfle import file_sha256

    exports = record.exports
    listed = {exports[name]["file"]: exports[name]["sha256"] for name in EXPORTED if name in exports}
    for name, sha256 in listed.items() if record.is_plain else ():
        if not (folder / name).is_file() or file_sha256(folder / name) != sha256:
            raise InputError(f"{folder / name} is missing or not the file of exports.json; export again.")
    for path in sorted(folder.glob("onnx/*")):
        if not record.is_plain or path.relative_to(folder).as_posix() not in listed:
            raise InputError(f"{path} is of no export that was measured; exports.json lacks it; take it away.")
    if exports and not record.is_plain and exports.get("model_weights_sha256") != record.metrics["weights_sha256"]:
        raise InputError(f"{folder / EXPORTS} is of other weights than those here; export again.")


def check_card(record: Record, folder: Path) -> None:
    """
    Raises InputError if the YAML cannot be read or lacks a field, if the licence may allow more than those of the
    sources, if the model-index differs from metrics.json, or if the example's image is missing.
    """
    import yaml
    from huggingface_hub import ModelCard, metadata_load
    from huggingface_hub.repocard_data import eval_results_to_model_index

    path = folder / CARD
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        data = ModelCard(text, ignore_metadata_errors=True).data.to_dict()
        index = (metadata_load(path) or {}).get("model-index") or []
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise InputError(f"The YAML of {path} cannot be read: {' '.join(str(error).split())}") from error
    needed = ["license", "library_name", "pipeline_tag", "tags"]
    needed += ["license_name", "license_link"] if data.get("license") == "other" else []
    if missing := [name for name in needed if not data.get(name)]:
        raise InputError(f"The YAML of {path} lacks {', '.join(missing)}.")
    for name, expected in (("library_name", "transformers"), ("pipeline_tag", task_of(record))):
        if data[name] != expected:
            raise InputError(f"The YAML of {path} has {name}: {data[name]}; {expected} was expected.")
    check_license(data, record)
    check_license_file(folder, data)
    results = eval_results(record)
    measured = eval_results_to_model_index("", results) if results else []
    if [row["results"] for row in index] != [row["results"] for row in measured]:  # names may differ
        raise InputError(f"The model-index of {path} is not what metrics.json says; release the run again.")
    if EXAMPLE in text and not (folder / EXAMPLE).is_file():
        raise InputError(f"{path} shows {EXAMPLE}, which is not there.")


def check_paths(folder: Path) -> None:
    """Raises InputError if a text file names a path of the machine that it was made on."""
    said = [(CARD, (folder / CARD).read_text(encoding="utf-8"))]
    for name in (METRICS, EXPORTS):
        said += [(name, value) for value in strings(read_json(folder / name, optional=True))]
    for name, text in said:
        if path := MACHINE_PATH.search(text):
            raise InputError(f"{name} names a path of one machine, {path[0]}; write it from the repository's root.")
