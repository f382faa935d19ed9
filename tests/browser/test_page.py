# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The page (hub_cards/simfle-space) as visitors meet it. `make test`; skipped without Chromium or Node.js."""

import csv
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import PLAIN, REPORT
from tests.new_process import ROOT

SPACE = ROOT / "hub_cards" / "simfle-space"
LABELS = list(json.loads((PLAIN / "config.json").read_text())["id2label"].values())
ASTRONAUT = {"xmin": 178, "ymin": 63, "xmax": 268, "ymax": 176}
pytestmark = pytest.mark.timeout(900)  # a bound for hangs: the first test waits for all visits
HOSTS = ("http://127.0.0.1:", "https://cdn.jsdelivr.net/npm/onnxruntime-web@", "https://huggingface.co/")


def differences(page: list[dict], python: list[dict]) -> tuple[float, float]:
    """The largest differences of boxes, as a share of the box's larger side, and of probabilities."""
    boxes, probabilities = [0.0], [0.0]
    for ours, theirs in zip(page, python, strict=True):
        corners, side = theirs["box"], max(theirs["box"][f"{c}max"] - theirs["box"][f"{c}min"] for c in "xy")
        boxes += [abs(ours["box"][key] - corners[key]) / side for key in corners]
        probabilities += [abs(ours["scores"][label] - theirs[label]) for label in LABELS]
    return max(boxes), max(probabilities)


def test_the_page_gives_pythons_faces(seen, wanted):
    worst = np.zeros(2)
    for name, answer in seen["photographs"].items():
        assert [face["label"] for face in answer["faces"]] == [row["label"] for row in wanted[name]], name
        found = differences(answer["faces"], wanted[name])
        assert found[0] <= 0.03 and found[1] <= 0.05, (name, found)
        worst = np.maximum(worst, found)
    faces = sum(map(len, wanted.values()))
    REPORT.append(f"page against `simfle --calibrated`, {faces} faces in {len(wanted)} pictures: boxes differ by at")
    REPORT.append(f"  most {100 * worst[0]:.2f} % of their side, probabilities by at most {worst[1]:.4f}")
    assert faces >= 30 and len(seen["photographs"]) >= 12


def test_times_are_reported(seen):
    moments = dict(seen["first"]["moments"])
    arrival = max(time for said, time in moments.items() if said.endswith("MB"))
    times, answers = np.array(seen["milliseconds"]), np.array(seen["camera"]["answers"])
    REPORT.append(f"page, first answer {moments['done'] - arrival:.0f} ms after the models' arrival; then a photo of")
    REPORT.append(f"  1,280 x 960 with one face: median {np.median(times):.0f} ms of {np.sort(times).round().tolist()}")
    REPORT.append(f"page, camera: {1000 / np.median(np.diff(answers)):.1f} answers a second (median)")
    assert (times > 0).all() and len(answers) > 10


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_photo_by_drop_and_paste(seen, way):
    assert seen[way]["state"] == "done" and "1 face: face 1 happiness" in seen[way]["status"]
    (face,) = seen[way]["faces"]
    assert face["label"] == "happiness" and face["box"] == pytest.approx(ASTRONAUT, abs=2)


def test_a_photo_chosen_before_the_models_are_there_waits_for_them(seen):
    assert seen["first"]["state"] == "done" and "1 face" in seen["first"]["status"]


def test_several_faces_by_the_dialog_and_the_keyboard(seen):
    faces = seen["dialog"]["faces"]
    assert len(faces) == 6 and len({face["label"] for face in faces}) > 2
    for face, bars in zip(faces, seen["bars"]):  # one press of the arrow key a face
        shown = dict(bar.replace("\xa0%", "").split("\n") for bar in bars)
        assert list(shown) == LABELS
        assert {label: float(share) for label, share in shown.items()} == pytest.approx(
            {label: 100 * score for label, score in face["scores"].items()}, abs=0.051
        )


def test_every_control_is_reached_by_the_tab_key_and_shows_it(seen):
    stops = seen["tabStops"]
    assert [stop["name"] for stop in stops[:7]] == ["file", "camera", "radio", "csv", "json", "png", "table"]
    assert len(stops) >= 10 and all(stop["visible"] for stop in stops)


def test_what_a_screen_reader_gets(seen):
    head, *rows = seen["table"]
    assert head == ["Face", "Expression", "Left", "Top", "Width", "Height", *LABELS]
    assert [row[1] for row in rows] == [face["label"] for face in seen["dialog"]["faces"]]
    assert "with 6 faces: face 1 neutral" in seen["picture"]


@pytest.mark.parametrize("where", ["light", "dark", "noFace"])
def test_axe_finds_no_violation(seen, where):
    assert seen["axe"][where] == []


def test_downloads(seen, plan):
    rows = list(csv.DictReader(io.StringIO(seen["csv"])))
    assert list(rows[0]) == ["image", "face", "box", "detection_score", "label", "score", *LABELS, "error"]
    for index, (row, face) in enumerate(zip(rows, seen["dialog"]["faces"], strict=True)):
        assert (row["image"], row["face"], row["label"]) == ("six.png", str(index), face["label"])
        assert list(map(int, row["box"].split())) == [face["box"][key] for key in ("xmin", "ymin", "xmax", "ymax")]
        assert sum(float(row[label]) for label in LABELS) == pytest.approx(1, abs=1e-4)
    annotated, photo = (
        np.asarray(Image.open(file).convert("RGB")) for file in (seen["png"], plan["folder"] / "six.png")
    )
    assert annotated.shape == photo.shape
    box = seen["dialog"]["faces"][0]["box"]
    assert (annotated[box["ymin"], box["xmin"] : box["xmax"]] != photo[box["ymin"], box["xmin"] : box["xmax"]]).any()
    assert (annotated[:20, :20] == photo[:20, :20]).all()


def test_no_face_and_odd_pictures(seen):
    for name in ("coffee.png", "pixel.png"):
        answer = seen["photographs"][name]
        assert answer["status"].startswith(f"No face was found in {name}.") and answer["faces"] == []
    for name in ("turned.jpg", "transparent.png", "palette.gif", "cmyk.jpg", "profile.png"):
        (face,) = seen["photographs"][name]["faces"]
        assert face["label"] == "happiness" and face["box"] == pytest.approx(ASTRONAUT, abs=5), name


def test_the_camera(seen):
    camera = seen["camera"]
    assert camera["state"] == "camera" and "Face 1: happiness" in camera["label"]
    assert camera["off"]["status"] == "The camera is off."


SENTENCES = {
    "classifier": "The classifier simfle/simfle-resnet18-ferplus-plain cannot be reached.",
    "config": "The classifier simfle/simfle-resnet18-ferplus-plain cannot be reached.",
    "detector": "The face detector cannot be reached.",
    "otherDetector": "The face detector is not the file that this page was made for",
    "runtime": "The runtime of the models cannot be reached.",
    "wasm": "The runtime of the models cannot be reached.",
    "noOnnx": "simfle/simfle-resnet50-ferplus has no ONNX file",
    "noModel": "There is no public classifier simfle/unknown on the Hub.",
    "noName": "“../../other” is not the name of a model.",
    "noWebAssembly": "This browser has no WebAssembly",
    "cameraRefused": "The camera was refused.",
    "cameraAbsent": "No camera was found.",
    "wrongType": "notes.txt is not a picture.",
    "broken": "broken.jpg cannot be read as a picture.",
}


@pytest.mark.parametrize("what", SENTENCES)
def test_a_failure_has_its_sentence(seen, what):
    said = seen["failures"][what]
    assert said["state"] == "problem" and said["problem"].startswith(SENTENCES[what])
    assert re.search(r"[.)]$", said["problem"]) and "Error" not in said["problem"]


def test_nothing_of_a_photo_leaves_the_browser(seen):
    """No request at all while photos and camera frames are classified; before that, downloads alone."""
    assert seen["requests"] == []
    for request in seen["allRequests"]:
        assert request["url"].startswith((*HOSTS, "blob:")) and len(request["url"]) < 200
        assert request["method"] == "GET" and request["body"] == ""
    assert seen["stored"] == ["", 0, 0]  # cookies, local and session storage


def test_the_policy_lets_the_page_reach_the_model_hosts_alone(seen):
    page = (SPACE / "index.html").read_text()
    assert seen["csp"] == ["blocked", 404]  # another host; where the Hub redirects to
    assert "unsafe-inline" not in page and "'unsafe-eval'" not in page
    assert re.findall(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", page) == []
    assert seen["problems"] == [] and seen["isolated"] is True


def test_a_second_visit_takes_the_models_from_the_cache(seen):
    assert any(said.endswith("MB") for said, _ in seen["first"]["moments"])
    assert seen["again"]["state"] == "ready"
    assert not [url for url in seen["again"]["urls"] if url.endswith((".onnx", ".wasm"))]


def test_widths_schemes_and_motion(seen):
    shapes = seen["shapes"]
    for name, shape in shapes.items():
        width = int(name.split()[1])
        assert shape["content"] <= width and 0.3 * min(width, 1200) < shape["picture"] <= width, name
    assert shapes["light 360"]["ground"] != shapes["dark 360"]["ground"]
    assert shapes["light 360"]["motion"] == "0.2s" and shapes["dark 360"]["motion"] == "0s"  # dark runs are calm


def test_a_temperature_in_the_config_calibrates(seen):
    for face, plain in zip(seen["calibrated"], seen["dialog"]["faces"], strict=True):
        published = json.loads((PLAIN / "config.json").read_text()).get("temperature", 1)
        expected = np.array([plain["scores"][label] for label in LABELS]) ** (published / 2)
        assert [face["scores"][label] for label in LABELS] == pytest.approx(expected / expected.sum(), abs=0.01)


def test_the_page_is_short_and_says_its_limits():
    files = [file for suffix in ("html", "css", "js") for file in SPACE.glob(f"*.{suffix}")]
    assert sum(len(file.read_text().splitlines()) for file in files) < 900
    text = " ".join((SPACE / "index.html").read_text().split())
    for limit in ("at work and in education", "not what a person feels", "not measured by age, skin tone or gender"):
        assert limit in text
