"""The model card: `card_template.md`, filled with the plain values of a folder's record."""

import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.data.facts import facts_of
from training.publishing.licences import (
    LICENSE_NAME,
    LINK,
    UNKNOWN_TERMS,
    check_license_id,
    choose_license,
    image_terms,
    terms_of,
    write_license,
)
from training.publishing.record import CARD, EXAMPLE, EXPORTED, LICENSE_FILE, Record
from training.runtime.errors import InputError
from training.runtime.lineage import LICENSE_FIELDS
from training.runtime.public_paths import public
from training.runtime.run_folder import write_text

TEMPLATE = Path(__file__).with_name("card_template.md")
TAGS = ("simfle", "facial-expression-recognition", "self-supervised-learning")
SIMFLE = {
    "title": "SimFLE",
    "paper": "Moon, Jang, Park, arXiv 2303.07648 (IEEE TAFFC 2024)",
}  # where no record names one
MEASURES = {  # of metrics.json, by the Hub's metric and the name shown
    "accuracy": ("accuracy", "Accuracy"),
    "mean_class_accuracy": ("recall", "Mean class accuracy (mean recall)"),
    "macro_f1": ("f1", "Macro F1"),
}
FILTERS = {0: "nearest", 1: "Lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass
class CardArguments:
    """Options of the model card."""

    license: str | None = field(
        default=None,
        metadata={
            "help": "Licence of the weights: an id of the Hub, or other. The default is the licence of a source that"
            f" forbids commercial use, else other with the name {LICENSE_NAME}."
        },
    )
    license_name: str | None = field(default=None, metadata={"help": "Name of the licence if --license is other."})
    license_link: str | None = field(
        default=None, metadata={"help": f"URL of the licence if --license is other. The default is {LICENSE_FILE}."}
    )
    datasets: list[str] = field(default_factory=list, metadata={"help": "Hub ids of the training data."})
    data_terms: str | None = field(default=None, metadata={"help": "One sentence: the terms of the training images."})
    base_model: str | None = field(
        default=None,
        metadata={"help": "Hub id of the model that this one was made from. A name alone gets the publisher's name."},
    )
    hardware: str | None = field(default=None, metadata={"help": "Hardware of the training, in words."})
    notes: str | None = field(
        default=None, metadata={"help": "Markdown file of free text for the card's summary, copied to card_notes.md."}
    )

    def __post_init__(self):
        if self.license in (None, "other") and "" in (self.license_name, self.license_link):
            raise InputError("--license other needs --license_name and --license_link.")
        given = {name: value for name in LICENSE_FIELDS if (value := getattr(self, name))}
        check_license_id(given if self.license else {"license_name": self.license_name})
        if self.license_link not in (None, LICENSE_FILE) and not LINK.fullmatch(self.license_link):
            raise InputError(f"--license_link {self.license_link} must be a URL, or {LICENSE_FILE}.")
        if self.base_model and Path(self.base_model).expanduser().exists():
            raise InputError(f"--base_model {self.base_model} is a folder here; give a Hub id, such as org/name.")
        if self.notes and not Path(self.notes).expanduser().is_file():
            raise InputError(f"--notes {self.notes} does not exist; give a Markdown file.")

    def values(self) -> dict:
        """What metrics.json keeps, so that the card can be made anew."""
        names = (*LICENSE_FIELDS, "datasets", "data_terms", "base_model", "hardware")
        return public({name: value for name in names if (value := getattr(self, name))})


def write_card(folder: Path, record: Record, given: dict, repo_id: str | None = None) -> None:
    """
    README.md, LICENSE if the card links to it, and the example's image if it is missing.

    Args:
        given: see `CardArguments.values`. repo_id: for the snippets; None for the folder's own name.
    Raises:
        InputError: a licence that may allow more than its sources do.
    """
    from huggingface_hub import ModelCard

    stated = choose_license(given, record)
    values = card_values(record, given, stated, repo_id)
    card = ModelCard.from_template(card_data(record, given, stated, repo_id), str(TEMPLATE), **values)
    if not (folder / EXAMPLE).exists():
        shutil.copyfile(Path(__file__).with_name(EXAMPLE), folder / EXAMPLE)
    write_license(folder, stated, record, values["image_terms"])
    write_text(folder / CARD, str(card).rstrip("\n") + "\n")


def card_data(record: Record, given: dict, stated: dict, repo_id: str | None):
    """The YAML at the card's top: huggingface_hub's ModelCardData."""
    from huggingface_hub import ModelCardData

    task = task_of(record)
    base_model = given.get("base_model")
    if base_model and repo_id and "/" not in base_model:
        base_model = f"{repo_id.partition('/')[0]}/{base_model}"
    return ModelCardData(
        **stated,
        library_name="transformers",
        pipeline_tag=task,
        tags=[*TAGS, *arxiv_tags(record), task, *(("onnx", "transformers.js") if record.is_plain else ())],
        datasets=given.get("datasets") or [*filter(None, dict.fromkeys(map(dataset_id, record.trainings)))] or None,
        metrics=["accuracy", "recall", "f1"] if record.is_measured else None,
        base_model=base_model,
        model_name=(repo_id or record.name).rpartition("/")[2],
        eval_results=eval_results(record) or None,
        widget=[{"src": EXAMPLE, "example_title": "The astronaut Eileen Collins (photograph: NASA, public domain)"}],
    )


def eval_results(record: Record) -> list:
    """model-index: the measures of metrics.json with their split and protocol; [] where nothing was measured."""
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


def arxiv_tags(record: Record) -> list[str]:
    """The Hub's tag of the paper of the pretraining's method."""
    return [f"arxiv:{number}" for number in re.findall(r"arXiv (\d{4}\.\d{5})", learned_by(record)["paper"])]


def dataset_id(training: dict) -> str | None:
    """The Hub id of a training's data, or the format of a known set; None for other folders and files."""
    data = training.get("data") or {}
    if data.get("format") == "hub":
        return data.get("name")
    return data["format"] if facts_of(data.get("format") or "") else None


def card_values(record: Record, given: dict, stated: dict, repo_id: str | None) -> dict[str, Any]:
    """The plain values that the template is filled with."""
    metrics, config, trainings = record.metrics, record.config, record.trainings
    model = repo_id or record.lineage[-1].get("name") or record.name
    mean, std = (short_numbers(record.preprocessing[name]) for name in ("image_mean", "image_std"))
    commonest, rarest = ends_of(metrics.get("per_class") or {})
    others = [entry for entry in record.lineage if not entry.get("method") and entry.get("license")]
    return {
        **{name: getattr(record, name) for name in ("is_classifier", "is_plain", "is_measured", "metrics", "exports")},
        **{"config": config, "preprocessing": record.preprocessing, "notes": record.notes, "exported": EXPORTED},
        "name": (repo_id or record.name).rpartition("/")[2],
        "architecture": config["architectures"][0],
        "classes": list((config.get("id2label") or {}).values()),
        "method": record.last_training.get("method", "unknown"),
        "learned_by": learned_by(record),
        "is_pretrained": any(training["method"] == "pretraining" for training in trainings[:-1]),
        "is_ferplus": (record.last_training.get("data") or {}).get("format") == "ferplus",
        **{"model": model, "example": EXAMPLE if repo_id else f"{model}/{EXAMPLE}", "example_name": EXAMPLE},
        "fetch": f"hf download {repo_id} {EXAMPLE} --local-dir ." if repo_id else None,
        "side": record.preprocessing["size"]["height"],
        "filter": FILTERS.get(record.preprocessing["resample"], "other"),
        **{"mean": mean, "std": std, "commonest": commonest, "rarest": rarest},
        "facts": record.last_facts,
        "data_sets": describe_data(record, given),
        "citations": [facts.citation for facts in record.facts],
        "trainings": [describe_training(training) for training in trainings],
        "other_sources": [{"name": entry["name"], "terms": terms_of(entry["license"])} for entry in others],
        "losses": (record.last_training.get("results") or {}).get("losses"),
        "measuring_command": wrap(metrics.get("command") or record.last_training.get("command") or ""),
        "export_command": wrap(record.exports.get("command") or ""),
        "hardware": given.get("hardware"),
        **{"terms": terms_of(stated), "license_link": stated.get("license_link")},
        "image_terms": image_terms(record, given.get("data_terms")),
    }


def describe_training(training: dict) -> dict:
    """A training of the lineage as the template shows it."""
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
    values = {"method": training["method"], "name": training.get("name"), "hours": results.get("hours")}
    fingerprint = (training.get("data") or {}).get("fingerprint")
    return {**values, "notes": notes, "command": wrap(training.get("command") or ""), "fingerprint": fingerprint}


def describe_data(record: Record, given: dict) -> list[str]:
    """Paragraphs about the data of all trainings: the text of a known set, name and split of the others."""
    unknown: dict[str, None] = {}
    own = [training.get("data") or {} for training in record.trainings]
    for data in [*own, *(part for whole in own for part in whole.get("unlabelled", []))]:
        if data and not facts_of(data.get("format") or ""):
            name = Path(str(data.get("name") or "a data set")).name if data.get("format") != "hub" else data["name"]
            unknown[f"{name}, split `{data.get('split') or 'train'}`"] = None
    sentences = []
    if given.get("datasets") and unknown:
        unknown = {", ".join(given["datasets"]): None}
    if unknown or not record.facts:
        sentences = [f"{'; '.join(unknown) or 'Not recorded'}. {given.get('data_terms') or UNKNOWN_TERMS}"]
    elif given.get("data_terms"):
        sentences = [given["data_terms"]]
    return [*(facts.description or facts.terms for facts in record.facts), *sentences]


def ends_of(per_class: dict) -> tuple[str | None, str | None]:
    """The most frequent and the rarest class that occur; None for both where all are equally frequent."""
    counts = {name: row["count"] for name, row in per_class.items() if row["count"]}
    if not counts or max(counts.values()) == min(counts.values()):
        return None, None
    return max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)


def short_numbers(value) -> str:
    """A number, or those of the three channels: one where they are equal."""
    values = value if isinstance(value, list) else [value]
    return ", ".join(f"{number:.6g}" for number in (values[:1] if len(set(values)) == 1 else values))


def wrap(command: str, width: int = 90) -> str:
    """A command broken before its flags."""
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        if len(lines[-1]) + len(word) > width and word.startswith("--"):
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)
