# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""FaceExpressionPipeline with the published ResNet-18: photographs of all kinds, and a process without the package."""

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import datasets
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from modeling_simfle import FaceExpressionPipeline
from modeling_simfle.face_detection_simfle import crop_face, detect_faces, detector_file
from tests.hub.test_two_versions import PYTHON
from tests.new_process import ROOT, run_alone

FOLDER = ROOT / "hub_cards" / "simfle-resnet18-ferplus"
TASK = "face-expression-recognition"


@pytest.fixture(scope="module")
def photo():
    """A smiling woman (NASA, public domain), 512 x 512."""
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def photo_file(photo, tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    photo.save(path)
    return path


@pytest.fixture(scope="module")
def face(photo):
    """Her face with some of its surroundings: a square whose side is twice the face's height."""
    return crop_face(photo, detect_faces(photo)[0], margin=0.5)


@pytest.fixture(scope="module")
def classify():
    return pipeline(TASK, model=str(FOLDER), pipeline_class=FaceExpressionPipeline)


def collage(face, size, side, places, color=(120, 130, 140)):
    image = Image.new("RGB", size, color)
    for place in places:
        image.paste(face.resize((side, side), Image.Resampling.LANCZOS), place)
    return image


def labels(faces):
    return [face["label"] for face in faces]


# ---------------------------------------------------------------------------------------------------------------------
# A process without the package
# ---------------------------------------------------------------------------------------------------------------------

ALONE = """
import json
from PIL import Image
from transformers import AutoModelForImageClassification, pipeline
folder, photo, crop = sys.argv[1:4]
classify = pipeline(model=folder, trust_remote_code=True)
assert type(classify).__name__ == "FaceExpressionPipeline"
assert type(classify).__module__.startswith("transformers_modules")
faces = classify(photo)
named = pipeline("face-expression-recognition", model=folder, trust_remote_code=True)
assert named([photo], batch_size=2) == [faces]
whole = pipeline("image-classification", model=folder, trust_remote_code=True)(crop)
classify.save_pretrained("again")
assert pipeline(model="again", trust_remote_code=True)(photo) == faces
sys.modules["cv2"] = None
without = pipeline(model="again", trust_remote_code=True)  # loads all the same
for options in ({}, {"face_detector": lambda image: [(178, 63, 268, 176)]}):
    try: said = without(photo, **options)[0]["label"]
    except ImportError as error: said = str(error)
    print(said)
print(json.dumps([faces, whole]))
"""


@pytest.mark.parametrize(
    "python",
    [
        None,
        pytest.param(
            PYTHON,
            marks=pytest.mark.skipif(not PYTHON.is_file(), reason="no second environment with transformers 5.17"),
        ),
    ],
    ids=["here", "5.17"],
)
def test_a_photograph_in_a_new_process_without_package_and_network(python, photo, photo_file, classify, tmp_path):
    crop = crop_face(photo, detect_faces(photo)[0])
    crop.save(tmp_path / "crop.png")
    out = run_alone(ALONE, FOLDER, photo_file, tmp_path / "crop.png", cache=tmp_path, python=python).splitlines()
    assert 'pip install "simfle[photos]"' in out[-3] and out[-2] == "happiness"
    faces, whole = json.loads(out[-1])
    ours = classify(photo)
    assert labels(faces) == ["happiness"] and faces[0]["box"] == ours[0]["box"]
    assert faces[0]["score"] == pytest.approx(ours[0]["score"], abs=1e-4)
    assert whole[0]["label"] == "happiness" and set(whole[0]) == {"label", "score"} and len(whole) == 5


SAVE = """
import accelerate, json, torch
from transformers import AutoConfig, AutoModelForImageClassification, Trainer, TrainingArguments
from transformers.models.auto.image_processing_auto import AutoImageProcessor
source = sys.argv[1]
model = AutoModelForImageClassification.from_pretrained(source, trust_remote_code=True)
processor = AutoImageProcessor.from_pretrained(source, trust_remote_code=True)
accelerate.Accelerator(cpu=True).save_model(model, "by_accelerate")
model.config.save_pretrained("by_accelerate")
Trainer(model, TrainingArguments("by_trainer", use_cpu=True, report_to=[]), processing_class=processor).save_model()
AutoConfig.from_pretrained(source, trust_remote_code=True).save_pretrained("config_alone")
processor.save_pretrained("processor_alone")
"""
LOAD = """
import os, shutil
from transformers import AutoConfig, pipeline
from transformers.models.auto.image_processing_auto import AutoImageProcessor
AutoConfig.from_pretrained("config_alone", trust_remote_code=True)
AutoImageProcessor.from_pretrained("processor_alone", trust_remote_code=True)
shutil.copy("processor_alone/preprocessor_config.json", "by_accelerate")
for folder in ("by_accelerate", "by_trainer"):
    classify = pipeline(model=folder, trust_remote_code=True)
    print(classify(sys.argv[1])[0]["label"])
"""


@pytest.mark.parametrize("source", ["folder", "Hub cache"])
def test_whatever_saves_leaves_a_folder_that_stands_alone(source, photo_file, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "source")
    where = "source"
    if source == "Hub cache":
        commit, repository = "a" * 40, tmp_path / "hub" / "models--org--name"
        (repository / "snapshots").mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
        (tmp_path / "source").rename(repository / "snapshots" / commit)
        where = "org/name"
    run_alone(SAVE, where, cache=tmp_path)
    for gone in ("source", "hub", "modules"):
        shutil.rmtree(tmp_path / gone, ignore_errors=True)
    assert run_alone(LOAD, photo_file, cache=tmp_path).splitlines()[-2:] == ["happiness"] * 2


# ---------------------------------------------------------------------------------------------------------------------
# Answers and options
# ---------------------------------------------------------------------------------------------------------------------


def test_the_answer_of_one_face(classify, photo):
    (found,) = classify(photo)
    assert list(found) == ["label", "score", "box", "detection_score", "landmarks"]
    assert found["label"] == "happiness" and found["score"] > 0.99 and found["detection_score"] > 0.9
    assert found["box"] == pytest.approx({"xmin": 178, "ymin": 63, "xmax": 270, "ymax": 176}, abs=4)
    assert all(type(value) is int for value in found["box"].values())
    right_eye, left_eye, nose, right_corner, left_corner = found["landmarks"]
    assert right_eye[0] < nose[0] < left_eye[0] and right_corner[0] < left_corner[0]
    assert right_eye[1] < nose[1] < right_corner[1]


def test_the_whole_photograph_through_image_classification_is_what_it_was(photo):
    whole = pipeline("image-classification", model=str(FOLDER))(photo)
    assert whole[0]["label"] == "neutral" and whole[0]["score"] == pytest.approx(0.38, abs=0.02)


def test_by_name_with_the_package_it_needs_trust_or_the_class(monkeypatch):
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        pipeline(TASK, model=str(FOLDER))
    asked = []
    monkeypatch.setattr("builtins.input", asked.append)
    assert type(pipeline(TASK, model=str(FOLDER), pipeline_class=FaceExpressionPipeline)) is FaceExpressionPipeline
    assert not asked  # whether the folder's code may run


def test_top_k_features_and_calibration(classify, photo):
    (found,) = classify(photo, top_k=None, return_features=True)
    scores = list(found["scores"].values())
    assert len(scores) == 8 and scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1, abs=1e-5)
    assert next(iter(found["scores"])) == found["label"] and found["score"] == scores[0]
    assert list(classify(photo, top_k=3)[0]["scores"].values()) == scores[:3]
    pixels = classify.image_processor(crop_face(photo, found), return_tensors="pt")
    with torch.no_grad():
        features = classify.model.encoder(**pixels).pooler_output[0]
        logits = classify.model(**pixels).logits[0]
    np.testing.assert_allclose(found["features"], features, atol=1e-4)
    config = classify.model.config
    try:
        config.temperature, config.class_prior = 4.0, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0]
        (calibrated,) = classify(photo, top_k=None, calibrated=True)
        assert classify(photo) == classify(photo, calibrated=False)
        expected = (logits / 4 + torch.tensor(config.class_prior)).softmax(0)
        named = dict(zip(config.id2label.values(), expected.tolist()))
        assert calibrated["scores"] == pytest.approx(named, abs=1e-5) and calibrated["label"] == "contempt"
    finally:
        config.temperature, config.class_prior = 1.0, None


def test_every_way_in_and_batches_across_images(classify, photo, photo_file, face, local_address):
    two = collage(face, (640, 480), 200, [(20, 100), (300, 100)])
    none = Image.new("RGB", (300, 200), (10, 120, 50))
    expected = [classify(image) for image in (photo, two, none)]
    assert [len(faces) for faces in expected] == [1, 2, 0]
    for batch_size in (1, 2, 4):
        for way in ([photo, two, none], (image for image in (photo, two, none))):
            answers = list(classify(way, batch_size=batch_size))
            for faces, ours in zip(answers, expected, strict=True):
                assert [f["box"] for f in faces] == [f["box"] for f in ours] and labels(faces) == labels(ours)
    for one in (str(photo_file), local_address, np.asarray(photo)):
        assert classify(one) == expected[0]
    rows = datasets.Dataset.from_dict({"image": [str(photo_file)] * 2}).cast_column("image", datasets.Image())
    assert list(classify(KeyDataset(rows, "image"))) == [expected[0]] * 2


@pytest.fixture
def local_address(photo_file):
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    handler = partial(SimpleHTTPRequestHandler, directory=str(photo_file.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{photo_file.name}"
        server.shutdown()


def test_faces_come_the_largest_first_and_limited(classify, face):
    image = Image.new("RGB", (640, 480), (120, 130, 140))
    for side, place in ((100, (10, 10)), (260, (150, 100)), (180, (430, 200))):
        image.paste(face.resize((side, side)), place)
    heights = [f["box"]["ymax"] - f["box"]["ymin"] for f in classify(image)]
    assert len(heights) == 3 and heights == sorted(heights, reverse=True)
    assert len(classify(image, max_faces=2)) == 2
    assert len(classify(image, min_face_size=150)) == 1
    assert classify(image, detection_threshold=1.0) == []


def test_a_crop_needs_no_detection(classify, face):
    (found,) = classify(face, already_cropped=True)
    assert found["box"] == {"xmin": 0, "ymin": 0, "xmax": face.width, "ymax": face.height}
    assert found["detection_score"] is None and found["landmarks"] is None
    whole = pipeline("image-classification", model=str(FOLDER))(face)
    assert (found["label"], found["score"]) == (whole[0]["label"], pytest.approx(whole[0]["score"], abs=1e-5))


def test_margin_and_align_change_the_crop_alone(classify, photo):
    tilted = photo.rotate(20, Image.Resampling.BICUBIC)
    boxes = {json.dumps(classify(tilted, **more)[0]["box"]) for more in ({}, {"align": True}, {"margin": 0.1})}
    assert len(boxes) == 1
    assert len({classify(tilted, **more)[0]["score"] for more in ({}, {"align": True}, {"margin": 0.1})}) == 3
    assert classify(tilted, align=True)[0]["label"] == "happiness"


def test_ones_own_detector(classify, photo):
    ours = classify(photo)[0]
    (found,) = classify(photo, face_detector=lambda image: [list(ours["box"].values())])
    assert found["box"] == ours["box"] and found["score"] == pytest.approx(ours["score"], abs=1e-5)
    assert found["detection_score"] is None
    assert classify(photo, face_detector=detector_file()) == classify(photo)


@pytest.mark.parametrize(
    "options",
    [
        {"detection_threshold": 0},
        {"detection_threshold": "high"},
        {"min_face_size": 3},
        {"max_faces": 0},
        {"margin": -0.31},
        {"on_error": "ignore"},
        {"top_k": 0},
        {"face_detector": "nowhere.onnx"},
        {"face_detector": 7},
        {"detektion_threshold": 0.5},
    ],
    ids=json.dumps,
)
def test_an_option_that_cannot_be_used_is_named(classify, photo, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        classify(photo, **options)


# ---------------------------------------------------------------------------------------------------------------------
# Images of all kinds
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_before_detection(classify, photo, orientation, tmp_path):
    stored = {1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}[orientation]
    image = photo
    for transpose in stored:
        image = image.transpose(Image.Transpose(transpose))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    (found,) = classify(str(tmp_path / "turned.jpg"))
    assert found["label"] == "happiness" and found["box"]["xmin"] == pytest.approx(179, abs=3)


def test_a_photograph_on_its_side_without_exif_gives_no_face_or_one(classify, photo):
    for transpose in (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180):
        assert len(classify(photo.transpose(transpose))) <= 1


@pytest.mark.parametrize("mode", ["CMYK", "P", "L", "LA", "RGBA", "I;16", "1x1", "1x900"])
def test_odd_images_answer(classify, photo, mode, tmp_path):
    if mode == "I;16":
        image = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    elif mode[0] == "1":
        image = photo.resize(tuple(map(int, mode.split("x"))))
    else:
        image = photo.convert(mode)
    path = tmp_path / ("odd.jpg" if mode == "CMYK" else "odd.png")
    image.save(path)
    assert labels(classify(str(path))) == ([] if mode[0] == "1" else ["happiness"])


def test_images_that_cannot_be_read(classify, photo, tmp_path):
    bad = tmp_path / "bad.jpg"
    photo.save(bad)
    bad.write_bytes(bad.read_bytes()[:2000])
    large = tmp_path / "large.png"
    Image.new("1", (20_000, 20_000)).save(large)  # 400 megapixels
    for path, sentence in (
        (bad, "bad.jpg: .*cannot be read"),
        (large, "more than 178 megapixels"),
        ("no.jpg", "no.jpg"),
    ):
        with pytest.raises(ValueError, match=sentence):
            classify(str(path))
        skipped, faces = classify([str(path), photo], on_error="skip", batch_size=2)
        assert list(skipped) == ["error"] and str(path) in skipped["error"] and labels(faces) == ["happiness"]
    with pytest.raises(ValueError, match="more than 178 megapixels"):
        classify(np.broadcast_to(np.uint8(7), (14_000, 14_000)))


def test_fifty_faces(classify, face):
    image = collage(face, (1600, 800), 150, [(5 + 160 * i, 5 + 160 * j) for i in range(10) for j in range(5)])
    found = classify(image, batch_size=16)
    assert len(found) == 50 and labels(found).count("happiness") >= 48


def test_a_face_at_the_edge(classify, photo):
    box = classify(photo)[0]["box"]
    cut = photo.crop((box["xmin"] + 12, box["ymin"] + 10, 512, 512))
    (found,) = classify(cut)
    assert found["label"] == "happiness" and min(found["box"]["xmin"], found["box"]["ymin"]) <= 0


def test_four_faces_of_24_pixels_in_12_megapixels(classify, photo):
    side = 72  # three times the face's
    small = crop_face(photo, detect_faces(photo)[0], margin=1.0).resize((side, side), Image.Resampling.LANCZOS)
    places = [(300, 200), (3500, 400), (1990, 1480), (700, 2700)]
    boxes = [face["box"] for face in classify(collage(small, (4000, 3000), side, places), min_face_size=24)]
    centres = sorted(((box["xmin"] + box["xmax"]) / 2, (box["ymin"] + box["ymax"]) / 2) for box in boxes)
    np.testing.assert_allclose(centres, sorted((x + side / 2, y + side / 2) for x, y in places), atol=6)
    assert all(18 <= max(box["xmax"] - box["xmin"], box["ymax"] - box["ymin"]) <= 30 for box in boxes)


@pytest.mark.parametrize("side", [60, 160, 1000])
def test_a_tight_crop_of_any_size_is_found(classify, photo, side):
    crop = crop_face(photo, classify(photo)[0]).resize((side, side), Image.Resampling.BICUBIC)
    (found,) = classify(crop)
    box = found["box"]
    assert found["label"] == "happiness" and 0.85 < (box["ymax"] - box["ymin"]) / side < 1.15


# ---------------------------------------------------------------------------------------------------------------------
# Threads, processes, pickles
# ---------------------------------------------------------------------------------------------------------------------


def test_threads_share_a_pipeline(classify, photo, face):
    images = [photo, collage(face, (700, 400), 300, [(10, 20), (350, 50)]), photo.resize((300, 300))] * 3
    expected = [classify(image) for image in images[:3]] * 3
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(classify, images))
    assert [[f["box"] for f in faces] for faces in answers] == [[f["box"] for f in faces] for faces in expected]


def test_a_pickled_pipeline_answers_the_same(classify, photo):
    assert pickle.loads(pickle.dumps(classify))(photo) == classify(photo)


def test_datasets_map_with_two_processes(classify, photo_file):
    rows = datasets.Dataset.from_dict({"path": [str(photo_file)] * 4})

    def add_labels(row):
        torch.set_num_threads(1)
        return {"labels": [face["label"] for face in classify(row["path"])]}

    mapped = rows.map(add_labels, num_proc=2, load_from_cache_file=False)
    assert mapped["labels"][:] == [["happiness"]] * 4


def test_a_model_in_training_mode_does_not_learn_from_photographs(classify, photo):
    model = type(classify.model).from_pretrained(FOLDER).train()
    again = pipeline(TASK, model=model, image_processor=classify.image_processor, pipeline_class=FaceExpressionPipeline)
    assert not model.training and again(photo)[0]["label"] == "happiness"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu(photo):
    classify = pipeline(TASK, model=str(FOLDER), pipeline_class=FaceExpressionPipeline, device="cuda")
    assert labels(classify([photo, photo], batch_size=2)[1]) == ["happiness"]
