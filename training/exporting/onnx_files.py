"""
Writes a classifier in the forms that other tools read: a plain ResNet folder, its ONNX file, and the same in int8.

    FOLDER/config.json, preprocessor_config.json, model.safetensors     stock classes of transformers, no custom code
    FOLDER/onnx/model.onnx, FOLDER/onnx/model_quantized.onnx            where optimum and transformers.js look for them

Shapes: (B, 3, H, W) pixel_values, (B, K) logits; B, H and W are free in the ONNX files.
"""

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from training.models.half_weights import save_halves
from training.runtime.errors import InputError

# The fields that the stock processor shares with SimFLE's; luminance is folded into the weights.
PROCESSOR_FIELDS = (
    *("do_resize", "size", "resample", "do_convert_rgb"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
)
# Largest difference of a logit between ONNX and eager, over the larger of 1 and the largest logit.
TOLERANCE = 1e-4

Classify = Callable[[torch.Tensor], torch.Tensor]  # pixel_values (B, 3, H, W) -> logits (B, K)


def save_plain_folder(model, processor, folder: Path) -> None:
    """
    Saves a classifier without custom code: `ResNetForImageClassification` and a stock image processor.

    ViTImageProcessor is the stock class that transformers and transformers.js both know and that resizes to exactly
    (S, S). Tensors are float16 beside "dtype": "float32", as in the other published folders.

    Args:
        model: SimFLEForImageClassification in eval mode, on the CPU. processor: its SimFLEImageProcessor; under its
            `do_grayscale` the luminance mix is folded into the first convolution.
    Raises:
        ValueError: float16 cannot hold a weight.
    """
    save_halves(model.float().to_resnet(fold_grayscale=processor.do_grayscale), folder)
    fields = {name: getattr(processor, name) for name in PROCESSOR_FIELDS}
    for name in ("image_mean", "image_std"):  # one number serves three channels with us
        fields[name] = np.broadcast_to(fields[name], 3).tolist()
    ViTImageProcessorPil(**fields).save_pretrained(folder)


def load_plain_folder(folder: Path) -> tuple[nn.Module, ViTImageProcessorPil]:
    """The stock model, float32 and in eval mode, and the stock processor."""
    model = AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=False)
    return model.eval(), ViTImageProcessorPil.from_pretrained(folder)


class Logits(nn.Module):
    """Returns only logits: the ONNX graph has one input, pixel_values, and one output."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values).logits


def write_onnx(model: nn.Module, file: Path, size: int, halves: bool = False) -> None:
    """
    Writes one ONNX file with the weights in it, and checks it. The batch and both sides of the image are free.

    Torch's exporter folds BatchNorm into the convolutions. With `halves`, ONNX Runtime folds it when it loads the file.

    Args:
        model: a stock classifier, float32, in eval mode. size: side of the images in pixels, for the trace.
        halves: whether to call `store_halves`, for a model whose weights were float16.
    Raises:
        InputError: the logits of the file differ from those of the model.
    """
    import onnx
    from onnxscript import optimizer

    program = torch.onnx.export(
        Logits(model).eval(),
        (torch.zeros(2, 3, size, size),),
        dynamo=True,
        verbose=False,
        optimize=not halves,
        input_names=["pixel_values"],
        output_names=["logits"],
        dynamic_shapes={"pixel_values": {0: "batch_size", 2: "height", 3: "width"}},
    )
    if halves:  # only the optimizations that leave BatchNorm as it is
        for clean in (optimizer.inline, optimizer.fold_constants, optimizer.remove_unused_nodes):
            clean(program.model)
    graph = program.model_proto
    # The exporter stores stack traces with paths of this machine.
    whole = graph.graph
    for part in (graph, whole, *whole.node, *whole.input, *whole.output, *whole.value_info):
        del part.metadata_props[:]
    if halves:
        store_halves(graph.graph)
    onnx.save(graph, file)
    onnx.checker.check_model(str(file), full_check=True)
    check_against_eager(file, model, size)


def store_halves(graph) -> None:
    """
    Stores weights as float16 in the file if float16 holds them exactly; a Cast node makes them float32 again. The file
    has half the size and the same numbers. Vectors are small and stay float32.

    Args:
        graph: onnx.GraphProto, changed in place.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.ndim < 2:
            continue
        name, halves = weight.name, values.astype(np.float16)
        if np.array_equal(halves.astype(np.float32), values):
            weight.CopyFrom(numpy_helper.from_array(halves, f"{name}_float16"))
            casts.append(helper.make_node("Cast", [weight.name], [name], f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


@torch.no_grad()
def check_against_eager(file: Path, model: nn.Module, size: int) -> float:
    """
    Compares ONNX and eager on noise of several batch sizes and image sizes.

    Returns:
        The largest difference of a logit, over the larger of 1 and the largest logit.
    Raises:
        InputError: the difference is above TOLERANCE.
    """
    classify, generator, largest = onnx_classifier(file), torch.Generator().manual_seed(0), 0.0
    for batch, height, width in ((1, size, size), (5, size, size), (2, size + 32, size), (1, 2 * size, size + 7)):
        pixel_values = torch.randn(batch, 3, height, width, generator=generator)
        wanted = model(pixel_values).logits
        difference = (classify(pixel_values) - wanted).abs().max() / wanted.abs().max().clamp(min=1)
        largest = max(largest, difference.item())
    if largest > TOLERANCE:
        raise InputError(f"{file} differs from eager by {largest:.1e}, above {TOLERANCE:.0e}; do not use it.")
    return largest


def onnx_classifier(file: Path, threads: int = 1) -> Classify:
    """Returns the ONNX file as a function that runs on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda pixel_values: torch.from_numpy(session.run(["logits"], {"pixel_values": pixel_values.numpy()})[0])


def eager_classifier(model: nn.Module) -> Classify:
    """Returns the model as a function without gradients."""

    def classify(pixel_values: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model(pixel_values).logits

    return classify


class CalibrationBatches:
    """Hands pixel_values to ONNX Runtime's calibration: its CalibrationDataReader."""

    def __init__(self, batches: Iterable[torch.Tensor]):
        self.left = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.left, None)
        return None if batch is None else {"pixel_values": batch.numpy()}


def write_int8(file: Path, quantized: Path, batches: Iterable[torch.Tensor], reduce_range: bool) -> None:
    """
    Quantises an ONNX file by ONNX Runtime: 8-bit weights by channel; the ranges of activations come from images.

    Activations are unsigned and weights are signed. x86 processors with VNNI multiply this pair in one instruction.
    With any other pair, ONNX Runtime 1.32 on x86 is no faster than float32. The linear layer costs little time and
    stays float32.

    Args:
        file, quantized: the ONNX file to read and the one to write. batches: pixel_values (B, 3, S, S), all of one B.
        reduce_range: whether to use 7-bit weights. With 8 bits, sums of two products can exceed 16 bits on x86
            processors without VNNI.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = os.path.join(folder, "prepared.onnx")
        quant_pre_process(file, prepared)
        linear = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Gemm"]
        quantize_static(
            prepared,
            quantized,
            CalibrationBatches(batches),
            quant_format=QuantFormat.QDQ,
            nodes_to_exclude=linear,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
        )
