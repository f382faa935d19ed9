"""From image files, tables and the Hub to images, views, labels and splits; one file per data set."""

from training.data.expressions import EXPRESSIONS
from training.data.faces import DatasetArguments, Faces, image_faces, open_faces
from training.data.formats import facts_of, guess_format
from training.data.images import BadImage, BadImages
from training.data.split_checks import open_both

__all__ = [
    "EXPRESSIONS",
    "BadImage",
    "BadImages",
    "DatasetArguments",
    "Faces",
    "facts_of",
    "guess_format",
    "image_faces",
    "open_both",
    "open_faces",
]
