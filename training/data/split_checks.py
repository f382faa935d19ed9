"""Training and evaluation faces together. That they are the same faces is refused: such a figure would say nothing."""

import os
import re
from pathlib import Path

import numpy as np

from training.data.faces import FINGERPRINTED, DatasetArguments, Faces, evenly, open_faces
from training.data.fer_datasets import match_labels
from training.data.ferplus import is_among, picture_hash
from training.data.formats import parquet_files
from training.data.splits import split_folders, split_of, split_of_file
from training.runtime.errors import InputError


def open_both(data: DatasetArguments, eval_dataset: str | None, eval_split: str) -> tuple[Faces, Faces]:
    """
    Training and evaluation faces, both labelled in the order of the training classes. Where --eval_dataset is another
    set, class folders without splits are taken whole in both.

    Raises:
        ValueError: they share faces, training has a single class, or evaluation has one that training lacks.
    """
    dataset, whole = eval_dataset or data.dataset, eval_dataset not in (None, data.dataset)
    train_faces = open_faces(data, data.dataset, data.train_split, with_labels=True, whole=whole)
    if len(train_faces.class_names) == 1:
        raise InputError(
            f"{data.dataset} has a single class, {train_faces.class_names[0]!r}; give the folder right above the class"
            " folders, or labels of several classes."
        )
    eval_faces = open_faces(data, dataset, eval_split, with_labels=True, whole=whole)
    check_apart(train_faces, eval_faces)
    if whole and train_faces.soft_labels is not None and eval_faces.soft_labels is not None:
        train_faces = part_ferplus(train_faces, eval_faces)
    eval_faces.labels = match_labels(eval_faces.class_names, eval_faces.labels, train_faces.class_names)
    return train_faces, eval_faces


def check_chooses(eval_split: str, eval_dataset: str | None) -> None:
    """Raises ValueError: the epoch would be chosen on a test split (or a file of one), and its figure say nothing."""
    path = Path(eval_dataset or "").expanduser()
    names = [split_of(part.strip()) for part in re.split(r"[+\[]", eval_split)]  # of the Hub: train+test[:50%]
    if path.suffix == ".parquet":
        names.append(split_of_file(path))
    elif path.is_dir() and not split_folders(path) and not any(map(split_of_file, parquet_files(path))):
        # It may be a split's folder itself.
        names.append(split_of(path.name))
    if "test" in names:
        raise InputError(
            f"--eval_split {eval_split} of {eval_dataset or '--dataset'}: the epoch is chosen on it; give a validation"
            " split, and measure the test split once, by evaluate_classifier.py."
        )


def check_apart(train_faces: Faces, eval_faces: Faces) -> None:
    """Raises ValueError where the two are the same faces, or share picture files."""
    shared = len(picture_files(train_faces) & picture_files(eval_faces))
    if shared or same_faces(train_faces, eval_faces):
        raise InputError(
            f"{shared or len(eval_faces)} of the {len(eval_faces)} images of {eval_faces.source}, split"
            f" {eval_faces.split!r}, are training images too (split {train_faces.split!r} of {train_faces.source});"
            " give another --eval_split or --eval_dataset."
        )


def part_ferplus(train_faces: Faces, eval_faces: Faces) -> Faces:
    """
    What `load_ferplus` does for splits that lie together: training faces without those that equal a validation one, and
    evaluation faces that equal a training one marked (`repeats_training`).
    """
    train, evaluation = (
        [picture_hash(faces.cell(index)) for index in range(len(faces))] for faces in (train_faces, eval_faces)
    )
    known, repeats = eval_faces.repeats_training, is_among(evaluation, train)
    eval_faces.repeats_training = repeats if known is None else known | repeats
    if split_of(eval_faces.split) != "validation":
        return train_faces
    return train_faces.select(np.flatnonzero(~is_among(train, evaluation)))


def picture_files(faces: Faces) -> set[str]:
    """The files of uncropped pictures (several faces may be cut from one); empty where they lie in a table."""
    if faces.box_column is not None or faces.cell(0)["bytes"] is not None:
        return set()
    cells = (cell for cell in faces.rows[faces.image_column] if cell and cell["bytes"] is None and cell["path"])
    return {os.path.realpath(cell["path"]) for cell in cells}


def same_faces(one: Faces, other: Faces) -> bool:
    """Equal fingerprints, and equal contents too: files go into a fingerprint by their names alone."""
    if one.fingerprint() != other.fingerprint():
        return False
    return all(encoded(one, index) == encoded(other, index) for index in evenly(len(one), FINGERPRINTED))


def encoded(faces: Faces, index: int) -> bytes:
    cell = faces.cell(index)
    if cell["bytes"] is None and not cell["path"]:
        return b""
    return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
