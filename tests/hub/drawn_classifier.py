# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""A tiny classifier that tells drawn faces apart, by chance rather than by training."""

from pathlib import Path

import torch

from modeling_simfle import SimFLEForImageClassification, SimFLEImageProcessor
from tests.tiny import tiny_config
from training.data.drawn_faces import draw_face
from training.data.expressions import EXPRESSIONS


@torch.no_grad()
def save_classifier(folder: Path, do_grayscale: bool = False) -> Path:
    """Saves model and processor (64 px). BatchNorm knows drawn faces; the logits of faces differ by about one."""
    torch.manual_seed(0)
    labels = {"id2label": dict(enumerate(EXPRESSIONS)), "label2id": {name: i for i, name in enumerate(EXPRESSIONS)}}
    model = SimFLEForImageClassification(tiny_config(use_local_branch=False, **labels))
    options = {"do_grayscale": True, "image_mean": 0.5, "image_std": 0.25} if do_grayscale else {}
    processor = SimFLEImageProcessor(size=64, **options)
    pixel_values = processor([draw_face(7, i, 64).image for i in range(32)], return_tensors="pt").pixel_values
    for _ in range(50):  # running statistics move by a tenth
        model.train().encoder(pixel_values)
    features = model.eval().encoder(pixel_values).pooler_output
    model.classifier.weight.normal_().div_(4 * features.std(0))
    model.classifier.bias.copy_(-model.classifier.weight @ features.mean(0))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
