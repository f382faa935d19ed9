# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The Python of docs/photos.md runs as it stands. Stand-ins take the place of packages that are not installed here."""

import re
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from tests.new_process import ROOT

BOX = (178, 63, 268, 176)
POINTS = {
    "right_eye": [201.0, 101.0],
    "left_eye": [240.0, 100.0],
    "nose": [221.0, 122.0],
    "mouth_right": [206.0, 144.0],
    "mouth_left": [240.0, 143.0],
}


@pytest.fixture
def page(monkeypatch, tmp_path):
    """The names that the page's code leaves behind, and what it printed; photo.jpg is the astronaut."""
    text = (ROOT / "docs" / "photos.md").read_text(encoding="utf-8").replace("hub_cards/", f"{ROOT}/hub_cards/")
    monkeypatch.chdir(tmp_path)
    Image.fromarray(astronaut()).save("photo.jpg")
    printed, names = [], {}
    names["print"] = lambda *values: printed.append(values)
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code, names)
    return SimpleNamespace(**names), printed


def stand_in(monkeypatch, name, **content):
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


def test_the_code_of_the_page(page, monkeypatch):
    names, printed = page
    (label, _, scores), (own,) = printed
    assert label == "happiness" and len(scores) == 8
    assert [face["label"] for face in own] == ["happiness"]
    assert tuple(own[0]["box"].values()) == BOX
    seen = []

    class RetinaFace:
        @staticmethod
        def detect_faces(pixels):
            seen.append(pixels)
            return {"face_1": {"score": 0.9, "facial_area": list(BOX), "landmarks": POINTS}}

    stand_in(monkeypatch, "retinaface", RetinaFace=RetinaFace)
    (face,) = names.classify("photo.jpg", face_detector=names.retina_face)
    with Image.open("photo.jpg") as photo:
        assert (seen[0] == np.asarray(photo)[:, :, ::-1]).all()
    assert (face["label"], face["detection_score"], tuple(face["box"].values())) == ("happiness", 0.9, BOX)
    assert face["landmarks"] == list(POINTS.values())
    monkeypatch.setattr(RetinaFace, "detect_faces", staticmethod(lambda pixels: ()))  # as it answers without a face
    assert names.classify("photo.jpg", face_detector=names.retina_face) == []

    box = SimpleNamespace(origin_x=178, origin_y=63, width=90, height=113)
    found = SimpleNamespace(bounding_box=box, categories=[SimpleNamespace(score=0.8)])
    formats = SimpleNamespace(SRGB=1)
    stand_in(monkeypatch, "mediapipe", Image=lambda image_format, data: data, ImageFormat=formats)
    detector = SimpleNamespace(detect=lambda picture: SimpleNamespace(detections=[found]))
    (face,) = names.classify("photo.jpg", face_detector=names.media_pipe(detector))
    assert (face["label"], face["detection_score"], tuple(face["box"].values())) == ("happiness", 0.8, BOX)
