# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""export.py: the plain folder, ONNX, int8 and exports.json, of classifiers trained in colour and in gray."""

import hashlib
import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import load_file
from transformers import pipeline

from modeling_simfle import SimFLEForImageClassification, SimFLEImageProcessor
from tests.hub.drawn_classifier import save_classifier
from tests.new_process import ROOT, run_alone
from training import export
from training.data.drawn_faces import draw_face
from training.data.expressions import EXPRESSIONS
from training.exporting.exports import FILES
from training.exporting.onnx_files import (
    check_against_eager,
    load_plain_folder,
    onnx_classifier,
    save_plain_folder,
    store_halves,
)
from training.finetuning.teachers import check_same_pixels, load_teacher
from training.models.loading import load_processor

# Of probabilities: weights rounded to float16; and, trained in gray, the gray picture rounded to 8 bits, to which an
# untrained encoder is as sensitive as to any noise.
SAME, SAME_BUT_ROUNDED = 5e-3, 5e-2
CLASSIFY = """
import json
from transformers import pipeline
classify = pipeline("image-classification", model=sys.argv[1], trust_remote_code=False)
assert type(classify.model).__module__ == "transformers.models.resnet.modeling_resnet"
assert type(classify.image_processor).__module__.startswith("transformers.models.vit.")
print(json.dumps([{row["label"]: row["score"] for row in found} for found in classify(sys.argv[2:], top_k=8)]))
"""


@pytest.fixture(scope="module", params=["colour", "gray"])
def folders(request, exported):
    """(the SimFLE folder, its export, what exports.json holds)."""
    root = exported(request.param)
    simfle, plain = root / "simfle", root / "plain"
    return simfle, plain, json.loads((plain / "exports.json").read_text())


def pictures() -> list[Image.Image]:
    """Colour and gray faces of several sizes and shapes."""
    colour = [draw_face(3, i, size).image for i, size in enumerate((64, 96, 40, 150, 33, 64))]
    colour[3] = colour[3].crop((0, 10, 150, 121))
    return [*colour, *(image.convert("L") for image in colour)]


def scores(folder, images) -> np.ndarray:
    """(N, 8) probabilities under the plain folder, by the pipeline: how users call it."""
    found = pipeline("image-classification", model=str(folder))(images, top_k=8)
    return np.array([[{r["label"]: r["score"] for r in rows}[name] for name in EXPRESSIONS] for rows in found])


def simfle_scores(folder, images) -> np.ndarray:
    """The same under the SimFLE folder."""
    processor, model = (c.from_pretrained(folder) for c in (SimFLEImageProcessor, SimFLEForImageClassification))
    with torch.no_grad():
        return model.eval()(**processor(images, return_tensors="pt")).logits.softmax(1).numpy()


def assert_same(ours, theirs, tolerance) -> None:
    assert np.abs(ours - theirs).max() < tolerance
    top = np.sort(theirs)[:, -2:]
    clear = top[:, 1] - top[:, 0] > 2 * tolerance
    assert clear.sum() > len(theirs) / 2
    assert (ours.argmax(1) == theirs.argmax(1))[clear].all()


def test_plain_folder_classifies_colour_and_gray_pictures_as_the_simfle_folder(folders):
    simfle, plain, _ = folders
    theirs, ours = simfle_scores(simfle, pictures()), scores(plain, pictures())
    is_gray = SimFLEImageProcessor.from_pretrained(simfle).do_grayscale
    assert theirs.max(1).mean() > 0.3  # it says something
    assert_same(ours[6:], theirs[6:], SAME)
    assert_same(ours[:6], theirs[:6], SAME_BUT_ROUNDED if is_gray else SAME)
    if is_gray:  # the plain folder as well sees no colour
        assert_same(ours[:6], ours[6:], SAME_BUT_ROUNDED)


def test_luminance_is_in_the_weights(tmp_path):
    """Equal logits where the gray picture is not rounded; the rounding is below two 8-bit steps, on average none."""
    simfle = save_classifier(tmp_path / "simfle", do_grayscale=True)
    processor, model = (c.from_pretrained(simfle) for c in (SimFLEImageProcessor, SimFLEForImageClassification))
    images = pictures()[:6]
    rounded = processor(images, return_tensors="pt").pixel_values
    colour = processor(images, do_grayscale=False, return_tensors="pt").pixel_values
    gray = (
        (colour * torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    )
    steps = (gray - rounded) * processor.image_std * 255
    assert steps.abs().max() < 2 and steps.mean().abs() < 0.05
    save_plain_folder(model.eval(), processor, tmp_path / "plain")
    plain, _ = load_plain_folder(tmp_path / "plain")
    with torch.no_grad():
        torch.testing.assert_close(plain(colour).logits, model(gray).logits, rtol=0, atol=1e-2)  # float16 weights


def test_plain_folder_needs_no_custom_code(folders, tmp_path):
    _, plain, _ = folders
    files = []
    for index, image in enumerate(pictures()):
        files.append(tmp_path / f"{index}.png")
        image.save(files[-1])
    found = json.loads(run_alone(CLASSIFY, plain, *files, cache=tmp_path).splitlines()[-1])
    alone = np.array([[row[name] for name in EXPRESSIONS] for row in found])
    np.testing.assert_allclose(alone, scores(plain, pictures()), atol=1e-6)


def test_files_of_the_export(folders):
    _, plain, exports = folders
    found = {path.relative_to(plain).as_posix() for path in plain.rglob("*") if path.is_file()}
    assert found == {"config.json", "preprocessor_config.json", "exports.json", *FILES.values()}
    assert sorted(path.name for path in plain.parent.iterdir()) == ["plain", "simfle"]  # no temporary folder left
    config = json.loads((plain / "config.json").read_text())
    assert config["architectures"] == ["ResNetForImageClassification"]
    assert config["dtype"] == "float32"
    assert list(config["id2label"].values()) == list(EXPRESSIONS)
    assert "auto_map" not in config
    processor = json.loads((plain / "preprocessor_config.json").read_text())
    assert processor["image_processor_type"] == "ViTImageProcessor"
    assert "auto_map" not in processor
    tensors = load_file(plain / "model.safetensors")
    assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {torch.float16}
    model, _ = load_plain_folder(plain)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for name, file in FILES.items():
        assert exports[name]["size_bytes"] == (plain / file).stat().st_size
        assert exports[name]["sha256"] == hashlib.sha256((plain / file).read_bytes()).hexdigest()
        assert str(ROOT).encode() not in (plain / file).read_bytes()
        assert b"site-packages" not in (plain / file).read_bytes()


def test_onnx_weights_are_float16_in_the_file_where_that_loses_nothing(folders):
    _, plain, _ = folders
    graph = onnx.load(plain / "onnx" / "model.onnx").graph
    kinds = {len(weight.dims) > 1: set() for weight in graph.initializer if weight.data_type != TensorProto.INT64}
    for weight in graph.initializer:
        if weight.data_type != TensorProto.INT64:
            kinds[len(weight.dims) > 1].add(weight.data_type)
    assert kinds == {True: {TensorProto.FLOAT16}, False: {TensorProto.FLOAT}}
    exact, inexact = np.full((2, 2), 0.5, np.float32), np.full((2, 2), 0.1, np.float32)
    large = np.full((2, 2), 1e6, np.float32)
    weights = [numpy_helper.from_array(v, n) for n, v in (("exact", exact), ("inexact", inexact), ("large", large))]
    graph = helper.make_graph([], "graph", [], [], weights)
    store_halves(graph)
    assert [weight.name for weight in graph.initializer] == ["exact_float16", "inexact", "large"]
    assert [(node.op_type, *node.input, *node.output) for node in graph.node] == [("Cast", "exact_float16", "exact")]
    quantized = [node.op_type for node in onnx.load(plain / "onnx" / "model_quantized.onnx").graph.node]
    assert "QuantizeLinear" in quantized and "BatchNormalization" not in quantized


def test_a_plain_folder_may_teach(folders):
    simfle, plain, _ = folders
    processor, teacher = load_processor(simfle), load_teacher(str(plain), EXPRESSIONS, "cpu")
    if processor.do_grayscale:
        with pytest.raises(ValueError, match="has do_grayscale False, and this run True"):
            check_same_pixels(teacher, processor)
        return
    check_same_pixels(teacher, processor)
    assert not teacher.model.training and type(teacher.model).__name__ == "ResNetForImageClassification"


def test_stock_processor_gives_equal_pixels(folders):
    simfle, plain, _ = folders
    ours = SimFLEImageProcessor.from_pretrained(simfle)
    _, stock = load_plain_folder(plain)
    for image in pictures():
        for picture in (image, image.convert("RGBA")):
            wanted = ours(picture, do_grayscale=False, return_tensors="np").pixel_values
            found = stock(picture, return_tensors="np").pixel_values
            np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_onnx_is_one_file_with_free_batch_and_size_and_equals_eager(folders):
    _, plain, exports = folders
    file = plain / "onnx" / "model.onnx"
    graph = onnx.load(file, load_external_data=False).graph
    assert [[d.dim_param or d.dim_value for d in part.type.tensor_type.shape.dim] for part in graph.input] == [
        ["batch_size", 3, "height", "width"]
    ]
    assert [part.name for part in (*graph.input, *graph.output)] == ["pixel_values", "logits"]
    assert not any(tensor.external_data for tensor in graph.initializer)
    model, _ = load_plain_folder(plain)
    classify, generator = onnx_classifier(file), torch.Generator().manual_seed(1)
    for shape in ((1, 3, 64, 64), (7, 3, 64, 64), (3, 3, 112, 80), (1, 3, 224, 224), (2, 3, 33, 47)):
        pixel_values = torch.randn(shape, generator=generator)
        with torch.no_grad():
            wanted = model(pixel_values).logits
        torch.testing.assert_close(classify(pixel_values), wanted, rtol=1e-4, atol=1e-4)
    assert exports["onnx"]["agreement"] == 1
    assert exports["onnx"]["largest_probability_difference"] < 1e-4


def test_a_file_that_is_not_the_models_is_refused(folders):
    _, plain, _ = folders
    model, _ = load_plain_folder(plain)
    model.classifier[1].bias.data += 0.1
    with pytest.raises(ValueError, match=r"differs from eager by .* do not use it"):
        check_against_eager(plain / "onnx" / "model.onnx", model, 64)


def test_int8_has_8_bit_convolutions_by_channel_and_agrees(folders):
    _, plain, exports = folders
    graph = onnx.load(plain / "onnx" / "model_quantized.onnx").graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    dequantized = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 5
    for node in convolutions:
        weight = dequantized[node.input[1]]
        assert tensors[weight.input[0]].data_type == onnx.TensorProto.INT8
        assert list(tensors[weight.input[1]].dims) == [tensors[weight.input[0]].dims[0]]  # a scale each channel
        pixels = dequantized[node.input[0]]
        assert tensors[pixels.input[2]].data_type == onnx.TensorProto.UINT8
    (linear,) = (node for node in graph.node if node.op_type == "Gemm")
    assert tensors[linear.input[1]].data_type == onnx.TensorProto.FLOAT
    row = exports["int8"]
    assert row["agreement"] >= 14 / 16
    assert row["largest_probability_difference"] < 0.2
    assert row["calibration"]["num_images"] == 48
    assert row["calibration"]["dataset"]["split"] == "train"


def test_exports_json_has_every_figure(folders):
    simfle, plain, exports = folders
    figures = ["size_bytes", "agreement", "largest_probability_difference", "accuracy"]
    figures += [f"{kind}_batch_{n}" for kind in ("milliseconds", "ratio_to_eager") for n in (1, 32)]
    for name in FILES:
        assert all(exports[name][figure] >= 0 for figure in figures), name
    assert exports["eager"]["ratio_to_eager_batch_1"] == 1
    assert exports["plain_against_simfle"]["largest_probability_difference"] < SAME_BUT_ROUNDED
    assert exports["measured_on"]["num_images"] == 16
    assert exports["threads"] == 2
    weights = hashlib.sha256((simfle / "model.safetensors").read_bytes()).hexdigest()
    assert exports["model_weights_sha256"] == {"model.safetensors": weights}
    assert exports["fold_grayscale"] == SimFLEImageProcessor.from_pretrained(simfle).do_grayscale
    assert exports["command"].startswith(f"python training/export.py {simfle} {plain} --dataset ")


def test_without_a_data_set_there_is_no_int8_and_no_accuracy_and_other_files_stay(tmp_path, capsys):
    simfle, out = save_classifier(tmp_path / "simfle"), tmp_path / "plain"
    out.mkdir()
    (out / "README.md").write_text("a card")
    (out / "config.json").write_text("of an earlier export")
    export.main([str(simfle), str(out), "--overwrite", "--timing_rounds", "1", "--num_workers", "0"])
    assert "no int8 file" in capsys.readouterr().out
    exports = json.loads((out / "exports.json").read_text())
    assert "int8" not in exports
    assert "accuracy" not in exports["onnx"]
    assert exports["measured_on"]["source"] == "drawn faces"
    assert exports["plain_against_simfle"]["largest_probability_difference"] < SAME
    assert not (out / "onnx" / "model_quantized.onnx").exists()
    assert (out / "README.md").read_text() == "a card"
    assert load_plain_folder(out)[0].config.num_labels == 8


def test_what_cannot_be_exported(folders, tmp_path):
    simfle, plain, _ = folders
    with pytest.raises(ValueError, match="not empty"):
        export.main([str(simfle), str(plain)])
    with pytest.raises(ValueError, match="holds a resnet classifier"):
        export.main([str(plain), str(tmp_path / "again")])
    assert not (tmp_path / "again").exists()
    with pytest.raises(ValueError, match=r"--threads 0 must be in \[1"):
        export.main([str(simfle), str(tmp_path / "new"), "--threads", "0"])
    model = SimFLEForImageClassification.from_pretrained(simfle)
    model.classifier.weight.data[0, 0] = 1e5
    model.save_pretrained(tmp_path / "large")
    SimFLEImageProcessor.from_pretrained(simfle).save_pretrained(tmp_path / "large")
    with pytest.raises(ValueError, match=r"classifier\.1\.weight has values that float16 does not hold"):
        export.main([str(tmp_path / "large"), str(tmp_path / "new")])
    assert not (tmp_path / "new").exists()
