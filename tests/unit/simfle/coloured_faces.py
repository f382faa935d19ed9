# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""A classifier of coloured squares in place of faces, and pictures and videos of them."""

from pathlib import Path

import numpy as np
from PIL import Image

from simfle.arguments import parse_arguments
from simfle.run import run

CLASSES = ["neutral", "happiness", "anger"]
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
LABELS = {"green": "neutral", "blue": "happiness", "red": "anger"}


class ColouredFaces:
    """Finds one face of each colour; its expression is the colour's. The interface of FaceClassifier."""

    classes, hash = CLASSES, "1" * 64

    def __init__(self):
        self.batches: list[int] = []

    def prepare(self, image: Image.Image) -> list[dict]:
        pixels, faces = np.asarray(image).astype(int), []
        for colour in COLOURS.values():
            rows, columns = np.nonzero((np.abs(pixels - colour) < 60).all(2))
            if len(rows) > 20:
                left, top, right, bottom = (int(v) for v in (columns.min(), rows.min(), columns.max(), rows.max()))
                box = {"xmin": left, "ymin": top, "xmax": right + 1, "ymax": bottom + 1}
                faces.append({"box": box, "mean": pixels[rows, columns].mean(0)})
        return faces

    def predict(self, faces: list[dict]) -> list[dict]:
        self.batches.append(len(faces))
        answers = []
        for face in faces:
            red, green, blue = (face["mean"] + 10) / (face["mean"] + 10).sum()
            answers.append({"neutral": float(green), "happiness": float(blue), "anger": float(red)})
        return answers

    def describe(self, faces: list[dict], answers: list[dict]) -> list[dict]:
        return [{"box": face["box"], "detection_score": 0.9, "scores": scores} for face, scores in zip(faces, answers)]


def picture(*squares, size=(160, 120)) -> Image.Image:
    """squares: (colour, left, top, side)."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for colour, left, top, side in squares:
        pixels[top : top + side, left : left + side] = COLOURS[colour]
    return Image.fromarray(pixels)


def write_video(path: Path, frames: list, rate: float = 10, codec: str = "MJPG") -> None:
    """frames: Pillow images of one size."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, frames[0].size)
    for frame in frames:
        writer.write(np.ascontiguousarray(np.asarray(frame)[:, :, ::-1]))
    writer.release()


def analyse(*arguments, classifier=None) -> int:
    """The exit status of the command with these arguments."""
    argv = [str(argument) for argument in arguments]
    return run(parse_arguments([*argv, "--model", "coloured"]), classifier or ColouredFaces())
