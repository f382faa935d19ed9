"""The facts about a data set that a model card and a licence need; each data set's file holds its own record."""

from dataclasses import dataclass


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
