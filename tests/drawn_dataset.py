# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Drawn faces as a table."""

from training.data.drawn_faces import draw_faces
from training.data.expressions import EXPRESSIONS


def make_dataset(num_images: int, seed: int, size: int = 96):
    """A `datasets.Dataset` with image, label (ClassLabel) and landmarks (68, 2)."""
    import datasets

    kinds = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=list(EXPRESSIONS)),
        "landmarks": datasets.Array2D((68, 2), "float32"),
    }
    faces = [{name: getattr(face, name) for name in kinds} for face in draw_faces(num_images, seed, size)]
    return datasets.Dataset.from_list(faces, features=datasets.Features(kinds))
