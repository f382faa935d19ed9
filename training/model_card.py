"""
The model card of a run or of a published folder: its YAML by huggingface_hub's classes, its text by card_template.md.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from training.card_facts import Facts, public_path, read_facts
from training.card_sections import FIGURES, class_counts, headline
from training.card_usage import EXAMPLE, how_to_use
from training.script_arguments import check_range

TEMPLATE = Path(__file__).with_name("card_template.md")
LICENSE_FILE = "LICENSE"
LINK = re.compile(r"[a-z]+://\S+")
TAGS = ("simfle", "facial-expression-recognition", "self-supervised-learning", "arxiv:2303.07648")
MEASURES = {  # of metrics.json, by the Hub's metric and the name shown
    "accuracy": ("accuracy", "Accuracy"),
    "mean_class_accuracy": ("recall", "Mean class accuracy (mean recall)"),
    "macro_f1": ("f1", "Macro F1"),
}
FERPLUS_DATA = """\
FER+ (Barsoum, Zhang, Canton Ferrer, Zhang, ICMI 2016): gray images of 48 x 48 pixels, labelled anew by ten
taggers each. The images are for research; the labels are under the MIT licence. The split is its owners'. Majority
protocol, for labels: votes of one are dropped, the largest of what remains must exceed half of it, and images that
unknown or not-a-face wins are left out, which leaves 25,045 training, 3,191 validation and 3,137 test images; soft
labels are the remaining votes for the eight expressions, normalised.

FER+ repeats itself: its 28,558 training rows are 27,334 distinct pictures, and 279 of the 3,579 validation pictures
equal a training one pixel by pixel. Training images that equal a validation image were left out of all training, and
accuracy is also given without the validation images that repeat a training one."""
FERPLUS_CITATION = """
@inproceedings{barsoum2016training,
  title     = {Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution},
  author    = {Barsoum, Emad and Zhang, Cha and Canton Ferrer, Cristian and Zhang, Zhengyou},
  booktitle = {ACM International Conference on Multimodal Interaction (ICMI)},
  year      = {2016},
  note      = {arXiv:1608.01041}
}"""
FERPLUS_TERMS = "The images that they were trained on are given for research."
CODE_PLACE = "Apache-2.0, in this folder and in the package `simfle`"
CODE_TERMS = """\
The code in this folder (the .py files) is not under these terms: it is licensed under the Apache License, Version
2.0."""
UNKNOWN_TERMS = "The terms of the training images are not noted here: ask their owners before you use the weights."


@dataclass
class CardArguments:
    """The card."""

    training_recipes: list[str] = field(
        default_factory=list, metadata={"help": "YAML recipes of the trainings that made the weights"}
    )
    repo_id: str | None = field(default=None, metadata={"help": "model id in the snippets; default the folder"})
    license: str = field(default="other", metadata={"help": "of the weights: a licence id of the Hub, or other"})
    license_name: str = field(default="research-use-only", metadata={"help": "where --license is other"})
    license_link: str = field(
        default=LICENSE_FILE, metadata={"help": "where --license is other: a URL, or the file that is written"}
    )
    datasets: list[str] = field(default_factory=list, metadata={"help": "training data on the card; default guessed"})
    data_terms: str | None = field(default=None, metadata={"help": "a sentence: the terms of the training images"})
    base_model: str | None = field(
        default=None, metadata={"help": "Hub id of the model that this one started from; an export's own by default"}
    )
    hardware: str | None = field(default=None, metadata={"help": "what the training ran on, in words"})
    assumed_watts: float | None = field(default=None, metadata={"help": "assumed draw, for an estimate of the energy"})

    def __post_init__(self):
        check_range("assumed_watts", self.assumed_watts, 0, low_included=False)
        if self.license == "other" and not (self.license_name and self.license_link):
            raise ValueError("--license other needs --license_name and --license_link.")
        if self.license_link != LICENSE_FILE and not LINK.fullmatch(self.license_link):
            raise ValueError(f"--license_link {self.license_link} must be a URL, or {LICENSE_FILE}.")


def make_card(folder: Path, arguments: CardArguments | None = None) -> str:
    """
    The text of README.md for a run's folder or a published one.

    Raises:
        ValueError: a folder that holds no finished run, or a recipe that is another run's.
    """
    arguments = arguments or CardArguments()
    facts = read_facts(folder, arguments.training_recipes)
    for name in ("hardware", "assumed_watts"):  # a published folder has them in metrics.json
        facts.metrics.setdefault(name, getattr(arguments, name))
    model = arguments.repo_id or public_path(str(Path(folder).resolve()))
    is_ferplus = facts.dataset == "ferplus"
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        {heading.lower().replace(" ", "_"): section(facts) for heading, section in FIGURES.items()},
        name=facts.name,
        summary=summary(facts),
        headline=headline(facts),
        class_counts=class_counts(facts),
        architecture=f"`{facts.config['architectures'][0]}`, a ResNet of {facts.config['layer_type']} layers"
        f" {facts.config['depths']} and widths {facts.config['hidden_sizes']}",
        license_short=arguments.license_name if arguments.license == "other" else arguments.license,
        license_text=license_text(facts, arguments),
        code_place="none here but Transformers' own" if facts.is_plain else CODE_PLACE,
        how_to_use=how_to_use(facts, model),
        direct_use=direct_use(facts),
        pixels=pixels(facts, is_ferplus),
        training_data=training_data(facts, arguments, is_ferplus),
        data_citation=FERPLUS_CITATION if is_ferplus else "",
    )
    return f"---\n{card_data(facts, arguments).to_yaml()}\n---\n\n{text}"


def write_card(folder: Path, output: Path, arguments: CardArguments) -> None:
    """README.md, and beside it the example's picture and the licence that it names, where these are not there yet."""
    from training.synthetic_faces import draw_face

    text = make_card(folder, arguments)
    output.parent.mkdir(parents=True, exist_ok=True)
    if not output.with_name(EXAMPLE).exists():
        draw_face(seed=3, index=1, size=128).image.save(output.with_name(EXAMPLE))
    needs_file = arguments.license == "other" and arguments.license_link == LICENSE_FILE
    if needs_file and not output.with_name(LICENSE_FILE).exists():
        facts = read_facts(folder)
        terms = arguments.data_terms or (FERPLUS_TERMS if facts.dataset == "ferplus" else UNKNOWN_TERMS)
        write_text(output.with_name(LICENSE_FILE), license_file(arguments.license_name, terms, facts.is_plain))
    write_text(output, text)


def write_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def card_data(facts: Facts, arguments: CardArguments):
    """The YAML at the card's top: huggingface_hub's ModelCardData."""
    from huggingface_hub import ModelCardData

    other = arguments.license == "other"
    task = task_of(facts)
    return ModelCardData(
        license=arguments.license,
        license_name=arguments.license_name if other else None,
        license_link=arguments.license_link if other else None,
        library_name="transformers",
        pipeline_tag=task,
        tags=[*TAGS, task, *(("onnx", "transformers.js") if facts.is_plain else ())],
        datasets=arguments.datasets or [facts.dataset],
        metrics=["accuracy", "recall", "f1"] if facts.is_measured else None,
        base_model=arguments.base_model or (facts.exports.get("model") if facts.is_plain else None),
        model_name=facts.name,
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
            dataset_type=facts.dataset,
            dataset_name=f"{Path(source).name}, split {metrics['split']}",
            dataset_split=metrics["split"],
            dataset_args={"protocol": metrics["protocol"], "num_images": metrics["num_images"]},
            metric_type=kind,
            metric_name=title,
            metric_value=round(metrics[name], 6),
        )
        for name, (kind, title) in MEASURES.items()
    ]


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
        plain = f" This is `{facts.exports['model']}` as a plain ResNet and as ONNX files." if facts.is_plain else ""
        return f"A classifier of facial expressions ({names}): {how}{before}.{plain}"
    return "An encoder of faces, pretrained without labels by SimFLE, for features and for training classifiers."


def direct_use(facts: Facts) -> str:
    if facts.is_classifier:
        return "Naming the expression that a cropped face shows, with a probability for each class."
    return "Features of cropped faces, as the input of a classifier that is trained on them."


def pixels(facts: Facts, is_ferplus: bool) -> str:
    side = facts.preprocessing["size"]["height"]
    if is_ferplus:
        return (
            f"The training images are gray and 48 pixels wide (seen at {side}): wrinkles, small movements and colour"
            " are not in them, and larger pictures add nothing that it could use."
        )
    return f"Faces are seen at {side} x {side} pixels: smaller detail is lost."


def training_data(facts: Facts, arguments: CardArguments, is_ferplus: bool) -> str:
    if is_ferplus:
        return "\n\n".join(filter(None, [FERPLUS_DATA, arguments.data_terms]))
    names = ", ".join(arguments.datasets or [facts.dataset])
    split = facts.data.get("train_split", "train")
    return f"{names}, split `{split}`. {arguments.data_terms or UNKNOWN_TERMS}"


def license_text(facts: Facts, arguments: CardArguments) -> str:
    terms = arguments.license
    if terms == "other":
        terms = (
            f"`{arguments.license_name}` ([{arguments.license_link}]({arguments.license_link})), because of the terms"
            " of the images that they were trained on"
        )
    if facts.is_plain:
        return f"There is no code in this folder. The weights, and the ONNX files made from them, are under {terms}."
    return f"The code in this folder (the .py files) is Apache-2.0. The weights are under {terms}."


def license_file(name: str, terms: str, is_plain: bool) -> str:
    """LICENSE: what may be done with the weights, in words of our own."""
    text = (
        f"# {name}\n\n"
        "The weights in this folder (the .safetensors files, and .onnx files made from them) may be used, shared and\n"
        f"changed for research and teaching, with this note beside them. {terms}\n"
        "No other use is granted, because none is ours to grant.\n\n"
        "They come as they are, without any warranty.\n"
    )
    return text if is_plain else f"{text}\n{CODE_TERMS}\n"


def with_repo_id(card: str, repo_id: str) -> str:
    """The card with another model id in its snippets: the Hub's, when a folder is published."""
    return re.sub(r'(from_pretrained\(|model=|await pipeline\("[\w-]+", )"[^"]+"', rf'\1"{repo_id}"', card)
