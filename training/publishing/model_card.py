"""
The model card of a run or of a published folder: its YAML by huggingface_hub's classes, its text by card_template.md.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template

from training.publishing.card_data_sets import FERPLUS_CITATION, people, pixels, posing, training_data
from training.publishing.card_facts import Facts, dataset_id, places_of, read_facts
from training.publishing.card_sections import FIGURES, class_counts, headline
from training.publishing.card_usage import EXAMPLE, LIES_THERE, how_to_use
from training.publishing.weight_licences import (
    CODE_TERMS,
    LICENSE_FIELDS,
    LICENSE_FILE,
    check_data_license,
    check_license,
    check_license_id,
    source_license,
    stated_license,
    terms_of,
    write_license,
)
from training.runtime.arguments import check_range
from training.runtime.errors import InputError
from training.runtime.public_paths import public, public_path
from training.runtime.run_folder import write_text

TEMPLATE = Path(__file__).with_name("card_template.md")
LICENSE_NAME = "research-use-only"
LINK = re.compile(r"[a-z]+://\S+")
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
TAGS = ("simfle", "facial-expression-recognition", "self-supervised-learning", "arxiv:2303.07648")
MEASURES = {  # of metrics.json, by the Hub's metric and the name shown
    "accuracy": ("accuracy", "Accuracy"),
    "mean_class_accuracy": ("recall", "Mean class accuracy (mean recall)"),
    "macro_f1": ("f1", "Macro F1"),
}
TOLD = ("hardware", "assumed_watts", "remarks")  # arguments that a published folder's metrics.json keeps
CODE_PLACE = "Apache-2.0, in this folder and in the package `simfle`"


@dataclass
class CardArguments:
    """The card."""

    training_recipes: list[str] = field(
        default_factory=list, metadata={"help": "YAML recipes of the trainings that made the weights"}
    )
    repo_id: str | None = field(default=None, metadata={"help": "model id in the snippets; default the folder"})
    license: str | None = field(
        default=None,
        metadata={
            "help": "of the weights: a licence id of the Hub, or other; default other, or that of the weights that they"
            " were made from where it is not commercial"
        },
    )
    license_name: str | None = field(
        default=None, metadata={"help": f"where --license is other; default {LICENSE_NAME}"}
    )
    license_link: str | None = field(
        default=None,
        metadata={"help": f"where --license is other: a URL, or the file that is written, {LICENSE_FILE}, the default"},
    )
    datasets: list[str] = field(
        default_factory=list, metadata={"help": "Hub ids of the training data; default: where it is known"}
    )
    data_terms: str | None = field(default=None, metadata={"help": "a sentence: the terms of the training images"})
    base_model: str | None = field(
        default=None, metadata={"help": "Hub id of the model that this was made from; a name alone is its publisher's"}
    )
    hardware: str | None = field(default=None, metadata={"help": "what the training ran on, in words"})
    assumed_watts: float | None = field(default=None, metadata={"help": "assumed draw, for an estimate of the energy"})
    remarks: str | None = field(default=None, metadata={"help": "sentences for the summary, behind the figures"})

    def __post_init__(self):
        check_range("assumed_watts", self.assumed_watts, 0, low_included=False)
        if self.license in (None, "other") and "" in (self.license_name, self.license_link):
            raise InputError("--license other needs --license_name and --license_link.")
        check_license_id(self.stated if self.license else {"license_name": self.license_name})
        if self.license_link not in (None, LICENSE_FILE) and not LINK.fullmatch(self.license_link):
            raise InputError(f"--license_link {self.license_link} must be a URL, or {LICENSE_FILE}.")
        is_folder = any(place.exists() for place in places_of(self.base_model))
        if self.base_model and (is_folder or not HUB_ID.fullmatch(self.base_model)):
            raise InputError(f"--base_model {self.base_model} must be a Hub id, such as org/name, and no folder here.")

    @property
    def stated(self) -> dict:
        """The licence as the YAML has it."""
        other = {"license_name": self.license_name, "license_link": self.license_link}
        return {"license": self.license, **(other if self.license == "other" else {})}


def make_card(folder: Path, arguments: CardArguments | None = None, place: Path | None = None) -> str:
    """
    The text of README.md for a run's folder or a published one.

    Args:
        place: where the folder will lie, for the snippets; default where it is.
    Raises:
        ValueError: a folder that holds no finished run, a recipe that is another run's, or a licence that may allow
            more than that of the weights, or of FER+'s images, that these were made from.
    """
    arguments, source = choose_license(folder, arguments or CardArguments())
    facts = read_facts(folder, arguments.training_recipes)
    check_data_license(arguments.stated, facts)
    for name in TOLD:  # a published folder has them in metrics.json
        facts.metrics.setdefault(name, public(getattr(arguments, name)))
    model = arguments.repo_id or public_path(str(Path(place or folder).resolve()))
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        {heading.lower().replace(" ", "_"): section(facts) for heading, section in FIGURES.items()},
        name=name_of(facts, arguments),
        summary=summary(facts),
        headline=headline(facts),
        class_counts=class_counts(facts),
        architecture=f"`{facts.config['architectures'][0]}`, a ResNet of {facts.config['layer_type']} layers"
        f" {facts.config['depths']} and widths {facts.config['hidden_sizes']}",
        license_short=terms_of(arguments.stated),
        license_text=license_text(facts, arguments, source),
        code_place="none here but Transformers' own" if facts.is_plain else CODE_PLACE,
        how_to_use=how_to_use(facts, model, is_folder=not arguments.repo_id),
        direct_use=direct_use(facts),
        pixels=pixels(facts),
        posing=posing(facts),
        people=people(facts),
        training_data=training_data(facts, arguments.datasets, arguments.data_terms),
        data_citation=FERPLUS_CITATION if facts.saw_ferplus else "",
    )
    return f"---\n{card_data(facts, arguments).to_yaml()}\n---\n\n{text}"


def choose_license(folder: Path, arguments: CardArguments) -> tuple[CardArguments, dict]:
    """
    The arguments with a licence, and the licence that came with the weights, see `source_license`.

    Raises:
        ValueError: the one asked for may allow more than the one that came with the weights.
    """
    source = source_license(Path(folder))
    is_given = arguments.license or arguments.license_name
    found = {"license": "other", **({} if is_given else source)}
    found |= {name: value for name in LICENSE_FIELDS if (value := getattr(arguments, name))}
    if found["license"] == "other":
        found.setdefault("license_name", LICENSE_NAME)
        if not LINK.fullmatch(found.get("license_link", "")):  # a file of the folder that it came from
            found["license_link"] = LICENSE_FILE
    arguments = replace(arguments, **found)
    check_license(arguments.stated, source)
    return arguments, source


def write_card(folder: Path, output: Path, arguments: CardArguments, place: Path | None = None) -> None:
    """README.md (see `make_card`), beside it the example's picture, if there is none, and LICENSE (`write_license`)."""
    from training.data.drawn_faces import draw_face

    text = make_card(folder, arguments, place)
    arguments, _ = choose_license(folder, arguments)
    output.parent.mkdir(parents=True, exist_ok=True)
    if not output.with_name(EXAMPLE).exists():
        draw_face(seed=3, index=1, size=128).image.save(output.with_name(EXAMPLE))
    write_license(output.with_name(LICENSE_FILE), read_facts(folder), arguments.stated, arguments.data_terms)
    write_text(output, text)


def card_data(facts: Facts, arguments: CardArguments):
    """The YAML at the card's top: huggingface_hub's ModelCardData."""
    from huggingface_hub import ModelCardData

    task = task_of(facts)
    return ModelCardData(
        **arguments.stated,
        library_name="transformers",
        pipeline_tag=task,
        tags=[*TAGS, task, *(("onnx", "transformers.js") if facts.is_plain else ())],
        datasets=arguments.datasets or facts.dataset_ids or None,
        metrics=["accuracy", "recall", "f1"] if facts.is_measured else None,
        base_model=arguments.base_model,
        model_name=name_of(facts, arguments),
        eval_results=eval_results(facts) or None,
        widget=[{"src": EXAMPLE, "example_title": "A face drawn by code"}],
    )


def eval_results(facts: Facts) -> list:
    """model-index: the measures of metrics.json with their split and protocol; [] where nothing was measured."""
    from huggingface_hub import EvalResult

    if not facts.is_measured:
        return []
    metrics = facts.metrics
    source = (metrics.get("dataset") or {}).get("source", "not noted")
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Facial expression recognition",
            # The Hub wants one; a folder's name may be somebody's set there.
            dataset_type=dataset_id(facts.recipe[-1]) or "local",
            dataset_name=f"{Path(source).name}, split {metrics['split']}",
            dataset_split=metrics["split"],
            dataset_args={"protocol": metrics["protocol"], "num_images": metrics["num_images"]},
            metric_type=kind,
            metric_name=title,
            metric_value=round(metrics[name], 6),
        )
        for name, (kind, title) in MEASURES.items()
    ]


def name_of(facts: Facts, arguments: CardArguments) -> str:
    """The repository's name, where it is given; else the folder's."""
    return arguments.repo_id.rpartition("/")[2] if arguments.repo_id else facts.name


def task_of(facts: Facts) -> str:
    return "image-classification" if facts.is_classifier else "image-feature-extraction"


def summary(facts: Facts) -> str:
    method = facts.recipe[-1]["method"]
    if facts.is_classifier:
        names = ", ".join(facts.config["id2label"].values())
        how = {
            "linear probe": "a linear layer on a frozen encoder",
            "fine-tuning": "an encoder and a classifier, fine-tuned together",
            "supervised from scratch": "an encoder and a classifier, trained from scratch",
        }.get(method, method)
        before = ", pretrained without labels by SimFLE" if facts.recipe[0]["method"] == "pretraining" else ""
        plain = ""
        if facts.is_plain:  # the folder's name here, which need not be its name on the Hub
            plain = f" This is the model of the folder `{facts.exports['model']}` as a plain ResNet and as ONNX files."
        return f"A classifier of facial expressions ({names}): {how}{before}.{plain}"
    return "An encoder of faces, pretrained without labels by SimFLE, for features and for training classifiers."


def direct_use(facts: Facts) -> str:
    if facts.is_classifier:
        return "Naming the expression that a cropped face shows, with a probability for each class."
    return "Features of cropped faces, as the input of a classifier that is trained on them."


def license_text(facts: Facts, arguments: CardArguments, source: dict) -> str:
    terms = arguments.license
    if terms == "other":
        terms = (
            f"`{arguments.license_name}` ([{arguments.license_link}]({arguments.license_link})), because of the terms"
            " of the images that they were trained on"
        )
    if source and not facts.is_plain:
        terms += f"; the weights that they were made from are under `{terms_of(source)}`"
    if facts.is_plain:
        return f"There is no code in this folder. The weights, and the ONNX files made from them, are under {terms}."
    return f"The code in this folder (the .py files) is Apache-2.0. The weights are under {terms}."


def copy_license_file(source: Path, folder: Path, arguments: CardArguments) -> None:
    """LICENSE of the folder that an export was made of, without what it says of code; none under another licence."""
    path = source / LICENSE_FILE
    if path.is_file() and terms_of(choose_license(folder, arguments)[0].stated) == terms_of(stated_license(source)):
        write_text(folder / LICENSE_FILE, path.read_text(encoding="utf-8").removesuffix(f"\n{CODE_TERMS}\n"))


def with_repo_id(card: str, repo_id: str) -> str:
    """
    The card with another model id in its snippets, the Hub's, and how its picture is fetched from there; a base model
    without an owner becomes that owner's.
    """
    card = re.sub(r'(from_pretrained\(|model=|await pipeline\("[\w-]+", )"[^"]+"', rf'\1"{repo_id}"', card)
    card = re.sub(rf'"[^"\n]*/{re.escape(EXAMPLE)}"', f'"{EXAMPLE}"', card)
    owner = repo_id.rpartition("/")[0]
    if not owner or not HUB_ID.fullmatch(repo_id):
        return card
    fetched = f"{LIES_THERE} (`hf download {repo_id} {EXAMPLE} --local-dir .`)"
    card = re.sub(rf"{re.escape(LIES_THERE)}(?: \(`hf download [^`]+`\))?", fetched, card)
    return re.sub(r"^base_model: ([\w.-]+)$", rf"base_model: {owner}/\1", card, flags=re.MULTILINE)
