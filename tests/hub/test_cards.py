# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Published folders: those of hub_cards/, and small ones, one of them plain, assembled from runs of seconds."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification, pipeline

from modeling_simfle import SimFLEModel
from modeling_simfle.hub_folder_simfle import CODE_FILES
from tests.hub.published_folders import is_plain, read
from tests.new_process import ROOT, run_alone
from training.data.drawn_faces import draw_face
from training.export import FILES
from training.make_card import main as make_card_main
from training.publishing.card_checks import check_card, is_pickle
from training.publishing.card_sections import read_section
from training.publishing.model_card import TOLD, with_repo_id
from training.publishing.staging import stage

PUBLISHED = sorted(path.parent for path in (ROOT / "hub_cards").glob("*/config.json"))
PARAMETERS = [*PUBLISHED, "classifier", "encoder", "plain"]
TOP_LABELS = """
import json
from transformers import pipeline
classify = pipeline("image-classification", model=sys.argv[1], trust_remote_code=False)
print(json.dumps([found["label"] for (found,) in classify(sys.argv[2:], top_k=1)]))
"""
LIMIT = 130_000_000  # bytes, the folders of trained weights together
EXPORTS_LIMIT = 60_000_000  # bytes, those of stock classes and ONNX that were made of them


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


def test_everything_that_is_checked_before_publishing(folder):
    check_card(folder)


def test_snippets_run_in_a_new_process_without_the_package(folder, tmp_path):
    card, start = (folder / "README.md").read_text(), ROOT  # a published card's run as they stand
    if not folder.is_relative_to(ROOT):
        card, start = with_repo_id(card, str(folder)), folder
    snippets = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(snippets) == 2
    assert len([line for line in snippets[0].splitlines() if line]) == 3
    for snippet in snippets:
        assert run_alone(f"import os\nos.chdir(sys.argv[1])\n{snippet}", start, cache=tmp_path)


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
    for row in metrics["per_class"].values():
        wanted += [row["precision"], row["recall"], *row.get("recall_interval", ()), row["f1"]]
    assert len(found) == len(wanted)
    assert found == pytest.approx([100 * value for value in wanted], abs=0.0051)
    counts = re.findall(r"^\| (\w+) \| ([\d, |]+) \|$", section, re.MULTILINE)
    matrix = {name: [int(n.replace(",", "")) for n in row.split(" | ")] for name, row in counts}
    assert [matrix[name] for name in metrics["per_class"]] == metrics["confusion_matrix"]
    assert f"recipes): {metrics['choices']}." in section


@pytest.mark.parametrize("folder", [f for f in PUBLISHED if not is_plain(f)], ids=lambda folder: folder.name)
def test_a_published_card_is_what_its_recipe_makes(folder, tmp_path):
    name = folder.name.removeprefix("simfle-").replace("-", "_")
    recipe = ROOT / "training" / "recipes" / f"card_{name}.yaml"
    make_card_main([str(folder), "--recipe", str(recipe), "--output", str(tmp_path / "README.md")])
    assert (tmp_path / "README.md").read_text() == (folder / "README.md").read_text()
    told, metrics = yaml.safe_load(recipe.read_text()), read(folder / "metrics.json")
    assert [metrics.get(flag) for flag in TOLD] == [told.get(flag) for flag in TOLD]


def test_folders_together_are_small():
    for limit, folders in (
        (LIMIT, [folder for folder in PUBLISHED if not is_plain(folder)]),
        (EXPORTS_LIMIT, filter(is_plain, PUBLISHED)),
    ):
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < limit


def test_a_base_model_is_named_where_it_is_on_the_hub(assembled, tmp_path):
    plain = shutil.copytree(assembled["plain"], tmp_path / "gray-plain")
    sent = (stage(plain, tmp_path / "sent", "org/name").folder / "README.md").read_text()
    assert "base_model" not in sent
    assert "the model of the folder `gray` as a plain ResNet" in sent
    for given, published in (("others/gray", "others/gray"), ("gray", "org/gray")):  # a name alone: its publisher's
        make_card_main([str(plain), "--base_model", given])
        sent = (stage(plain, tmp_path / published, "org/name").folder / "README.md").read_text()
        assert ModelCard(sent).data.base_model == published


def test_the_plain_folders_card(assembled):
    text, exports = (assembled["plain"] / "README.md").read_text(), read(assembled["plain"] / "exports.json")
    assert "base_model" not in text and "- onnx\n" in text and "- transformers.js\n" in text
    assert "trust_remote_code" not in text and "no code lies in this folder" in text
    assert "There is no code in this folder. The weights, and the ONNX files" in read_section(text, "Licence")
    assert "folded into the first convolution" in read_section(text, "Preprocessing")
    assert 'await pipeline("image-classification", "gray-plain"' in text
    on_the_hub = with_repo_id(text, "org/name")
    assert 'await pipeline("image-classification", "org/name"' in on_the_hub
    assert on_the_hub.count('"example_face.png"') == 3 and "/example_face.png" not in on_the_hub
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
