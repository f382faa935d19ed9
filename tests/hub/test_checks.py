# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What is refused of a folder: weights, figures, labels, code or exports that are not those that were measured."""

import json
import pickle
import re

import pytest
import torch
from safetensors.torch import load_file

from modeling_simfle import SimFLEForImageClassification
from tests.hub.published_folders import call, read, spoil
from training import evaluate_classifier
from training.publishing.checks import check_folder

STATED = "license: other\nlicense_name: research-use-only\nlicense_link: LICENSE"


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_weights_that_are_not_those_of_metrics_json(damage, copied, faces):
    path = copied / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    if damage == "missing":
        path.unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors is not the file whose hash|holds none"):
        check_folder(copied)
    flags = ["--model", copied, "--dataset", faces, "--output_dir", copied.parent / "out"]
    with pytest.raises((ValueError, OSError), match="get the whole folder again"):
        call(evaluate_classifier, *flags)


def test_weights_are_safetensors(copied):
    weights = load_file(copied / "model.safetensors")
    torch.save({name: tensor + 1 for name, tensor in weights.items()}, copied / "pytorch_model.bin")
    with pytest.raises(ValueError, match="use_safetensors=False asks for a pickle"):
        SimFLEForImageClassification.from_pretrained(copied, use_safetensors=False)
    (copied / "model.safetensors").unlink()
    (copied / "metrics.json").unlink()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        SimFLEForImageClassification.from_pretrained(copied)


@pytest.mark.parametrize(
    "old,new,sentence",
    [
        ("\n      value: ", "\n      value: 1", "The model-index"),
        ("license_name: ", "license_title: ", "lacks license_name"),
        ("license_link: LICENSE", "license_link: TERMS", "license_link: TERMS, which is no URL and no file"),
        ("library_name: transformers", "library_name: timm", "library_name: timm; transformers was expected"),
        ("license: other", "license: [", "cannot be read"),
        ("license: other", "license: foo", "The licence 'foo' is no id of the Hub"),
        ("license_name: research-use-only", "license_name: Apache-2.0", "Apache-2.0 is an id of the Hub"),
        ("license_name: research-use-only", "license_name: mine", "may allow more than research-use-only"),
        (STATED, "license: mit", "The licence mit may allow more than research-use-only, the licence of classifier"),
        ("---\n", "", "lacks license"),
        ("## Citation\n", "## Citation\n\nSee /home/me/paper.pdf\n", "path of one machine, /home/me/paper.pdf"),
    ],
)
def test_a_card_that_says_something_else_is_caught(old, new, sentence, copied):
    spoil(copied / "README.md", old, new)
    with pytest.raises(ValueError, match=sentence):
        check_folder(copied)


def test_a_license_file_of_another_licence_is_caught(copied):
    spoil(copied / "LICENSE", "# research-use-only", "# free-for-all")
    with pytest.raises(ValueError, match="LICENSE is of free-for-all, and the card's licence is research-use-only"):
        check_folder(copied)


@pytest.mark.parametrize("name", ["do_normalize", "do_grayscale", "size"])
def test_another_preprocessing_than_was_measured_is_caught(name, copied):
    settings = read(copied / "preprocessor_config.json")
    settings[name] = {"height": 48, "width": 48} if name == "size" else not settings[name]
    settings |= {"image_mean": [0.5] * 3, "image_std": [0.25] * 3} if name == "do_grayscale" else {}
    (copied / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"preprocessor_config.json has \w+: .*, and metrics.json was measured with"):
        check_folder(copied)


def test_labels_in_another_order_are_caught(copied):
    config = read(copied / "config.json")
    config["id2label"]["0"], config["id2label"]["1"] = config["id2label"]["1"], config["id2label"]["0"]
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json has id2label"):
        check_folder(copied)


def test_metrics_that_say_something_else_are_caught(copied):
    metrics = read(copied / "metrics.json")
    (copied / "metrics.json").write_text(json.dumps(metrics | {"accuracy": 0.99}))
    with pytest.raises(ValueError, match=r"The model-index of .* is not what metrics\.json says"):
        check_folder(copied)
    del metrics["weights_sha256"]
    (copied / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="lacks weights_sha256"):
        check_folder(copied)


@pytest.mark.parametrize("path", ["/home/me/faces", "file:///srv/faces", "C:\\Users\\me\\faces"])
@pytest.mark.parametrize("name", ["metrics.json", "exports.json"])
def test_a_path_of_the_machine_is_caught_in_the_json_files_too(name, path, copied_plain):
    content = read(copied_plain / name)
    content["versions"]["note"] = f"of {path}"
    (copied_plain / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"{name} names a path of one machine, {re.escape(path)}"):
        check_folder(copied_plain)


@pytest.mark.parametrize("content", [pickle.dumps([1, 2]), pickle.dumps({"a": 1.0}, 0), "torch"], ids=["2", "0", "zip"])
def test_a_pickle_is_caught_whatever_its_name(content, copied):
    path = copied / "notes.txt"
    if content == "torch":
        torch.save({"weight": torch.zeros(3)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"notes\.txt is a pickle or a zip archive"):
        check_folder(copied)


def test_missing_code_and_a_missing_picture_are_caught(copied):
    (copied / "example_photo.png").unlink()
    with pytest.raises(ValueError, match=r"shows example_photo\.png, which is not there"):
        check_folder(copied)
    (copied / "modeling_simfle.py").unlink()
    with pytest.raises(ValueError, match=r"names the code 'modeling_simfle.*which is not in the folder"):
        check_folder(copied)


def test_plain_folders_that_are_spoilt_are_caught(copied_plain):
    extra = copied_plain / "onnx" / "model_fp16.onnx"
    extra.write_bytes((copied_plain / "onnx" / "model.onnx").read_bytes())
    with pytest.raises(ValueError, match=r"model_fp16\.onnx is of no export that was measured"):
        check_folder(copied_plain)
    extra.unlink()
    (copied_plain / "code.py").write_text("")
    with pytest.raises(ValueError, match="is a plain folder and holds or names code of its own"):
        check_folder(copied_plain)
    (copied_plain / "code.py").unlink()
    path = copied_plain / "onnx" / "model_quantized.onnx"
    exports = read(copied_plain / "exports.json")
    exports["int8"]["sha256"] = "0" * 64
    (copied_plain / "exports.json").write_text(json.dumps(exports))
    with pytest.raises(ValueError, match=r"model_quantized\.onnx is missing or not the file of exports"):
        check_folder(copied_plain)
    path.unlink()
    with pytest.raises(ValueError, match=r"model_quantized\.onnx is missing"):
        check_folder(copied_plain)


def test_exports_of_other_weights_are_caught(copied, released):
    exports = read(released["plain"] / "exports.json") | {"model_weights_sha256": {}}
    (copied / "exports.json").write_text(json.dumps(exports))
    with pytest.raises(ValueError, match=r"exports\.json is of other weights than those here"):
        check_folder(copied)
