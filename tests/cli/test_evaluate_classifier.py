# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""evaluate_classifier.py from the command line, over our models and over others'."""

import io
import json
import shutil

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image
from skimage.data import astronaut
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification
from transformers.models.convnext import ConvNextImageProcessorPil
from transformers.models.vit import ViTImageProcessorPil

from modeling_simfle.pipeline_simfle import FaceExpressionPipeline
from tests.new_process import ROOT
from tests.real_data import FOLDER, needs_real_faces
from training import evaluate_classifier
from training.data.expressions import EXPRESSIONS
from training.measuring.classification import KEYS, PREDICTION_COLUMNS, read_table
from training.models.label_map import class_probabilities, map_outputs, measured_classes
from training.models.loading import load_classifier

THEIRS = ("angry", "Disgust", "FEAR", "happy", "sad", "surprised", "neutral")  # no contempt


def call(*arguments):
    evaluate_classifier.main([str(argument) for argument in arguments])


def read(folder):
    return json.loads((folder / "metrics.json").read_text())


def save_vit(folder, labels):
    """A small random ViT with its own processor, half-precision weights: the dtype that its config asks for."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = ViTConfig(**sizes, image_size=32, patch_size=16, id2label=dict(enumerate(labels)))
    ViTForImageClassification(config).half().save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_vit(tmp_path_factory.mktemp("vit"), THEIRS)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """A ViT of ten outputs LABEL_0 ... and a map of them: ours, then one synonym, then nothing."""
    folder = save_vit(tmp_path_factory.mktemp("numbered"), [f"LABEL_{i}" for i in range(10)])
    label_map = {f"LABEL_{i}": name for i, name in enumerate(EXPRESSIONS)} | {"8": "Happy", "LABEL_9": None}
    path = folder / "map.json"
    path.write_text(json.dumps(label_map))
    return folder, path


@pytest.fixture(scope="module")
def flags(faces):
    return ["--dataset", faces, "--num_workers", 0]


def test_the_temperature_is_fitted_stored_and_used(classifier, faces, tmp_path):
    folder = shutil.copytree(classifier[0], tmp_path / "model")
    flags = ["--model", folder, "--dataset", faces, "--eval_split", "train", "--num_workers", 0]
    call(*flags, "--output_dir", tmp_path / "before")
    assert "temperature" not in read(tmp_path / "before")
    call(*flags, "--output_dir", tmp_path / "fitted", "--fit_temperature", "true")
    call(*flags, "--output_dir", tmp_path / "after")
    stored = json.loads((folder / "config.json").read_text())["temperature"]
    fitted, after = read(tmp_path / "fitted"), read(tmp_path / "after")
    assert stored != 1 and load_classifier(str(folder))[0].config.temperature == stored
    names = ("accuracy", "expected_calibration_error", "temperature", "calibrated_expected_calibration_error")
    assert [fitted[name] for name in names] == [after[name] for name in names]
    assert fitted["temperature"] == stored
    assert fitted["accuracy"] == read(tmp_path / "before")["accuracy"]
    with pytest.raises(ValueError, match="--fit_temperature takes a folder, and neither --detect"):
        call(*flags, "--output_dir", tmp_path / "no", "--fit_temperature", "true", "--detect", "true")


def test_everything_of_a_saved_probe(classifier, flags, tmp_path):
    folder, probe = classifier
    call("--model", folder, *flags, "--per_device_eval_batch_size", 5, "--output_dir", tmp_path / "run")
    metrics = read(tmp_path / "run")
    assert set(KEYS) <= set(metrics)
    assert (metrics["accuracy"], metrics["confusion_matrix"]) == (probe["accuracy"], probe["confusion_matrix"])
    assert (metrics["method"], metrics["choices"], metrics["label_percent"]) == ("evaluation", 0, 100)
    assert metrics["num_bad_images"] == 0
    assert metrics["seed"] == probe["seed"]
    low, high = metrics["accuracy_interval"]
    assert 0 <= low <= metrics["accuracy"] <= high <= 1
    assert 0 <= metrics["expected_calibration_error"] <= 1
    assert metrics["model_labels"] == {name: name for name in EXPRESSIONS}
    assert metrics["preprocessing"]["image_processor"] == "SimFLEImageProcessor"
    predictions = read_table(tmp_path / "run" / "predictions.csv", PREDICTION_COLUMNS)
    assert predictions.index.tolist() == list(range(16))
    assert (predictions["label"] == predictions["prediction"]).mean() == metrics["accuracy"]
    with Image.open(tmp_path / "run" / "confusion_matrix.png") as picture:
        assert min(picture.size) > 300
    names = {"metrics.json", "predictions.csv", "confusion_matrix.png"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names


def test_another_model_of_seven_expressions(vit, flags, tmp_path, capsys):
    call("--model", vit, *flags, "--output_dir", tmp_path / "run")
    metrics = read(tmp_path / "run")
    said = "the model has no output for contempt (2 images): counted wrong"
    assert said in capsys.readouterr().out
    assert metrics["protocol"].endswith(said)
    assert metrics["class_names"] == list(EXPRESSIONS)
    assert (metrics["num_images"], metrics["per_class"]["contempt"]["count"]) == (16, 2)
    assert metrics["per_class"]["contempt"]["recall"] == 0
    assert metrics["model_labels"] == dict(zip(THEIRS, [EXPRESSIONS[i] for i in (4, 5, 6, 1, 3, 2, 0)], strict=True))
    assert metrics["preprocessing"]["size"] == {"height": 32, "width": 32}
    assert metrics["preprocessing"]["do_rescale"] is True


def test_predictions_are_the_models_own(vit, flags, faces, tmp_path):
    call("--model", vit, *flags, "--output_dir", tmp_path / "run")
    model = ViTForImageClassification.from_pretrained(vit, dtype=torch.float32).eval()
    processor = ViTImageProcessorPil.from_pretrained(vit)
    predictions = read_table(tmp_path / "run" / "predictions.csv", PREDICTION_COLUMNS)
    ours = [EXPRESSIONS[i] for i in (4, 5, 6, 1, 3, 2, 0)]
    for index, path in enumerate(sorted((faces / "validation").rglob("*.png"))):
        with Image.open(path) as image, torch.no_grad():
            logits = model(**processor(image.convert("RGB"), return_tensors="pt")).logits
        assert EXPRESSIONS[predictions["prediction"][index]] == ours[logits.argmax()]
        assert EXPRESSIONS[predictions["label"][index]] == path.parent.name


def test_a_stock_resnet_that_crops(flags, tmp_path):
    names = dict(enumerate(EXPRESSIONS))
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", id2label=names)
    ResNetForImageClassification(config).save_pretrained(tmp_path / "resnet")
    processor = ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875)
    processor.save_pretrained(tmp_path / "resnet")
    call("--model", tmp_path / "resnet", *flags, "--output_dir", tmp_path / "run")
    assert read(tmp_path / "run")["preprocessing"]["size"] == {"shortest_edge": 32}
    assert read(tmp_path / "run")["preprocessing"]["crop_pct"] == 0.875


def test_a_label_map_by_label_and_number(numbered, flags, tmp_path):
    folder, path = numbered
    call("--model", folder, "--label_map", path, *flags, "--output_dir", tmp_path / "run")
    labels = read(tmp_path / "run")["model_labels"]
    assert (labels["LABEL_3"], labels["LABEL_8"], labels["LABEL_9"]) == ("sadness", "happiness", None)


def test_probabilities_of_dropped_and_joined_outputs():
    outputs = map_outputs({0: "x", 1: "a", 2: "sad", 3: "b"}, ("a", "b"), {"x": None, "2": "a"})
    assert outputs == [None, "a", "a", "b"]
    logits = np.log(np.array([[50, 1, 2, 1], [1, 4, 4, 8]], dtype=np.float64))
    assert np.allclose(class_probabilities(logits, outputs, ["a", "b"]), [[0.75, 0.25], [0.5, 0.5]])
    extreme = class_probabilities(np.array([[0, 1e4, -1e4, 0]], dtype=np.float32), outputs, ["a", "b", "c"])
    assert extreme.tolist() == [[1, 0, 0]]


def test_classes_that_differ_in_case_alone_stay_apart():
    assert map_outputs({0: "dog", 1: "Dog", 2: "Sad"}, ("Dog", "dog", "sad"), {}) == ["dog", "Dog", "sadness"]
    assert map_outputs({0: "DOG"}, ("Dog", "dog"), {}) == ["Dog"]


def test_classes_of_a_table():
    assert measured_classes(["fear", "neutral"], ("happy", "sad")) == list(EXPRESSIONS[:7])
    assert measured_classes(["fear", "neutral"], ("contempt",)) == list(EXPRESSIONS)
    assert measured_classes(["dog", None, "cat", "dog"], ("cat", "dog", "bird")) == ["dog", "cat"]


@pytest.mark.parametrize(
    "content,sentence",
    [
        (None, "does not exist; give a JSON file"),
        ("{", "is not JSON"),
        ("[1]", "must be like"),
        ('{"LABEL_0": 3}', "must be like"),
        ('{"LABEL_10": "fear"}', "--label_map names LABEL_10; the model's labels are LABEL_0"),
        ('{"LABEL_0": "boredom"}', "boredom, LABEL_1, .* is none of the classes neutral"),
        (json.dumps({str(i): None for i in range(10)}), "drops every output"),
    ],
)
def test_bad_label_maps(content, sentence, numbered, flags, tmp_path):
    path = tmp_path / "map.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        call("--model", numbered[0], "--label_map", path, *flags, "--output_dir", tmp_path / "run")


def test_labels_that_no_synonym_knows_ask_for_a_map(numbered, flags, script, tmp_path):
    done = script("evaluate_classifier", "--model", numbered[0], *flags, "--output_dir", tmp_path / "run", check=2)
    assert "LABEL_0, LABEL_1" in done.stderr
    assert "give a --label_map" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_knows_none_of_the_images(vit, tmp_path):
    folder = tmp_path / "faces" / "validation" / "contempt"
    folder.mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(folder / "x.png")
    flags = ["--dataset", tmp_path / "faces", "--num_workers", 0, "--output_dir", tmp_path / "run"]
    with pytest.raises(ValueError, match=r"the model has outputs for anger, .*: none of the images' classes"):
        call("--model", vit, *flags)


def test_odd_images_and_an_empty_class(classifier, tmp_path):
    folder = tmp_path / "faces" / "validation"
    for name in ("neutral", "fear", "disgust"):
        (folder / name).mkdir(parents=True)
    Image.new("L", (30, 50)).save(folder / "neutral" / "gray.png")
    Image.new("RGBA", (30, 50)).save(folder / "neutral" / "alpha.png")
    Image.new("I;16", (30, 50)).save(folder / "fear" / "deep.png")
    (folder / "fear" / "broken.png").write_bytes(b"no image")
    flags = ["--model", classifier[0], "--dataset", tmp_path / "faces", "--num_workers", 0]
    with pytest.raises(ValueError, match="1 bad images are more than --max_bad_images 0"):
        call(*flags, "--output_dir", tmp_path / "strict")
    call(*flags, "--max_bad_images", 1, "--output_dir", tmp_path / "run")
    metrics = read(tmp_path / "run")
    assert (metrics["num_images"], metrics["num_bad_images"]) == (3, 1)
    assert metrics["per_class"]["disgust"]["count"] == 0
    indices = read_table(tmp_path / "run" / "predictions.csv", PREDICTION_COLUMNS).index.tolist()
    assert indices == [1, 2, 3]  # broken.png comes first of all, in the order of paths


def test_code_beside_a_model_runs_only_when_trusted(vit, flags, tmp_path):
    folder = tmp_path / "remote"
    folder.mkdir()
    for path in vit.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "other_vit", "auto_map": {"AutoConfig": "other.OtherConfig"}}
    config["auto_map"]["AutoModelForImageClassification"] = "other.OtherForImageClassification"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "other.py").write_text(
        "from transformers import ViTConfig, ViTForImageClassification\n\n\n"
        "class OtherConfig(ViTConfig):\n    model_type = 'other_vit'\n\n\n"
        "class OtherForImageClassification(ViTForImageClassification):\n    config_class = OtherConfig\n"
    )
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        call("--model", folder, *flags, "--output_dir", tmp_path / "no")
    call("--model", folder, "--trust_remote_code", *flags, "--output_dir", tmp_path / "yes")
    assert read(tmp_path / "yes")["num_images"] == 16


PUBLISHED = ROOT / "hub_cards" / "simfle-resnet18-ferplus"


def write_photographs(path):
    """
    A Parquet file of six photographs with names as labels: the astronaut, she small beside herself large, her face as
    a tight crop, a photograph without a face, one with another label, and one without a label.
    """
    photo = Image.fromarray(astronaut())
    two = Image.new("RGB", (900, 512), "gray")
    two.paste(photo.resize((200, 200)), (0, 0))
    two.paste(photo, (300, 0))
    tight, empty = photo.crop((175, 60, 275, 180)), Image.new("RGB", (300, 200), "gray")
    labels = ["happiness", "happiness", "Happy", "neutral", "anger", None]
    cells = []
    for image in (photo, two, tight, empty, photo, photo):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    features = Features({"image": ImageFeature(), "mood": Value("string")})
    Dataset.from_dict({"image": cells, "mood": labels}, features=features).to_parquet(str(path))
    return path, [photo, two, tight, empty]


def test_photographs_behind_the_detector(tmp_path, capsys):
    path, photographs = write_photographs(tmp_path / "photographs.parquet")
    flags = ["--model", PUBLISHED, "--dataset", path, "--label_column", "mood", "--num_workers", 1]
    flags += ["--detect", "--classes", "happiness", "neutral", "--output_dir"]
    call(*flags, tmp_path / "run")
    assert "no face was found in 1 of them; these count as wrong" in capsys.readouterr().out
    metrics, predictions = read(tmp_path / "run"), read_table(tmp_path / "run" / "predictions.csv", PREDICTION_COLUMNS)
    assert (metrics["num_images"], metrics["num_images_without_face"], metrics["num_bad_images"]) == (4, 1, 0)
    assert metrics["accuracy"] == 0.75
    assert metrics["class_names"] == [*EXPRESSIONS, "no face found"]
    assert metrics["mean_class_accuracy"] == 0.5  # of happiness, 1, and of neutral, 0
    model, processor, _ = load_classifier(str(PUBLISHED))
    classify = FaceExpressionPipeline(model=model, image_processor=processor)
    for photograph, prediction in zip(photographs, predictions["prediction"], strict=True):
        faces = classify(photograph)
        assert (faces[0]["label"] if faces else "no face found") == metrics["class_names"][prediction]
    call(*flags, tmp_path / "narrow", "--margin", -0.2)
    assert read(tmp_path / "narrow")["margin"] == -0.2
    assert "happiness, neutral alone" in metrics["protocol"]


def test_the_rows_of_some_classes_keep_their_numbers(vit, tmp_path):
    path, _ = write_photographs(tmp_path / "photographs.parquet")
    flags = ["--model", vit, "--dataset", path, "--label_column", "mood", "--num_workers", 0, "--output_dir"]
    with pytest.raises(ValueError, match="1 of the 6 rows have no 'mood'"):
        call(*flags, tmp_path / "all")
    call(*flags, tmp_path / "run", "--classes", "neutral", "angry")
    metrics = read(tmp_path / "run")
    assert (metrics["num_images"], "num_images_without_face" in metrics) == (2, False)
    assert read_table(tmp_path / "run" / "predictions.csv", PREDICTION_COLUMNS).index.tolist() == [3, 4]


@pytest.mark.parametrize(
    "more,sentence",
    [
        (["--classes", "fear", "boredom"], "no image of .* is of class fear, boredom; its classes are neutral, "),
        (["--margin", 0.1], "--margin widens the crop that --detect makes"),
        (["--detect", "--margin", -0.4], r"--margin -0\.4 must be in \[-0\.3, 10\]"),
    ],
)
def test_bad_flags_of_detection(vit, more, sentence, tmp_path):
    path, _ = write_photographs(tmp_path / "photographs.parquet")
    flags = ["--dataset", path, "--label_column", "mood", "--output_dir", tmp_path / "run"]
    with pytest.raises(ValueError, match=sentence):
        call("--model", vit, *flags, *more)


@needs_real_faces
@pytest.mark.slow
@pytest.mark.parametrize(
    "name,rows,least,most_missed",
    [
        pytest.param(
            *("news_faces", 713, 0.92, 5),
            marks=pytest.mark.xfail(strict=True, reason="the second edition is right on 91.73 % (docs/results.md)"),
        ),
        ("colour_faces", 473, 0.90, 1),
    ],
)
def test_photographs_of_the_press(name, rows, least, most_missed, tmp_path):
    flags = ["--label_column", "weak_label", "--classes", "neutral", "happiness", "--detect", "--output_dir", tmp_path]
    call("--model", PUBLISHED, "--dataset", FOLDER / name, "--data_format", "parquet", *flags)
    metrics = read(tmp_path)
    assert metrics["num_images"] == rows
    assert metrics["accuracy"] >= least
    assert metrics["num_images_without_face"] <= most_missed
