# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The plain folder's ONNX files under @huggingface/transformers in Node.js against Python, on the same pictures."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import pipeline

from tests.new_process import ROOT
from training.data.drawn_faces import draw_face
from training.data.expressions import EXPRESSIONS
from training.exporting.onnx_files import load_plain_folder, onnx_classifier

PUBLISHED = sorted(path.parents[1] for path in (ROOT / "hub_cards").glob("*/onnx/model.onnx"))
NODE = Path(__file__).parent / "node"
pytestmark = pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="no Node.js")


@pytest.fixture(scope="module")
def packages():
    """tests/hub/node/node_modules as package.json says. No scripts: onnxruntime-node's would fetch CUDA libraries."""
    if not (NODE / "node_modules" / ".package-lock.json").is_file():  # npm writes it last
        command = ["npm", "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=NODE, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(
    scope="module", params=["drawn", *PUBLISHED], ids=lambda parameter: getattr(parameter, "name", parameter)
)
def folder(request, exported):
    """The plain folder of a gray-trained classifier: luminance is in its weights, colour pictures go in. Or others."""
    return exported("gray") / "plain" if request.param == "drawn" else request.param


@pytest.fixture(scope="module")
def pictures(folder, tmp_path_factory):
    """Paths of colour faces: two of the model's own size and four of others, larger, smaller and not square."""
    root, files = tmp_path_factory.mktemp("pictures"), []
    side = load_plain_folder(folder)[1].size["height"]
    for index, size in enumerate((side, side, side + 32, 150, 40, 200)):
        image = draw_face(5, index, size).image
        files.append(root / f"{index}.png")
        (image.crop((0, 10, 150, 121)) if size == 150 else image).save(files[-1])
    return files


def under_node(folder, dtype, files) -> dict[str, np.ndarray]:
    """ "stock" and "resized" (see classify.mjs), (N, 8) probabilities each."""
    command = ["node", str(NODE / "classify.mjs"), str(folder), dtype, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        road: np.array([[row[road][name] for name in EXPRESSIONS] for row in found]) for road in ("stock", "resized")
    }


def test_onnx_gives_pythons_probabilities(packages, folder, pictures):
    rows = pipeline("image-classification", model=str(folder))([str(file) for file in pictures], top_k=8)
    ours = np.array([[{r["label"]: r["score"] for r in row}[name] for name in EXPRESSIONS] for row in rows])
    theirs = under_node(folder, "fp32", pictures)
    assert folder in PUBLISHED or np.ptp(ours, axis=0).max() > 0.3  # the pictures differ
    # The stock road at the model's own size; at others it resizes without antialiasing, so the picture comes resized.
    np.testing.assert_allclose(theirs["stock"][:2], ours[:2], atol=1e-4)
    np.testing.assert_allclose(theirs["resized"], ours, atol=1e-2)
    for road, count in (("stock", 2), ("resized", len(pictures))):
        assert (theirs[road].argmax(1) == ours.argmax(1))[:count].all()


def test_int8_gives_pythons_probabilities(packages, folder, pictures):
    _, processor = load_plain_folder(folder)
    pixel_values = processor([Image.open(file) for file in pictures[:2]], return_tensors="pt").pixel_values
    ours = onnx_classifier(folder / "onnx" / "model_quantized.onnx")(pixel_values).softmax(1).numpy()
    theirs = under_node(folder, "q8", pictures[:2])["stock"]
    np.testing.assert_allclose(theirs, ours, atol=1e-2)
    assert (theirs.argmax(1) == ours.argmax(1)).all()


def test_the_cards_snippet(packages, folder, pictures):
    name = "hub_cards/simfle-resnet18-ferplus-plain"
    (code,) = re.findall(r"```js\n(.*?)```", (ROOT / name / "README.md").read_text(), re.DOTALL)
    code = code.replace(f"{name}/example_photo.png", str(pictures[0])).replace(name, folder.name)
    offline = f"env.allowRemoteModels = false; env.localModelPath = {json.dumps(str(folder.parent))};"
    code = f'import {{ env }} from "@huggingface/transformers";\n{offline}\n{code}'
    command = ["node", "--input-type=module", "--eval", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=NODE)
    assert done.returncode == 0, done.stderr
    wanted = pipeline("image-classification", model=str(folder))(str(pictures[0]), top_k=1)[0]["label"]
    assert re.search(r"label: '(\w+)'", done.stdout)[1] == wanted
