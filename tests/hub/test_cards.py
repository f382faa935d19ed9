# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The folders of hub_cards/: they load, their snippets run, their cards are those that are made anew."""

import json
import re
import shutil

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification, pipeline

from modeling_simfle import SimFLEModel
from modeling_simfle.hub_folder_simfle import CODE_FILES
from tests.hub.published_folders import is_plain, read
from tests.new_process import ROOT, run_alone
from training.data.drawn_faces import draw_face
from training.publishing.checks import check_folder
from training.publishing.staging import refresh, stage_model

PUBLISHED = sorted(path.parent for path in (ROOT / "hub_cards").glob("*/config.json"))
NAMES = [folder.name for folder in PUBLISHED]
LIMIT = 130_000_000  # bytes, the folders of trained weights together
EXPORTS_LIMIT = 60_000_000  # bytes, those of stock classes and ONNX that were made of them
TOP_LABELS = """
import json
from transformers import pipeline
classify = pipeline("image-classification", model=sys.argv[1], trust_remote_code=False)
print(json.dumps([found["label"] for (found,) in classify(sys.argv[2:], top_k=1)]))
"""


@pytest.mark.parametrize("folder", PUBLISHED, ids=NAMES)
def test_a_published_folder(folder, tmp_path):
    check_folder(folder)
    config = read(folder / "config.json")
    for path in folder.glob("*.safetensors"):
        assert {t.dtype for t in load_file(path).values() if t.is_floating_point()} == {torch.float16}
    kind = SimFLEModel if config["architectures"] == ["SimFLEModel"] else AutoModelForImageClassification
    assert {p.dtype for p in kind.from_pretrained(folder).parameters()} == {torch.float32}
    assert {path.name for path in folder.rglob("*.py")} == (set() if is_plain(folder) else set(CODE_FILES))
    for name in () if is_plain(folder) else CODE_FILES:
        assert (folder / name).read_bytes() == (ROOT / "modeling_simfle" / name).read_bytes(), "run make hub-code"
    assert ModelCard.load(folder / "README.md").data.license_name == "research-use-only"


@pytest.mark.parametrize("folder", PUBLISHED, ids=NAMES)
def test_a_card_is_made_anew_from_its_folder(folder, tmp_path, monkeypatch):
    """In a copy of the repository, so that no name changes; the weights and every figure stay."""
    copy = tmp_path / "hub_cards" / folder.name
    shutil.copytree(folder, copy)
    monkeypatch.setattr("training.runtime.public_paths.ROOT", tmp_path)
    refresh(copy)
    for path in folder.rglob("*"):
        if path.is_file():
            assert (copy / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


def test_snippets_run_in_a_new_process_without_the_package(tmp_path):
    """Those of all cards, in one process, from the repository's root."""
    snippets = []
    for folder in PUBLISHED:
        found = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
        takes_photographs = "custom_pipelines" in (folder / "config.json").read_text()
        assert len(found) == 2 + takes_photographs
        snippets += found
    assert run_alone("import os\nos.chdir(sys.argv[1])\n" + "\n".join(snippets), ROOT, cache=tmp_path)


def test_folders_together_are_small():
    for limit, plain in ((LIMIT, False), (EXPORTS_LIMIT, True)):
        folders = [folder for folder in PUBLISHED if is_plain(folder) == plain]
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < limit


def test_staging_names_the_repository_and_brings_the_packages_code(copied, copied_plain, tmp_path):
    (copied / "modeling_simfle.py").write_text("import os\n")
    stage_model(copied, tmp_path / "sent", "org/name")
    text = (tmp_path / "sent" / "README.md").read_text()
    assert 'pipeline("image-classification", model="org/name"' in text and "This sentence was written by hand." in text
    code = (ROOT / "modeling_simfle" / "modeling_simfle.py").read_bytes()
    assert (tmp_path / "sent" / "modeling_simfle.py").read_bytes() == code
    check_folder(tmp_path / "sent")
    stage_model(copied_plain, tmp_path / "plain", "org/plain")
    assert ModelCard.load(tmp_path / "plain" / "README.md").data.base_model == "org/classifier"


def test_the_plain_folder_gives_the_simfle_folders_labels_in_colour_and_gray(tmp_path):
    """In a new process, without remote code; the SimFLE folder's here."""
    folder = ROOT / "hub_cards" / "simfle-resnet18-ferplus-plain"
    files = []
    for index in range(6):
        image = draw_face(4, index, read(folder / "preprocessor_config.json")["size"]["height"]).image
        for mode in ("RGB", "L"):
            files.append(str(tmp_path / f"{index}_{mode}.png"))
            image.convert(mode).save(files[-1])
    ours = json.loads(run_alone(TOP_LABELS, folder, *files, cache=tmp_path).splitlines()[-1])
    classify = pipeline("image-classification", model=str(folder).removesuffix("-plain"))
    assert ours == [found["label"] for (found,) in classify(files, top_k=1)]
    assert ours[::2] == ours[1::2]
