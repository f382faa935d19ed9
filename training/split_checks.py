"""Whether evaluation faces are training faces: a figure measured so would say nothing, and is refused."""

import os
from pathlib import Path

import numpy as np

from training.face_data import Faces


def check_apart(train_faces: Faces, eval_faces: Faces) -> None:
    """Raises ValueError where the two are the same faces, or share picture files."""
    shared = len(picture_files(train_faces) & picture_files(eval_faces))
    if shared or same_faces(train_faces, eval_faces):
        raise ValueError(
            f"{shared or len(eval_faces)} of the {len(eval_faces)} images of {eval_faces.source}, split"
            f" {eval_faces.split!r}, are training images too (split {train_faces.split!r} of {train_faces.source});"
            " give another --eval_split or --eval_dataset."
        )


def picture_files(faces: Faces) -> set[str]:
    """The files of uncropped pictures (several faces may be cut from one); empty where they lie in a table."""
    if faces.box_column is not None or faces.rows[0][faces.image_column]["bytes"] is not None:
        return set()
    return {os.path.realpath(cell["path"]) for cell in faces.rows[faces.image_column] if cell["bytes"] is None}


def same_faces(one: Faces, other: Faces) -> bool:
    """Equal fingerprints, and equal contents too: files go into a fingerprint by their names alone."""
    if one.fingerprint() != other.fingerprint():
        return False
    sampled = np.unique(np.linspace(0, len(one) - 1, min(len(one), 1000)).astype(int))
    return all(encoded(one, int(index)) == encoded(other, int(index)) for index in sampled)


def encoded(faces: Faces, index: int) -> bytes:
    cell = faces.rows[index][faces.image_column]
    return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
