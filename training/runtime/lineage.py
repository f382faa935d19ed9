"""
The lineage of weights: everything that they were made from, with the licence of each part.

Every training writes the list into run.json when it starts, `release.py` copies it into metrics.json, and nobody
searches for a run's history later. The list holds one entry for each set of weights, the oldest first. The last entry
is the training itself. An entry has these keys, as far as they are known:

    name, revision     folder or Hub id, and the commit on the Hub
    weights_sha256     file name to hash
    license            {"license": ..., "license_name": ..., "license_link": ...} as its card states it, or UNKNOWN
    method, command    of the training
    data               {"format", "name", "split", "fingerprint", "num_images", "terms", ...}
    pretraining_method {"name", "settings", "title", "paper"} of a pretraining
    arguments, versions, results    added when the finished run becomes a source or is released
"""

import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from training.runtime.errors import NOT_JSON, InputError
from training.runtime.public_paths import public

LICENSE_FIELDS = ("license", "license_name", "license_link")
UNKNOWN = {"license": "unknown"}
SOURCE_FILES = ["*.json", "README.md", "model*.safetensors"]
LOSSES = ("loss", "similarity_loss", "reconstruction_loss", "distillation_loss", "grouping_loss")


def typed_command(script: str, argv=None) -> str:
    """The command of a run as it was typed. `argv` is that of the script's main; None is sys.argv."""
    words = sys.argv[1:] if argv is None else map(str, argv)
    return shlex.join(["python", f"training/{script}.py", *words])


def make_lineage(method: str, command: str, data: dict | None, sources: Iterable[str | Path | dict | None]) -> list:
    """
    The list of a training: the entries of all sources, each once, then its own.

    Prints a sentence for each source without a known licence.

    Args:
        method: such as "pretraining". command: as it was typed. data: see the top of this file.
        sources: what the weights start or learn from (start weights, teacher, averaged runs), each a folder, a Hub id,
            a finished entry of a list, or None.
    """
    lineage: list[dict] = []
    for source in filter(None, sources):
        entries = [public(source)] if isinstance(source, dict) else read_lineage(source)
        lineage += [entry for entry in entries if entry not in lineage and not is_listed(entry, lineage)]
        if any(entry.get("license") == UNKNOWN for entry in entries):
            name = next(entry["name"] for entry in entries if entry.get("license") == UNKNOWN)
            print(
                f"The licence of {name} is unknown: it has neither a lineage nor a card with a licence. A card of"
                " weights made from it cannot take a free licence.",
                file=sys.stderr,
            )
    return [*lineage, public({"method": method, "command": command, "data": data})]


def is_listed(entry: dict, lineage: list[dict]) -> bool:
    """Whether the same weights, by their hashes, are in the list under the same licence."""
    hashes = entry.get("weights_sha256")
    return any(
        hashes and (hashes, entry.get("license")) == (e.get("weights_sha256"), e.get("license")) for e in lineage
    )


def read_lineage(source: str | Path) -> list[dict]:
    """
    The lineage of finished weights; the last entry is that of the weights themselves.

    Args:
        source: folder of a run, published folder, or Hub id.
    Raises:
        InputError: a JSON file or the YAML of a card that cannot be read.
    """
    from modeling_simfle.hub_folder_simfle import weights_sha256

    if Path(source).expanduser().is_dir():
        folder, name, revision = Path(source).expanduser(), public(str(source)), None
    else:
        folder, name = download_source(str(source)), str(source)
        revision = folder.name if folder else None
    if folder is None:
        return [{"name": name, "revision": revision, "weights_sha256": {}, "license": UNKNOWN}]
    weights = {"name": name, "revision": revision, "weights_sha256": weights_sha256(folder)}
    stated = stated_license(folder)
    entries = list_in_folder(folder)
    if not entries:
        return [{**weights, "license": stated or UNKNOWN}]
    last = entries[-1]
    if last.get("weights_sha256") not in (None, {}, weights["weights_sha256"]):
        return [*entries, {**weights, "license": stated or UNKNOWN}]  # the list is of other weights
    if last.get("license") and stated and last["license"] != stated:
        return [*entries, {**weights, "license": stated}]  # both licences count
    return [*entries[:-1], {**last, **weights, **({"license": stated} if stated else {})}]


def list_in_folder(folder: Path) -> list[dict]:
    """The list of a published folder, an export or a run; [] where there is none."""
    for name in ("metrics.json", "exports.json", "run.json"):
        content = read_json(folder / name, optional=True)
        is_copy = name == "exports.json" and "folder" in content  # of a plain folder's, beside the SimFLE weights
        lineage = None if is_copy else content.get("lineage")
        if isinstance(lineage, list) and lineage and all(isinstance(entry, dict) for entry in lineage):
            return [*lineage[:-1], add_results(folder, lineage[-1])] if name == "run.json" else lineage
    return []


def download_source(repo_id: str) -> Path | None:
    """Downloads a Hub model and returns its folder, which is named after the commit; None if the Hub cannot be read."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError

    try:
        return Path(snapshot_download(repo_id, allow_patterns=SOURCE_FILES))
    except (HTTPError, OSError, ValueError) as error:
        print(f"{repo_id} cannot be read from the Hub ({type(error).__name__}).", file=sys.stderr)
        return None


def stated_license(folder: Path) -> dict:
    """The licence in the YAML of a folder's README.md; {} where none is stated."""
    from huggingface_hub import ModelCard

    path = folder / "README.md"
    if not path.is_file():
        return {}
    try:
        data = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict()
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise InputError(f"The YAML of {path} cannot be read: {' '.join(str(error).split())}") from error
    if not data.get("license"):
        return {}
    stated = {name: str(data[name]) for name in LICENSE_FIELDS if data.get(name)}
    return {**stated, "license": stated["license"].lower()}


def add_results(folder: Path, training: dict) -> dict:
    """A finished run's own entry, with its arguments, versions and results."""
    run, metrics = read_json(folder / "run.json", optional=True), read_json(folder / "metrics.json", optional=True)
    log = [] if training.get("method") == "linear probe" else read_log(folder / "metrics.jsonl")
    data = training.get("data") or {}
    num_images = metrics.get("num_training_images") or run.get("num_images") or data.get("num_images")
    results = {"num_images": num_images, "hours": metrics.get("training_hours"), "epoch": metrics.get("epoch")}
    if log and training.get("method") == "pretraining":
        results |= pretraining_results(log, run.get("global_batch_size") or 1, num_images or 1)
    elif log:
        results["epochs"] = log[-1].get("epoch")
    if metrics.get("choices"):
        dataset = metrics.get("dataset") or {}
        place = {"split": metrics.get("split"), "source": dataset.get("source")}
        results["choices"] = [{"number": metrics["choices"], **place, "fingerprint": dataset.get("fingerprint")}]
    settings = {"arguments": run.get("arguments"), "versions": run.get("versions"), "results": results}
    if "pretraining_method" in run:
        settings["pretraining_method"] = run["pretraining_method"]
    return {**training, **public(settings)}


def pretraining_results(log: list[dict], global_batch_size: int, num_images: int) -> dict:
    """Hours of the steps (the monitor left out), epochs (each drops its last short batch) and last losses."""
    steps = [line["step"] for line in log]
    seconds = sum(
        (step - before) * global_batch_size / line["images_per_second"]
        for line, step, before in zip(log, steps, [0, *steps], strict=False)
        if line.get("images_per_second")
    )
    losses = {name: log[-1][name] for name in ("step", *LOSSES) if name in log[-1]}
    epochs = steps[-1] / max(1, num_images // global_batch_size)
    return {"hours": seconds / 3600, "epochs": epochs, "losses": losses}


def count_choices(lineage: list[dict], metrics: dict) -> tuple[int, list[dict]]:
    """
    Counts the choices behind the weights: those made on the measured faces, apart from those made on others.

    Faces are the same by their fingerprint, or by split and source where a fingerprint is missing.
    Returns:
        The number on the measured split, and the entries {"number", "split", "source", "fingerprint"} of other splits.
    """
    dataset = public(metrics.get("dataset") or {})
    on_measured, elsewhere = 0, []
    for choices in (c for entry in lineage for c in (entry.get("results") or {}).get("choices", [])):
        is_known = choices.get("fingerprint") and dataset.get("fingerprint")
        names = (choices.get("split"), choices.get("source")) == (metrics.get("split"), dataset.get("source"))
        if choices["fingerprint"] == dataset["fingerprint"] if is_known else names:
            on_measured += choices["number"]
        else:
            elsewhere.append(choices)
    return on_measured, elsewhere


def with_choices(own: dict, metrics: dict, number: int) -> dict:
    """An entry of a lineage with `number` further choices, made on the faces that a metrics.json names."""
    if not number:
        return own
    dataset, results = public(metrics.get("dataset") or {}), own.get("results") or {}
    more = {"number": number, "split": metrics["split"]}
    more |= {name: dataset.get(name) for name in ("source", "fingerprint")}
    return {**own, "results": {**results, "choices": [*results.get("choices", []), more]}}


def read_json(path: Path, optional: bool = False) -> dict:
    """The mapping in a JSON file; {} for an optional file that is missing. Raises InputError otherwise."""
    if not path.is_file():
        if optional:
            return {}
        raise InputError(f"{path} does not exist; give the folder of a finished run, or a published one.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except NOT_JSON as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a mapping, not a {type(content).__name__}.")
    return content


def read_log(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl; [] where there is none. Raises InputError for a line that is not JSON."""
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except NOT_JSON as error:
        raise InputError(f"{path} has a line that is not JSON ({error}); let the run finish.") from error
