# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""pipeline("image-classification") and pipeline("image-feature-extraction") on a folder."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import pipeline

from modeling_simfle import SimFLEForImageClassification, SimFLEImageProcessor
from tests.new_process import run_alone
from tests.tiny import tiny_config
from training.data.drawn_faces import draw_face
from training.data.expressions import EXPRESSIONS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("classifier")
    labels = {"id2label": dict(enumerate(EXPRESSIONS)), "label2id": {name: i for i, name in enumerate(EXPRESSIONS)}}
    model = SimFLEForImageClassification(tiny_config(**labels))
    torch.nn.init.normal_(model.classifier.weight)
    model.eval().save_pretrained(folder)
    SimFLEImageProcessor(size=64).save_pretrained(folder)
    for index in range(3):
        draw_face(0, index, 96).image.save(folder / f"face_{index}.png")
    return folder


def by_hand(folder, index) -> dict[str, float]:
    pixels = SimFLEImageProcessor.from_pretrained(folder)(Image.open(folder / f"face_{index}.png"), return_tensors="pt")
    with torch.no_grad():
        scores = SimFLEForImageClassification.from_pretrained(folder)(**pixels).logits.softmax(1)[0]
    return dict(zip(EXPRESSIONS, scores.tolist(), strict=True))


def as_scores(found) -> dict[str, float]:
    return {row["label"]: row["score"] for row in found}


def test_classification_of_a_path_a_picture_and_a_list(folder):
    classify = pipeline("image-classification", model=str(folder))
    assert not classify.model.training
    paths = [str(folder / f"face_{index}.png") for index in range(3)]
    one = classify(paths[0], top_k=8)
    assert as_scores(one) == pytest.approx(by_hand(folder, 0), abs=1e-5)
    assert as_scores(classify(Image.open(paths[1]), top_k=8)) == pytest.approx(by_hand(folder, 1), abs=1e-5)
    for options in ({}, {"batch_size": 3}):
        several = classify([*paths[:2], Image.open(paths[2])], top_k=8, **options)
        for index, found in enumerate(several):
            assert as_scores(found) == pytest.approx(by_hand(folder, index), abs=1e-5)
    assert [row["score"] for row in one] == sorted((row["score"] for row in one), reverse=True)


def test_classification_in_a_new_process_without_the_package(folder, tmp_path):
    out = run_alone(
        "import json\nfrom transformers import pipeline\n"
        "classify = pipeline('image-classification', model=sys.argv[1], trust_remote_code=True)\n"
        "print(json.dumps(classify(sys.argv[2], top_k=8)))",
        folder,
        folder / "face_2.png",
        cache=tmp_path,
    )
    assert as_scores(json.loads(out.splitlines()[-1])) == pytest.approx(by_hand(folder, 2), abs=1e-5)


def test_feature_extraction(folder):
    extract = pipeline("image-feature-extraction", model=str(folder))
    features = np.array(extract(Image.open(folder / "face_0.png"), pool=True))
    assert features.shape == (1, 32)
    maps = np.array(extract(Image.open(folder / "face_0.png")))
    assert maps.shape == (1, 32, 2, 2)
    np.testing.assert_allclose(maps.mean((2, 3)), features, rtol=1e-4)
