# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Published folders: those of hub_cards/, and small ones assembled here from runs of seconds."""

import json
import os
import pickle
import re
import shutil

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file
from transformers import pipeline

from modeling_simfle import SimFLEForImageClassification, SimFLEModel
from modeling_simfle.configuration_simfle import CODE_FILES
from tests.new_process import ROOT, run_alone
from training import assemble_release, evaluate_classifier, finetune, predict
from training.card_checks import check_card, is_pickle
from training.card_sections import read_section
from training.make_card import main as make_card_main
from training.model_card import with_repo_id

PUBLISHED = sorted(path.parent for path in (ROOT / "hub_cards").glob("*/config.json"))
PARAMETERS = [*PUBLISHED, "classifier", "encoder"]
LIMIT = 130_000_000  # bytes, all of hub_cards/


def call(script, *arguments):
    AcceleratorState._reset_state(reset_partial_state=True)
    script.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(pretrained, faces, tmp_path_factory):
    """A fine-tuned run over the pretrained encoder, of two steps."""
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    flags = ["--dataset", faces, "--num_workers", 0, "--num_train_epochs", 1, "--per_device_train_batch_size", 20]
    call(finetune, "--model", pretrained[0], *flags, "--output_dir", folder)
    return folder


@pytest.fixture(scope="module")
def assembled(run, pretrained, faces, tmp_path_factory):
    """Name to folder: a classifier measured on drawn faces, and an encoder that nobody measured."""
    root = tmp_path_factory.mktemp("hub_cards")
    flags = ["--dataset", faces, "--num_workers", 0, "--more_choices", 2, "--data_terms", "Drawn by code."]
    flags += ["--hardware", "two cores", "--assumed_watts", 30]
    call(assemble_release, run, root / "classifier", *flags)
    more = ["--max_shard_size", "15MB", "--license", "cc-by-nc-4.0"]
    call(assemble_release, pretrained[0], root / "encoder", "--encoder_only", *more)
    return {"classifier": root / "classifier", "encoder": root / "encoder"}


@pytest.fixture(params=PARAMETERS, ids=lambda parameter: getattr(parameter, "name", parameter))
def folder(request, assembled):
    return assembled.get(request.param, request.param)


@pytest.fixture
def copied(assembled, tmp_path):
    """A copy of the classifier's folder, to be spoilt."""
    return shutil.copytree(assembled["classifier"], tmp_path / "classifier")


def read(path):
    return json.loads(path.read_text())


def test_everything_that_is_checked_before_publishing(folder):
    check_card(folder)


def test_snippets_run_in_a_new_process_without_the_package(folder, tmp_path):
    card = with_repo_id((folder / "README.md").read_text(), str(folder))
    snippets = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(snippets) == 2
    assert sum(str(folder) in snippet for snippet in snippets) == 2
    assert len([line for line in snippets[0].splitlines() if line]) == 3
    for snippet in snippets:
        assert run_alone(f"import os\nos.chdir(sys.argv[1])\n{snippet}", folder, cache=tmp_path)


def test_weights_are_float16_on_disk_and_float32_when_loaded(folder):
    config = read(folder / "config.json")
    assert config["dtype"] == "float32"
    for path in folder.glob("*.safetensors"):
        assert {t.dtype for t in load_file(path).values() if t.is_floating_point()} == {torch.float16}
    kinds = {"SimFLEModel": SimFLEModel, "SimFLEForImageClassification": SimFLEForImageClassification}
    model = kinds[config["architectures"][0]].from_pretrained(folder)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_code_is_that_of_the_package_and_no_file_is_a_pickle(folder):
    for name in CODE_FILES:
        assert (folder / name).read_bytes() == (ROOT / "modeling_simfle" / name).read_bytes()
    assert not [path for path in folder.rglob("*") if path.is_file() and is_pickle(path)]


def test_figures_of_the_card_are_those_of_metrics_json(folder):
    """Read from the text by other means than those that wrote it."""
    metrics, text = read(folder / "metrics.json"), (folder / "README.md").read_text()
    section = read_section(text, "Evaluation")
    if "accuracy" not in metrics:
        assert "not measured" in section
        return
    found = [float(number) for number in re.findall(r"(\d+\.\d\d) %", section)]
    wanted = [metrics["accuracy"], *metrics["accuracy_interval"]]
    if "accuracy_without_repeats" in metrics:
        wanted += [metrics["accuracy_without_repeats"], *metrics["accuracy_without_repeats_interval"]]
    wanted += [metrics["mean_class_accuracy"], metrics["macro_f1"]]
    wanted += [metrics["expected_calibration_error"]] if "expected_calibration_error" in metrics else []
    wanted += [row[name] for row in metrics["per_class"].values() for name in ("precision", "recall", "f1")]
    assert len(found) == len(wanted) + section.count("95 %") - section.count("(95 %")
    assert found == pytest.approx([100 * value for value in wanted], abs=0.0051)
    counts = re.findall(r"^\| (\w+) \| ([\d, |]+) \|$", section, re.MULTILINE)
    matrix = {name: [int(n.replace(",", "")) for n in row.split(" | ")] for name, row in counts}
    assert [matrix[name] for name in metrics["per_class"]] == metrics["confusion_matrix"]
    assert f"recipes): {metrics['choices']}." in section


def test_folders_together_are_small():
    files = [path for path in (ROOT / "hub_cards").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LIMIT


def test_what_the_classifiers_folder_holds(assembled, run):
    folder = assembled["classifier"]
    names = {"config.json", "preprocessor_config.json", "model.safetensors", "metrics.json", "README.md", *CODE_FILES}
    assert {path.name for path in folder.iterdir()} == names | {"example_face.png", "LICENSE"}
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith("classifier")] == ["classifier"]
    metrics = read(folder / "metrics.json")
    assert [training["method"] for training in metrics["recipe"]] == ["pretraining", "fine-tuning"]
    assert all(training["hours"] > 0 for training in metrics["recipe"])
    assert metrics["choices"] == read(run / "metrics.json")["choices"] + 2
    assert (metrics["method"], metrics["model"]) == ("evaluation", "classifier")
    assert metrics["command"].startswith("python training/evaluate_classifier.py --")
    assert metrics["num_images"] == 16
    for name in ("metrics.json", "README.md"):
        assert str(folder.parent.parent.parent) not in (folder / name).read_text()
    energy = read_section((folder / "README.md").read_text(), "Environmental impact")
    assert "h x 30 W" in energy and "two cores" in energy
    images = [Image.open(folder / "example_face.png")]
    ours = pipeline("image-classification", model=str(folder), top_k=8)(images)[0]
    theirs = pipeline("image-classification", model=str(run), top_k=8)(images)[0]
    theirs = {row["label"]: row["score"] for row in theirs}
    assert all(abs(row["score"] - theirs[row["label"]]) < 5e-3 for row in ours)


def test_an_encoder_alone(assembled):
    folder = assembled["encoder"]
    assert read(folder / "config.json")["architectures"] == ["SimFLEModel"]
    assert not any(name.startswith("facemae") for name in load_file(folder / "model.safetensors"))
    card = (folder / "README.md").read_text()
    assert "similarity loss" in read_section(card, "Evaluation")
    assert "license: cc-by-nc-4.0" in card
    assert not (folder / "LICENSE").exists()


def test_shards_have_at_most_the_size_that_is_asked_for(tmp_path):
    from modeling_simfle import SimFLEConfig
    from training.published_weights import save_halves, weights_sha256

    torch.manual_seed(0)
    model = SimFLEModel(SimFLEConfig(hidden_sizes=[64, 128, 256, 512], depths=[1, 1, 1, 1], use_local_branch=False))
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_halves(model, tmp_path, 1_000_000)
    sizes = [path.stat().st_size for path in tmp_path.glob("*.safetensors")]
    assert len(sizes) > 1 and max(sizes) <= 1_000_000
    assert len(weights_sha256(tmp_path)) == len(sizes)
    loaded = SimFLEModel.from_pretrained(tmp_path).state_dict()
    for name, tensor in expected.items():
        torch.testing.assert_close(loaded[name], tensor, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="give at least 1MB"):
        save_halves(model, tmp_path, 1000)
    wide = SimFLEModel(SimFLEConfig(hidden_sizes=[64, 1024], depths=[1, 1], use_local_branch=False))
    with pytest.raises(ValueError, match=r"is larger than 1000000 bytes: .* give larger shards"):
        save_halves(wide, tmp_path / "wide", 1_000_000)


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
    done = script("predict", copied, copied / "example_face.png", check=1)
    assert "model.safetensors is not the file" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    flags = ["--model", copied, "--dataset", faces, "--output_dir", copied.parent / "out"]
    with pytest.raises(ValueError, match="get the whole folder again"):
        call(evaluate_classifier, *flags)


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_truncated_weights_without_a_hash(size, copied):
    (copied / "metrics.json").unlink()
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="its weights are cut off or damaged"):
        call(predict, copied, copied / "example_face.png")


def spoil(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


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
        ("---\n", "", "lacks license"),
        ("## Out-of-scope use", "## Others", "lacks the section Out-of-scope use"),
        ("## Citation\n", "## Citation\n\nSee /home/me/paper.pdf\n", "path of one machine, /home/me/paper.pdf"),
    ],
)
def test_a_card_that_says_something_else_is_caught(old, new, sentence, copied):
    spoil(copied / "README.md", old, new)
    with pytest.raises(ValueError, match=sentence):
        check_card(copied)


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


def test_exports_join_the_card(copied):
    row = {"size_bytes": 3, "agreement": 1.0, "accuracy": 0.5}
    row |= {f"{kind}_batch_{n}": 0.5 for kind in ("milliseconds", "ratio_to_eager") for n in (1, 32)}
    exports = {name: {"file": f"onnx/{name}.onnx", **row} for name in ("onnx", "int8")}
    exports |= {"eager": {"file": "model.safetensors", **row}, "plain_against_simfle": row, "threads": 2}
    exports["measured_on"] = {"source": "faces", "split": "validation", "num_images": 16}
    exports["command"] = "python training/export.py /home/me/model out --dataset faces"
    (copied / "exports.json").write_text(json.dumps(exports))
    with pytest.raises(ValueError, match="section Exports"):
        check_card(copied)
    flags = ["--hardware", "a supercomputer", "--license_name", "mine"]
    make_card_main([str(copied), *flags])
    check_card(copied)
    card = (copied / "README.md").read_text()
    assert "| ONNX, int8 | `onnx/int8.onnx` | 0.00 | 100.00 % | 50.00 % | 0.50 (0.50) | 0.50 (0.50) |" in card
    assert "python training/export.py model out" in card
    assert "two cores" in card and "supercomputer" not in card  # a published folder's own files decide
    (copied / "onnx").mkdir()
    (copied / "onnx" / "int8.onnx").write_bytes(b"\x08\x09")
    with pytest.raises(ValueError, match=r"int8\.onnx has 2 bytes, exports\.json 3"):
        check_card(copied)


def test_metrics_measured_before(assembled, run, faces, pretrained, classifier, tmp_path):
    call(evaluate_classifier, "--model", assembled["classifier"], "--dataset", faces, "--output_dir", tmp_path / "eval")
    call(assemble_release, run, tmp_path / "again", "--metrics", tmp_path / "eval" / "metrics.json")
    ours, theirs = (read(path / "metrics.json") for path in (tmp_path / "again", assembled["classifier"]))
    assert ours["weights_sha256"] == theirs["weights_sha256"]
    assert ours["confusion_matrix"] == theirs["confusion_matrix"]
    for metrics in (run, classifier[0]):  # of float32 weights, of another model
        with pytest.raises(ValueError, match="was not measured on these float16 weights"):
            call(assemble_release, run, tmp_path / "no", "--metrics", metrics / "metrics.json")
    flags = ["--encoder_only", "--metrics", classifier[0] / "metrics.json"]
    call(assemble_release, pretrained[0], tmp_path / "probed", *flags)
    evaluation = read_section((tmp_path / "probed" / "README.md").read_text(), "Evaluation")
    assert "linear probe" in evaluation and "training/linear_probe.py" in evaluation
    assert sorted(os.listdir(tmp_path)) == ["again", "eval", "probed"]


@pytest.mark.parametrize(
    "more,sentence",
    [
        ([], "give --dataset, to measure the saved weights, or --metrics"),
        (["--metrics", "no.json"], r"no\.json does not exist"),
        (["--more_choices", -1], r"--more_choices -1 must be in \[0"),
        (["--max_shard_size", "15 kB"], "must be whole megabytes, such as 15MB"),
        (["--license_name", ""], "--license other needs --license_name and --license_link"),
        (["--license_link", "TERMS"], "--license_link TERMS must be a URL, or LICENSE"),
        (["--assumed_watts", 0], r"--assumed_watts 0.0 must be in \(0"),
    ],
)
def test_bad_input(more, sentence, run, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        call(assemble_release, run, tmp_path / "out", *more)
    assert not list(tmp_path.iterdir())


def test_folders_that_are_no_run_or_not_empty(run, assembled, tmp_path):
    with pytest.raises(ValueError, match="not empty; give a new folder"):
        call(assemble_release, run, assembled["classifier"])
    with pytest.raises(ValueError, match=r"config\.json does not exist"):
        call(assemble_release, tmp_path, tmp_path / "out")
