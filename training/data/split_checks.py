"""Opens training and evaluation faces, and checks that they do not overlap: a score on training faces says nothing."""

import os
import re
from pathlib import Path

import numpy as np

from training.data.expressions import match_labels
from training.data.faces import FINGERPRINTED, DatasetArguments, Faces, evenly, open_faces
from training.data.image_files import say_once
from training.data.images import image_hash, is_among
from training.data.splits import split_folders, split_of, split_of_file
from training.data.tables import parquet_files
from training.runtime.errors import InputError


def open_both(data: DatasetArguments, eval_dataset: str | None, eval_split: str) -> tuple[Faces, Faces]:
    """
    Training and evaluation faces, both labelled in the order of the training classes. Where --eval_dataset is another
    set, class folders without splits are taken whole in both.

    Raises:
        InputError: the two share faces, the training faces have a single class, or the evaluation faces have a class
            that the training faces lack.
    """
    dataset, whole = eval_dataset or data.dataset, eval_dataset not in (None, data.dataset)
    train_faces = open_faces(data, data.dataset, data.train_split, with_labels=True, whole=whole)
    check_several_classes(train_faces)
    eval_faces = open_faces(data, dataset, eval_split, with_labels=True, whole=whole)
    check_apart(train_faces, eval_faces)
    if whole and train_faces.soft_labels is not None and eval_faces.soft_labels is not None:
        train_faces = part_ferplus(train_faces, eval_faces)
    eval_faces.labels = match_labels(eval_faces.class_names, eval_faces.labels, train_faces.class_names)
    if unlearned := [train_faces.class_names[i] for i in np.setdiff1d(eval_faces.labels, train_faces.labels)]:
        say_once(f"warning: {eval_faces.source} has images of {', '.join(unlearned)}; {train_faces.source} has none")
    return train_faces, eval_faces


def check_several_classes(train_faces: Faces) -> None:
    """Raises InputError: all training faces have the same label, so that there is nothing to tell apart."""
    labels = np.unique(train_faces.labels)
    if len(labels) == 1:
        raise InputError(
            f"{train_faces.source} has training images of a single class, {train_faces.class_names[labels[0]]!r}; give"
            " the folder right above the class folders, or labels of several classes."
        )


def check_fills_batch(faces: Faces, batch_size: int) -> None:
    """Raises InputError: fewer faces than one batch of all processes, so that an epoch has no step."""
    if len(faces) < batch_size:
        raise InputError(
            f"{faces.source} has {len(faces)} images, fewer than one batch of {batch_size}; use a smaller"
            " --per_device_train_batch_size."
        )


def check_chooses(eval_split: str, eval_dataset: str | None) -> None:
    """Raises InputError: the epoch would be chosen on a test split, and a test figure must not choose anything."""
    path = Path(eval_dataset or "").expanduser()
    names = [split_of(part.strip()) for part in re.split(r"[+\[]", eval_split)]  # of the Hub: train+test[:50%]
    if path.suffix == ".parquet":
        names.append(split_of_file(path))
    elif path.is_dir() and not split_folders(path) and not any(map(split_of_file, parquet_files(path))):
        names.append(split_of(path.name))  # it may be a split's folder itself
    if "test" in names:
        raise InputError(
            f"--eval_split {eval_split} of {eval_dataset or '--dataset'}: the epoch is chosen on it; give a validation"
            " split, and measure the test split once, by evaluate_classifier.py."
        )


def check_apart(train_faces: Faces, eval_faces: Faces) -> None:
    """Raises InputError where the two are the same faces, or share image files."""
    shared = len(image_files(train_faces) & image_files(eval_faces))
    if shared or same_faces(train_faces, eval_faces):
        raise InputError(
            f"{shared or len(eval_faces)} of the {len(eval_faces)} images of {eval_faces.source}, split"
            f" {eval_faces.split!r}, are training images too (split {train_faces.split!r} of {train_faces.source});"
            " give another --eval_split or --eval_dataset."
        )


def part_ferplus(train_faces: Faces, eval_faces: Faces) -> Faces:
    """
    Returns the training faces without those that equal a validation face, and marks the evaluation faces that equal a
    training face in `repeats_training`. `training.data.ferplus.load` does the same for splits of one data set.
    """
    train, evaluation = ([image_hash(cell) for cell in f.rows[f.image_column]] for f in (train_faces, eval_faces))
    marked, repeats = eval_faces.repeats_training, is_among(evaluation, train)
    eval_faces.repeats_training = repeats if marked is None else marked | repeats
    if split_of(eval_faces.split) != "validation":
        return train_faces
    return train_faces.select(np.flatnonzero(~is_among(train, evaluation)))


def image_files(faces: Faces) -> set[str]:
    """The files of uncropped images; empty for faces cut out by boxes (one image may hold several) and for tables."""
    if faces.box_column is not None or faces.cell(0)["bytes"] is not None:
        return set()
    cells = (cell for cell in faces.rows[faces.image_column] if cell and cell["bytes"] is None and cell["path"])
    return {os.path.realpath(cell["path"]) for cell in cells}


def same_faces(one: Faces, other: Faces) -> bool:
    """Whether fingerprints and contents are equal: of image files, a fingerprint reads only the names."""

    def content(faces: Faces, index: int) -> bytes:
        cell = faces.cell(index)
        return cell["bytes"] or (Path(cell["path"]).read_bytes() if cell["path"] else b"")

    same = one.fingerprint() == other.fingerprint()
    return same and all(content(one, index) == content(other, index) for index in evenly(len(one), FINGERPRINTED))
