# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What check_card refuses: weights, figures, text, code or exports that are not those that were measured."""

import json
import pickle
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

from modeling_simfle import SimFLEForImageClassification, SimFLEModel
from modeling_simfle.hub_folder_simfle import weights_sha256
from tests.hub.published_folders import call, read, spoil
from training import evaluate_classifier, predict
from training.make_card import main as make_card_main
from training.publishing.card_checks import check_card
from training.publishing.card_sections import read_section

STATED = "license: other\nlicense_name: research-use-only\nlicense_link: LICENSE"


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_weights_that_are_not_those_of_metrics_json(damage, copied, faces, script):
    path = copied / "model.safetensors"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else content[:-1] + b"\x01")
    with pytest.raises(ValueError, match=r"model\.safetensors is not the file whose hash stands in metrics\.json"):
        check_card(copied)
    done = script("predict", copied, copied / "example_face.png", check=2)
    assert "model.safetensors is not the file" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    flags = ["--model", copied, "--dataset", faces, "--output_dir", copied.parent / "out"]
    with pytest.raises(ValueError, match="get the whole folder again"):
        call(evaluate_classifier, *flags)
    for trust in (False, True):  # by the package, and by the folder's own code
        with pytest.raises(ValueError, match="get the whole folder again"):
            pipeline("image-classification", model=str(copied), trust_remote_code=trust)
    with pytest.raises(ValueError, match="get the whole folder again"):
        SimFLEModel.from_pretrained(copied.parent, subfolder=copied.name)


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_an_index_of_shards_that_is_not_that_of_metrics_json(damage, pretrained, tmp_path):
    folder = tmp_path / "encoder"
    SimFLEModel.from_pretrained(pretrained[0]).save_pretrained(folder, max_shard_size="100KB")
    (folder / "metrics.json").write_text(json.dumps({"weights_sha256": weights_sha256(folder)}))
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    SimFLEModel.from_pretrained(folder)
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_text(path.read_text()[:100])
    else:  # a tensor without a place would be drawn anew
        index["weight_map"].popitem()
        path.write_text(json.dumps(index))
    with pytest.raises(
        ValueError, match=r"model\.safetensors\.index\.json is not the file whose hash stands in metrics"
    ):
        SimFLEModel.from_pretrained(folder)


def test_weights_are_safetensors(copied):
    weights = load_file(copied / "model.safetensors")
    torch.save({name: tensor + 1 for name, tensor in weights.items()}, copied / "pytorch_model.bin")
    with pytest.raises(ValueError, match="use_safetensors=False asks for a pickle"):
        SimFLEForImageClassification.from_pretrained(copied, use_safetensors=False)
    (copied / "model.safetensors").unlink()
    (copied / "metrics.json").unlink()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        SimFLEForImageClassification.from_pretrained(copied)


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_truncated_weights_without_a_hash(size, copied):
    (copied / "metrics.json").unlink()
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="its weights are cut off or damaged"):
        call(predict, copied, copied / "example_face.png")


@pytest.mark.parametrize(
    "old,new,sentence",
    [
        ("| accuracy | ", "| accuracy | 9", "section Evaluation is not what the folder's files say"),
        ("| macro F1 | ", "| macro F1 | 1", "section Evaluation"),
        ("It names", "It surely names", "section Summary"),
        ("How often each class", "How seldom each class", "section Bias, risks and limitations"),
        ("resized to 64 x 64", "resized to 65 x 65", "section Preprocessing"),
        ("`seed` 0", "`seed` 1", "section Training procedure"),
        ("h x 30 W", "h x 3 W", "section Environmental impact"),
        ("None is published here", "All is published here", "section Exports"),
        ("\n      value: ", "\n      value: 1", "the model-index"),
        ("license_name: ", "license_title: ", "lacks license_name"),
        ("license_link: LICENSE", "license_link: TERMS", "license_link: TERMS, which is no URL and no file"),
        ("library_name: transformers", "library_name: timm", "library_name: timm; transformers was expected"),
        ("license: other", "license: [", "cannot be read"),
        ("license: other", "license: foo", "the licence 'foo' is no id of the Hub"),
        ("license_name: research-use-only", "license_name: Apache-2.0", "Apache-2.0 is an id of the Hub"),
        ("## Exports", "## Evaluation\n\nAccuracy 99.9 %.\n\n## Exports", "has the section Evaluation twice"),
        ("---\n", "", "lacks license"),
        ("## Out-of-scope use", "## Others", "lacks the section Out-of-scope use"),
        ("## Citation\n", "## Citation\n\nSee /home/me/paper.pdf\n", "path of one machine, /home/me/paper.pdf"),
    ],
)
def test_a_card_that_says_something_else_is_caught(old, new, sentence, copied):
    spoil(copied / "README.md", old, new)
    with pytest.raises(ValueError, match=sentence):
        check_card(copied)


def test_a_licence_that_only_the_yaml_has(copied):
    spoil(copied / "README.md", STATED, "license: mit")
    (copied / "LICENSE").unlink()
    with pytest.raises(ValueError, match="has the licence mit, which its section Licence does not name"):
        check_card(copied)


def test_ferplus_weights_take_no_free_licence(copied):
    """Whichever of the trainings was on FER+."""
    metrics = read(copied / "metrics.json")
    metrics["recipe"].insert(0, metrics["recipe"][0] | {"data_format": "ferplus"})
    (copied / "metrics.json").write_text(json.dumps(metrics))
    for flags in (["--license", "mit"], ["--license", "other", "--license_name", "free-for-all"]):
        with pytest.raises(ValueError, match=r"may allow more than FER\+'s images do, which are given for research"):
            make_card_main([str(copied), *flags])
    make_card_main([str(copied)])
    check_card(copied)
    spoil(copied / "README.md", STATED, "license: mit")
    (copied / "LICENSE").unlink()
    with pytest.raises(ValueError, match=r"the licence mit may allow more than FER\+'s images do"):
        check_card(copied)


@pytest.mark.parametrize("name", ["do_normalize", "do_rescale", "do_resize", "do_grayscale", "size"])
def test_another_preprocessing_than_was_measured_is_caught(name, copied):
    settings = read(copied / "preprocessor_config.json")
    settings[name] = {"height": 48, "width": 48} if name == "size" else not settings[name]
    settings |= {"image_mean": [0.5] * 3, "image_std": [0.25] * 3} if name == "do_grayscale" else {}
    (copied / "preprocessor_config.json").write_text(json.dumps(settings))
    make_card_main([str(copied)])
    with pytest.raises(ValueError, match=r"preprocessor_config.json has \w+: .*, and metrics.json was measured with"):
        check_card(copied)


def test_onnx_files_that_nobody_measured_are_caught(copies):
    for folder in copies:
        path = folder / "onnx" / "model_fp16.onnx"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\x08")
        with pytest.raises(ValueError, match=r"model_fp16\.onnx is of no export that was measured"):
            check_card(folder)


def test_metrics_that_say_something_else_are_caught(copied):
    metrics = read(copied / "metrics.json")
    metrics["per_class"]["fear"]["recall"] += 0.01
    (copied / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="not what the folder's files say"):
        check_card(copied)
    del metrics["weights_sha256"]
    (copied / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="lacks weights_sha256 or recipe"):
        check_card(copied)


@pytest.mark.parametrize("path", ["/home/me/faces", "file:///srv/faces", "C:\\Users\\me\\faces"])
@pytest.mark.parametrize("name", ["metrics.json", "exports.json"])
def test_a_path_of_the_machine_is_caught_in_the_json_files_too(name, path, copies):
    _, plain = copies
    content = read(plain / name)
    content["versions"]["note"] = f"of {path}"
    (plain / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"{name} names a path of one machine, {re.escape(path)}"):
        check_card(plain)


@pytest.mark.parametrize("content", [pickle.dumps([1, 2]), pickle.dumps({"a": 1.0}, 0), "torch"], ids=["2", "0", "zip"])
def test_a_pickle_is_caught_whatever_its_name(content, copied):
    path = copied / "notes.txt"
    if content == "torch":
        torch.save({"weight": torch.zeros(3)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"notes\.txt is a pickle or a zip archive"):
        check_card(copied)


def test_other_code_and_a_missing_file_are_caught(copied):
    spoil(copied / "modeling_simfle.py", "import", "import  ")
    with pytest.raises(ValueError, match=r"modeling_simfle\.py is not modeling_simfle/modeling_simfle\.py"):
        check_card(copied)
    (copied / "example_face.png").unlink()
    with pytest.raises(ValueError, match=r"shows example_face\.png, which is not there"):
        check_card(copied)
    (copied / "README.md").unlink()
    with pytest.raises(ValueError, match=r"holds no README\.md"):
        check_card(copied)


def test_exports_of_other_weights_are_caught(copies, assembled):
    simfle, plain = copies
    with pytest.raises(ValueError, match=r"was exported from other weights than those in .*classifier; export them"):
        make_card_main([str(assembled["classifier"]), "--exports", str(plain)])
    exports = read(plain / "exports.json")
    (simfle / "exports.json").write_text(json.dumps({**exports, "model_weights_sha256": {}}))
    make_card_main([str(simfle)])
    with pytest.raises(ValueError, match=r"exports\.json is of other weights than those here"):
        check_card(simfle)


def test_plain_folders_that_are_spoilt_are_caught(copies):
    _, plain = copies
    (plain / "code.py").write_text("")
    with pytest.raises(ValueError, match="is a plain folder and holds or names code of its own"):
        check_card(plain)
    path = plain / "onnx" / "model_quantized.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(
        ValueError, match=r"model_quantized\.onnx is missing or not the file whose hash stands in exports"
    ):
        check_card(plain)
    path.unlink()
    with pytest.raises(ValueError, match=r"model_quantized\.onnx is missing"):
        check_card(plain)


def test_exports_join_the_simfle_folders_card(copies):
    simfle, plain = copies
    make_card_main([str(simfle), "--exports", str(plain), "--hardware", "a supercomputer", "--license_name", "mine"])
    check_card(simfle)
    card = (simfle / "README.md").read_text()
    section = read_section(card, "Exports")
    assert "The files are in `gray-plain`, a folder of its own" in section
    assert "The plain folder gives the top label of this one for" in section
    rows = [
        line for line in read_section((plain / "README.md").read_text(), "Exports").splitlines() if line[0:1] == "|"
    ]
    assert len(rows) == 5 and all(row in section.splitlines() for row in rows)
    assert "two cores" in card and "supercomputer" not in card  # a published folder's own files decide
    exports = read(plain / "exports.json")
    exports["onnx"]["milliseconds_batch_1"] += 1
    (plain / "exports.json").write_text(json.dumps(exports))
    with pytest.raises(ValueError, match=r"is not that of .*gray-plain; run make_card\.py --exports"):
        check_card(simfle)
