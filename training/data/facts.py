"""The facts about a data set that a model card and a licence need, read from facts.yaml."""

import functools
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class DatasetFacts:
    """
    Args:
        name, homepage: of the data set. terms: a sentence about the use of the images.
        research_only: whether the images are given for research alone; weights trained on them take no freer licence.
        citation: a BibTeX entry. description: paragraphs about the images, the labels and the splits.
        pixels: a sentence about the size and colour of the images; {side} stands for the model's side in pixels.
        posing, people: sentences about how the faces came to look as they do, and about who is depicted. An empty text
            means that nothing is known.
    """

    name: str
    homepage: str
    terms: str
    research_only: bool
    citation: str
    description: str = ""
    pixels: str = ""
    posing: str = ""
    people: str = ""


def facts_of(data_format: str) -> DatasetFacts | None:
    """The facts of a --data_format. None for class folders, tables and Hub data sets of anybody."""
    return read_facts().get(data_format)


@functools.cache
def read_facts() -> dict[str, DatasetFacts]:
    facts = yaml.safe_load(Path(__file__).with_name("facts.yaml").read_text(encoding="utf-8"))
    return {data_format: DatasetFacts(**fields) for data_format, fields in facts.items()}
