# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Small trees of drawn faces in every layout that the loaders read, as the sets' owners pack them.

    write_affectnet_lists(root)     Manually_Annotated_file_lists/ and Manually_Annotated_Images/
    write_affectnet_sets(root)      train_set/ and val_set/ with images/ and annotations/*.npy
    write_rafdb(root, images)       EmoLabel/ and Image/aligned, or Image/original with Annotation/manual
    write_ferplus_csv(root)         fer2013.csv and fer2013new.csv
    write_ferplus_parquet(root)     train, validation and test .parquet
    write_sfew(root)                Train/ and Val/ by class
    write_class_folders(root)       train/, validation/ and test/ by class

Each returns root. A class has NUM_TRAIN images for training, of which a fixed tenth is the validation split where
the owners give none, and NUM_TEST each for validation (where the owners give one) and test. The owners' numbers are
written down here once more, not taken from the loaders.
"""

import csv
import functools
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.drawn_faces import draw_face

SIZE = 48
NUM_TRAIN, NUM_TEST = 10, 2
SEVEN = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")
EIGHT = (*SEVEN, "contempt")
AFFECTNET = {
    "neutral": 0,
    "happiness": 1,
    "sadness": 2,
    "surprise": 3,
    "fear": 4,
    "disgust": 5,
    "anger": 6,
    "contempt": 7,
}
NO_EXPRESSION = {"none": 8, "uncertain": 9, "no-face": 10}
RAFDB = {"surprise": 1, "fear": 2, "disgust": 3, "happiness": 4, "sadness": 5, "anger": 6, "neutral": 7}
SFEW = {
    "anger": "Angry",
    "disgust": "Disgust",
    "fear": "Fear",
    "happiness": "Happy",
    "neutral": "Neutral",
    "sadness": "Sad",
    "surprise": "Surprise",
}
# Where a face lies in a larger image of SCENE_SIZE, gray (GROUND) around it.
SCENE_SIZE, FACE_CORNER, GROUND = (100, 90), (30, 20), (90, 90, 90)


@functools.cache
def drawn(part: str, expression: str, number: int):
    """Face `number` of an expression; the parts ("train", "validation", "test") have different faces."""
    seed = ("train", "validation", "test").index(part)
    return draw_face(seed, EIGHT.index(expression) + 8 * number, SIZE, expression)


def scene(face):
    """The face in a larger image, and its landmarks there, (68, 2) pixels."""
    picture = Image.new("RGB", SCENE_SIZE, GROUND)
    picture.paste(face.image, FACE_CORNER)
    return picture, face.landmarks * SIZE + FACE_CORNER


def save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=95)


def faces_of(part: str, expressions=EIGHT):
    """(expression, number, drawn face), the classes in turn."""
    count = NUM_TRAIN if part == "train" else NUM_TEST
    return [(name, number, drawn(part, name, number)) for number in range(count) for name in expressions]


def write_affectnet_lists(root: Path) -> Path:
    """Images larger than their face boxes, one row of each raw label without expression; no header in validation."""
    header = ["subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks"]
    header += ["expression", "valence", "arousal"]
    images, lists = root / "Manually_Annotated_Images", root / "Manually_Annotated_file_lists"
    lists.mkdir(parents=True, exist_ok=True)
    for part, name in (("train", "training"), ("test", "validation")):
        rows = [header] if part == "train" else []
        cases = [(expression, number, face, AFFECTNET[expression]) for expression, number, face in faces_of(part)]
        cases += [(key, 0, drawn(part, "neutral", 0), number) for key, number in NO_EXPRESSION.items()]
        for expression, number, face, raw in cases:
            picture, landmarks = scene(face)
            file = f"{100 + number}/{part}_{expression}_{number}.jpg"
            save(picture, images / file)
            points = ";".join(f"{value:.2f}" for value in landmarks.ravel())
            rows.append([file, *FACE_CORNER, SIZE, SIZE, points, raw, 0.25, -0.5])
        with open(lists / f"{name}.csv", "w", newline="", encoding="utf-8") as target:
            csv.writer(target).writerows(rows)
    return root


def write_affectnet_sets(root: Path) -> Path:
    """Cropped faces, numbered; annotations as strings and floats, as the owners store them."""
    for part, folder in (("train", "train_set"), ("test", "val_set")):
        (root / folder / "annotations").mkdir(parents=True, exist_ok=True)
        for index, (expression, _, face) in enumerate(faces_of(part)):
            save(face.image, root / folder / "images" / f"{index}.jpg")
            arrays = {"exp": str(AFFECTNET[expression]), "val": "0.25", "aro": "-0.5", "lnd": face.landmarks * SIZE}
            for ending, value in arrays.items():
                np.save(root / folder / "annotations" / f"{index}_{ending}.npy", np.array(value).ravel().squeeze())
    return root


def write_rafdb(root: Path, images: str = "aligned") -> Path:
    """images: "aligned" (faces), or "original" (larger images, with five landmarks each)."""
    lines = []
    for part, digits in (("train", 5), ("test", 4)):
        for index, (expression, _, face) in enumerate(faces_of(part, SEVEN), 1):
            stem = f"{part}_{index:0{digits}d}"
            lines.append(f"{stem}.jpg {RAFDB[expression]}")
            if images == "aligned":
                save(face.image, root / "Image" / "aligned" / f"{stem}_aligned.jpg")
                continue
            picture, points = scene(face)
            save(picture, root / "Image" / "original" / f"{stem}.jpg")
            five = [points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]]
            attributes = root / "Annotation" / "manual" / f"{stem}_manu_attri.txt"
            attributes.parent.mkdir(parents=True, exist_ok=True)
            attributes.write_text("".join(f"{x:.3f}\t{y:.3f}\n" for x, y in five) + "0\n2\n1\n")
    (root / "EmoLabel").mkdir(parents=True, exist_ok=True)
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return root


def ferplus_votes_of(expression: str) -> list[int]:
    """Ten taggers in the owners' order: eight for the expression, one each for the next two."""
    place, votes = EIGHT.index(expression), [0] * 10
    votes[place] = 8
    for step in (1, 2):
        votes[(place + step) % 8] = 1
    return votes


def write_ferplus_csv(root: Path) -> Path:
    """
    The rows of the two files line up. Beside the faces: a training picture that validation has too, one without a
    majority (three expressions of four, three and three votes), one of unknown expression, and one without a name.
    """
    root.mkdir(parents=True, exist_ok=True)
    pictures = [["emotion", "pixels", "Usage"]]
    header = ["Usage", "Image name", "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear"]
    votes = [[*header, "contempt", "unknown", "NF"]]
    for part, usage in (("train", "Training"), ("validation", "PublicTest"), ("test", "PrivateTest")):
        cases = [(face, ferplus_votes_of(expression), True) for expression, _, face in faces_of(part)]
        if part == "train":
            cases += [
                (drawn("validation", "neutral", 0), ferplus_votes_of("neutral"), True),
                (draw_face(9, 0, SIZE), [0, 0, 0, 3, 4, 3, 0, 0, 0, 0], True),
                (draw_face(9, 1, SIZE), [0, 0, 0, 0, 0, 0, 2, 0, 8, 0], True),
                (draw_face(9, 2, SIZE), [0, 0, 0, 0, 0, 0, 0, 0, 0, 10], False),
            ]
        for face, counts, is_named in cases:
            values = np.asarray(face.image.convert("L")).ravel()
            pictures.append([0, " ".join(map(str, values)), usage])
            votes.append([usage, f"fer{len(votes) - 1:07d}.png" if is_named else "", *counts])
    for name, rows in (("fer2013.csv", pictures), ("fer2013new.csv", votes)):
        with open(root / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    return root


def write_ferplus_parquet(root: Path) -> Path:
    """The same faces and votes, by split, without the one that has no name."""
    import datasets

    root.mkdir(parents=True, exist_ok=True)
    tags = (*EIGHT, "unknown", "not_face")
    features = datasets.Features(
        {"image": datasets.Image(), "votes": {tag: datasets.Value("int32") for tag in tags}},
    )
    for part in ("train", "validation", "test"):
        cases = [(face, ferplus_votes_of(expression)) for expression, _, face in faces_of(part)]
        if part == "train":
            cases += [
                (drawn("validation", "neutral", 0), ferplus_votes_of("neutral")),
                (draw_face(9, 0, SIZE), [0, 0, 0, 3, 4, 3, 0, 0, 0, 0]),
                (draw_face(9, 1, SIZE), [0, 0, 0, 0, 0, 0, 2, 0, 8, 0]),
            ]
        columns = {
            "image": [face.image.convert("L") for face, _ in cases],
            "votes": [dict(zip(tags, counts, strict=True)) for _, counts in cases],
        }
        datasets.Dataset.from_dict(columns, features=features).to_parquet(root / f"{part}.parquet")
    return root


def write_sfew(root: Path) -> Path:
    for part, folder in (("train", "Train"), ("test", "Val")):
        for expression, number, face in faces_of(part, SEVEN):
            save(face.image, root / folder / SFEW[expression] / f"Film_{expression}_{part}_{number}.png")
    return root


def write_class_folders(root: Path) -> Path:
    for part in ("train", "validation", "test"):
        for expression, number, face in faces_of(part):
            save(face.image, root / part / expression / f"{number}.png")
    return root
