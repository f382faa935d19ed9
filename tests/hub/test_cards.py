# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Published folders: those of hub_cards/, and small ones, one of them plain, assembled here from runs of seconds."""

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification, pipeline

from modeling_simfle import SimFLEModel
from modeling_simfle.configuration_simfle import CODE_FILES
from tests.new_process import ROOT, run_alone
from training import assemble_release, evaluate_classifier, export, finetune, predict
from training.card_checks import check_card, is_pickle
from training.card_sections import read_section
from training.export import FILES
from training.make_card import main as make_card_main
from training.model_card import with_repo_id
from training.synthetic_faces import draw_face

PUBLISHED = sorted(path.parent for path in (ROOT / "hub_cards").glob("*/config.json"))
PARAMETERS = [*PUBLISHED, "classifier", "encoder", "plain"]
TOP_LABELS = """
import json
from transformers import pipeline
classify = pipeline("image-classification", model=sys.argv[1], trust_remote_code=False)
print(json.dumps([found["label"] for (found,) in classify(sys.argv[2:], top_k=1)]))
"""
LIMIT = 130_000_000  # bytes, all of hub_cards/


def read(path):
    return json.loads(path.read_text())


def is_plain(folder):
    return read(folder / "config.json")["model_type"] != "simfle"


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
def gray_run(faces, config_file, tmp_path_factory):
    """A run from scratch that sees luminance."""
    folder = tmp_path_factory.mktemp("runs") / "gray"
    flags = ["--dataset", faces, "--num_workers", 0, "--num_train_epochs", 2, "--per_device_train_batch_size", 12]
    flags += ["--model_config", config_file, "--use_local_branch", "false", "--view_size", 64]
    gray = ["--do_grayscale", "true", "--image_mean", 0.5, "--image_std", 0.25]
    call(finetune, *flags, *gray, "--output_dir", folder)
    return folder


@pytest.fixture(scope="module")
def assembled(run, gray_run, pretrained, faces, tmp_path_factory):
    """
    Name to folder: a classifier measured on drawn faces; an encoder that nobody measured; a classifier trained in gray,
    its run, what export.py makes of it, and the plain folder that is published of that.
    """
    root = tmp_path_factory.mktemp("hub_cards")
    flags = ["--dataset", faces, "--num_workers", 0, "--more_choices", 2, "--data_terms", "Drawn by code."]
    flags += ["--hardware", "two cores", "--assumed_watts", 30]
    call(assemble_release, run, root / "classifier", *flags)
    more = ["--max_shard_size", "15MB", "--license", "cc-by-nc-4.0"]
    call(assemble_release, pretrained[0], root / "encoder", "--encoder_only", *more)
    call(assemble_release, gray_run, root / "gray", *flags)
    exported = gray_run.parent / "gray-plain"
    call(export, root / "gray", exported, *flags[:4], "--timing_rounds", 1)
    call(assemble_release, exported, root / "gray-plain", *flags[:4], "--hardware", "two cores", "--assumed_watts", 30)
    made = {"classifier": root / "classifier", "encoder": root / "encoder", "gray": root / "gray"}
    return {**made, "run": gray_run, "export": exported, "plain": root / "gray-plain"}


@pytest.fixture(params=PARAMETERS, ids=lambda parameter: getattr(parameter, "name", parameter))
def folder(request, assembled):
    return assembled.get(request.param, request.param)


@pytest.fixture(
    params=["plain", *filter(is_plain, PUBLISHED)], ids=lambda parameter: getattr(parameter, "name", parameter)
)
def plain(request, assembled):
    """(a plain folder, the SimFLE folder beside it that it was made of)."""
    folder = assembled.get(request.param, request.param)
    return folder, folder.parent / Path(read(folder / "exports.json")["model"]).name


@pytest.fixture
def copies(assembled, tmp_path):
    """Copies of the gray classifier's folder and of its plain one, side by side."""
    return tuple(shutil.copytree(assembled[name], tmp_path / assembled[name].name) for name in ("gray", "plain"))


@pytest.fixture
def copied(assembled, tmp_path):
    """A copy of the classifier's folder, to be spoilt."""
    return shutil.copytree(assembled["classifier"], tmp_path / "classifier")


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
    kind = SimFLEModel if config["architectures"] == ["SimFLEModel"] else AutoModelForImageClassification
    model = kind.from_pretrained(folder)
    assert type(model).__name__ == config["architectures"][0]
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_code_is_that_of_the_package_and_no_file_is_a_pickle(folder):
    assert {path.name for path in folder.rglob("*.py")} == (set() if is_plain(folder) else set(CODE_FILES))
    for name in () if is_plain(folder) else CODE_FILES:
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
    assert len(found) == len(wanted)
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


def test_what_the_plain_folder_holds(assembled):
    simfle, folder = assembled["gray"], assembled["plain"]
    names = {"config.json", "preprocessor_config.json", "metrics.json", "exports.json", "README.md", *FILES.values()}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == names | {"example_face.png", "LICENSE"}
    metrics, base, exports = read(folder / "metrics.json"), read(simfle / "metrics.json"), read(folder / "exports.json")
    assert metrics["recipe"] == base["recipe"]
    assert metrics["choices"] == base["choices"] == read(assembled["run"] / "metrics.json")["choices"] + 2
    assert metrics["accuracy"] == exports["eager"]["accuracy"]
    assert metrics["model"] == "gray-plain" and "--model gray-plain" in metrics["command"]
    for name in ("metrics.json", "exports.json", "README.md"):
        assert str(folder.parent.parent.parent) not in (folder / name).read_text()
    assert ".py" not in (folder / "LICENSE").read_text() and ".py files" in (simfle / "LICENSE").read_text()


def test_the_plain_folders_card(assembled):
    text, exports = (assembled["plain"] / "README.md").read_text(), read(assembled["plain"] / "exports.json")
    assert "base_model: gray\n" in text and "- onnx\n" in text and "- transformers.js\n" in text
    assert "trust_remote_code" not in text and "no code lies in this folder" in text
    assert "There is no code in this folder. The weights, and the ONNX files" in read_section(text, "Licence")
    assert "folded into the first convolution" in read_section(text, "Preprocessing")
    assert 'await pipeline("image-classification", "gray-plain"' in text
    assert 'await pipeline("image-classification", "org/name"' in with_repo_id(text, "org/name")
    section = read_section(text, "Exports")
    for name, file in FILES.items():
        (row,) = (line for line in section.splitlines() if f"`{file}`" in line)
        figures = [float(number) for number in re.findall(r"\d+\.\d\d", row)]
        found = exports[name]
        wanted = [found["size_bytes"] / 1e6, 100 * found["agreement"], 100 * found["accuracy"]]
        wanted += [found[f"{kind}_batch_{n}"] for n in (1, 32) for kind in ("milliseconds", "ratio_to_eager")]
        assert figures == pytest.approx(wanted, abs=0.0051)
    assert "The top label is that of `gray`, of which this folder was made" in section
    assert "python training/export.py gray gray-plain --dataset faces" in section


def test_plain_folders_give_the_simfle_folders_labels_in_colour_and_gray(plain, tmp_path):
    """In a new process, without remote code; the SimFLE folder's here."""
    folder, simfle = plain
    files = []
    for index in range(6):
        image = draw_face(4, index, read(folder / "preprocessor_config.json")["size"]["height"]).image
        for mode in ("RGB", "L"):
            files.append(str(tmp_path / f"{index}_{mode}.png"))
            image.convert(mode).save(files[-1])
    ours = json.loads(run_alone(TOP_LABELS, folder, *files, cache=tmp_path).splitlines()[-1])
    classify = pipeline("image-classification", model=str(simfle))
    theirs = [found["label"] for (found,) in classify(files, top_k=1)]
    assert ours == theirs
    if read(simfle / "preprocessor_config.json").get("do_grayscale"):
        assert ours[::2] == ours[1::2]


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


def test_exports_that_cannot_be_assembled(assembled, faces, tmp_path):
    flags = ["--dataset", faces, "--num_workers", 0]
    with pytest.raises(ValueError, match="is an export, whose files stay as they are"):
        call(assemble_release, assembled["export"], tmp_path / "out", *flags, "--max_shard_size", "15MB")
    copy = shutil.copytree(assembled["export"], tmp_path / "copy")
    exports = read(copy / "exports.json")
    (copy / "exports.json").write_text(json.dumps({**exports, "model": str(assembled["classifier"])}))
    with pytest.raises(ValueError, match="was exported from other weights"):
        call(assemble_release, copy, tmp_path / "out", *flags)
    (copy / "exports.json").write_text(json.dumps({**exports, "model": "nowhere"}))
    with pytest.raises(ValueError, match="was exported from nowhere, which is not here"):
        call(assemble_release, copy, tmp_path / "out", *flags)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


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
