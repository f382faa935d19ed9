"""Writes the model card: `card_template.md`, filled with plain values from a folder's record."""

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from training.data.facts import facts_of
from training.publishing import licences
from training.publishing.record import CARD, EXAMPLE, EXPORTED, LICENSE_FILE, Record
from training.runtime.arguments import flag
from training.runtime.errors import InputError
from training.runtime.lineage import LICENSE_FIELDS
from training.runtime.public_paths import public
from training.runtime.run_folder import write_text

TEMPLATE = Path(__file__).with_name("card_template.md")
TAGS = ("simfle", "facial-expression-recognition", "self-supervised-learning")
SIMFLE = {"title": "SimFLE", "paper": "Moon, Jang, Park, arXiv 2303.07648 (IEEE TAFFC 2024)"}  # if no record names one
MEASURES = {  # of metrics.json, by the Hub's metric and the name shown
    "accuracy": ("accuracy", "Accuracy"),
    "mean_class_accuracy": ("recall", "Mean class accuracy (mean recall)"),
    "macro_f1": ("f1", "Macro F1"),
}


@dataclass
class CardArguments:
    """Options of the model card."""

    license: str | None = flag(
        None,
        "Licence of the weights: an id of the Hub, or other. The default is the licence of a source that forbids"
        f" commercial use, else other with the name {licences.LICENSE_NAME}.",
    )
    license_name: str | None = flag(None, "Name of the licence if --license is other.")
    license_link: str | None = flag(None, f"URL of the licence if --license is other. The default is {LICENSE_FILE}.")
    datasets: list[str] = flag([], "Hub ids of the training data.")
    data_terms: str | None = flag(None, "One sentence: the terms of the training images.")
    base_model: str | None = flag(
        None, "Hub id of the model that this one was made from. A name alone gets the publisher's name."
    )
    hardware: str | None = flag(None, "Hardware of the training, in words.")
    notes: str | None = flag(None, "Markdown file of free text for the card's summary, copied to card_notes.md.")

    def __post_init__(self):
        if self.license in (None, "other") and "" in (self.license_name, self.license_link):
            raise InputError("--license other needs --license_name and --license_link.")
        given = {name: value for name in LICENSE_FIELDS if (value := getattr(self, name))}
        licences.check_license_id(given if self.license else {"license_name": self.license_name})
        if self.license_link not in (None, LICENSE_FILE) and not licences.LINK.fullmatch(self.license_link):
            raise InputError(f"--license_link {self.license_link} must be a URL, or {LICENSE_FILE}.")
        if self.base_model and Path(self.base_model).exists():
            raise InputError(f"--base_model {self.base_model} is a folder here; give a Hub id, such as org/name.")
        if self.notes and not Path(self.notes).is_file():
            raise InputError(f"--notes {self.notes} does not exist; give a Markdown file.")

    def values(self) -> dict:
        """The values that metrics.json keeps, so that the card can be written again."""
        names = (*LICENSE_FIELDS, "datasets", "data_terms", "base_model", "hardware")
        return public({name: value for name in names if (value := getattr(self, name))})


def write_card(folder: Path, record: Record, given: dict, repo_id: str | None = None) -> None:
    """
    Writes README.md, LICENSE if the card links to it, and the example's image if it is missing.

    Args:
        given: see `CardArguments.values`. repo_id: for the snippets; None for the folder's own name.
    """
    from huggingface_hub import ModelCard

    stated = licences.choose_license(given, record)
    values = card_values(record, given, stated, repo_id)
    card = ModelCard.from_template(card_data(record, given, stated, repo_id), str(TEMPLATE), **values)
    if not (folder / EXAMPLE).exists():
        shutil.copyfile(Path(__file__).with_name(EXAMPLE), folder / EXAMPLE)
    licences.write_license(folder, stated, record, values["image_terms"])
    write_text(folder / CARD, str(card).rstrip("\n") + "\n")


def card_data(record: Record, given: dict, stated: dict, repo_id: str | None):
    """Returns the YAML at the top of the card, a ModelCardData."""
    from huggingface_hub import ModelCardData

    task = task_of(record)
    papers = [f"arxiv:{number}" for number in re.findall(r"arXiv (\d{4}\.\d{5})", learned_by(record)["paper"])]
    base_model = given.get("base_model")
    if base_model and repo_id and "/" not in base_model:
        base_model = f"{repo_id.partition('/')[0]}/{base_model}"
    return ModelCardData(
        **stated,
        library_name="transformers",
        pipeline_tag=task,
        tags=[*TAGS, *papers, task, *(("onnx", "transformers.js") if record.is_plain else ())],
        datasets=given.get("datasets") or [*filter(None, dict.fromkeys(map(dataset_id, record.trainings)))] or None,
        metrics=["accuracy", "recall", "f1"] if record.is_measured else None,
        base_model=base_model,
        model_name=(repo_id or record.name).rpartition("/")[2],
        eval_results=eval_results(record) or None,
        widget=[{"src": EXAMPLE, "example_title": "The astronaut Eileen Collins (photograph: NASA, public domain)"}],
    )


def eval_results(record: Record) -> list:
    """Returns the model-index: the measures of metrics.json with split and protocol; [] without measures."""
    from huggingface_hub import EvalResult

    if not record.is_measured:
        return []
    metrics = record.metrics
    source = (metrics.get("dataset") or {}).get("source") or "not recorded"
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Facial expression recognition",
            # The Hub wants a type; a folder's name may be somebody's set there.
            dataset_type=dataset_id(record.last_training) or "local",
            dataset_name=f"{Path(source).name}, split {metrics['split']}",
            dataset_split=metrics["split"],
            dataset_args={"protocol": metrics["protocol"], "num_images": metrics["num_images"]},
            metric_type=kind,
            metric_name=title,
            metric_value=round(metrics[name], 6),
        )
        for name, (kind, title) in MEASURES.items()
    ]


def task_of(record: Record) -> str:
    return "image-classification" if record.is_classifier else "image-feature-extraction"


def learned_by(record: Record) -> dict:
    """The method of the last pretraining: {"title", "paper", ...}."""
    methods = [training["pretraining_method"] for training in record.trainings if training.get("pretraining_method")]
    return methods[-1] if methods else SIMFLE


def dataset_id(training: dict) -> str | None:
    """The Hub id of a training's data, or the format of a known data set; None for other folders and files."""
    data = training.get("data") or {}
    if data.get("format") == "hub":
        return data.get("name")
    return data["format"] if facts_of(data.get("format") or "") else None


def card_values(record: Record, given: dict, stated: dict, repo_id: str | None) -> dict[str, Any]:
    """Returns the plain values for the template."""
    metrics, config, trainings = record.metrics, record.config, record.trainings
    model = repo_id or record.lineage[-1].get("name") or record.name
    commonest, rarest = ends_of(metrics.get("per_class") or {})
    others = [entry for entry in record.lineage if not entry.get("method") and entry.get("license")]
    return {
        **vars(record),
        **{name: getattr(record, name) for name in ("is_classifier", "is_plain", "is_measured")},
        "name": (repo_id or record.name).rpartition("/")[2],
        "exported": EXPORTED,
        "architecture": config["architectures"][0],
        "classes": list((config.get("id2label") or {}).values()),
        "method": record.last_training.get("method", "unknown"),
        "learned_by": learned_by(record),
        "is_pretrained": any(training["method"] == "pretraining" for training in trainings[:-1]),
        "is_ferplus": (record.last_training.get("data") or {}).get("format") == "ferplus",
        **{"model": model, "example": EXAMPLE if repo_id else f"{model}/{EXAMPLE}", "example_name": EXAMPLE},
        "fetch": f"hf download {repo_id} {EXAMPLE} --local-dir ." if repo_id else None,
        "side": record.preprocessing["size"]["height"],
        "filter": Image.Resampling(record.preprocessing["resample"]).name.lower(),
        **{"commonest": commonest, "rarest": rarest},
        "facts": record.last_facts,
        "data_sets": describe_data(record, given),
        "citations": [facts.citation for facts in record.facts],
        "trainings": [describe_training(training) for training in trainings],
        "other_sources": [{"name": entry["name"], "terms": licences.terms_of(entry["license"])} for entry in others],
        "losses": (record.last_training.get("results") or {}).get("losses"),
        "measuring_command": wrap(metrics.get("command") or record.last_training.get("command") or ""),
        "export_command": wrap(record.exports.get("command") or ""),
        "hardware": given.get("hardware"),
        **{"terms": licences.terms_of(stated), "license_link": stated.get("license_link")},
        "image_terms": licences.image_terms(record, given.get("data_terms")),
    }


def describe_training(training: dict) -> dict:
    """Returns a training of the lineage in the form that the template shows."""
    results, arguments = training.get("results") or {}, training.get("arguments") or {}
    notes = [f"{results['num_images']:,} images"] if results.get("num_images") else []
    if results.get("epochs") and arguments.get("num_train_epochs"):
        notes.append(f"{round(results['epochs'], 2):g} of {arguments['num_train_epochs']} planned epochs")
    if results.get("epoch"):
        notes.append(f"epoch {results['epoch']} was kept")
    if arguments.get("max_train_minutes"):
        last = "the last start, from a checkpoint," if arguments.get("resume_from_checkpoint") else "the run"
        notes.append(f"{last} was limited to {arguments['max_train_minutes']:g} minutes")
    if about := training.get("pretraining_method"):
        settings = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in about["settings"].items())
        notes.append(f"by {about['title']}: {about['paper']}; {settings}")
    fingerprint = (training.get("data") or {}).get("fingerprint")
    more = {"hours": results.get("hours"), "notes": notes, "fingerprint": fingerprint}
    return {**training, **more, "command": wrap(training.get("command") or "")}


def describe_data(record: Record, given: dict) -> list[str]:
    """Returns paragraphs about the data of all trainings: the text of a known data set; name and split of others."""
    unknown: dict[str, None] = {}
    own = [training.get("data") or {} for training in record.trainings]
    for data in [*own, *(part for whole in own for part in whole.get("unlabelled", []))]:
        if data and not facts_of(data.get("format") or ""):
            name = Path(str(data.get("name") or "a data set")).name if data.get("format") != "hub" else data["name"]
            unknown[f"{name}, split `{data.get('split') or 'train'}`"] = None
    paragraphs = [facts.description or facts.terms for facts in record.facts]
    if unknown or not record.facts:
        names = ", ".join(given.get("datasets") or []) if unknown else ""
        terms = given.get("data_terms") or licences.UNKNOWN_TERMS
        paragraphs.append(f"{names or '; '.join(unknown) or 'Not recorded'}. {terms}")
    elif given.get("data_terms"):
        paragraphs.append(given["data_terms"])
    return paragraphs


def ends_of(per_class: dict) -> tuple[str | None, str | None]:
    """The most frequent and the rarest class with images; None for both if all have equally many."""
    counts = {name: row["count"] for name, row in per_class.items() if row["count"]}
    if not counts or max(counts.values()) == min(counts.values()):
        return None, None
    return max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)


def wrap(command: str, width: int = 90) -> str:
    """A command with line breaks before its flags."""
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        if len(lines[-1]) + len(word) > width and word.startswith("--"):
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)
