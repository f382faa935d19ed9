# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
From an image to the expressions of its faces, by the steps of `FaceExpressionPipeline`.

prepare (in threads) -> predict (in batches across images) -> describe. Shapes: B faces, C classes, S side of a face.
"""

from argparse import Namespace

import torch
import transformers
from PIL import Image
from transformers.image_utils import SizeDict

from modeling_simfle import FaceExpressionPipeline, SimFLEImageProcessor
from modeling_simfle.face_detection_simfle import detector_file, opencv
from simfle.errors import InputError
from simfle.models import load_classifier

LOOKING = (
    "detection_threshold",
    "min_face_size",
    "max_faces",
    "margin",
    "align",
    "already_cropped",
    "face_detector",
)


class FaceClassifier:
    """
    Args:
        pipeline: finds and classifies faces. weights_hash: SHA-256 of its weights.
        calibrated: whether the config's temperature applies.
    """

    def __init__(self, pipeline: FaceExpressionPipeline, weights_hash: str, calibrated: bool = False):
        self.pipeline, self.hash, self.calibrated = pipeline, weights_hash, calibrated
        names: dict = pipeline.model.config.id2label  # Transformers makes its keys numbers
        self.classes = [names[index] for index in range(len(names))]

    def prepare(self, image: Image.Image) -> list[dict]:
        """The chunks of an RGB image, one a face: `pixel_values` (1, 3, S, S) and `face`. Threads may call it."""
        chunks = self.pipeline.preprocess(image, **self.pipeline._preprocess_params)
        return [chunk for chunk in chunks if chunk["face"] is not None]

    def predict(self, chunks: list[dict]) -> list[torch.Tensor]:
        """The logits (1, C) of each of B chunks, by one forward pass."""
        pixel_values = torch.cat([chunk.pop("pixel_values") for chunk in chunks])  # (B, 3, S, S)
        return list(self.pipeline.forward({"pixel_values": pixel_values})["logits"].split(1))

    def describe(self, chunks: list[dict], logits: list[torch.Tensor]) -> list[dict]:
        """The faces of one image, the largest first: box, detection_score, scores, as the pipeline answers them."""
        outputs = [{**chunk, "logits": row} for chunk, row in zip(chunks, logits)]
        return self.pipeline.postprocess(outputs, top_k=None, calibrated=self.calibrated) if outputs else []


class DirectProcessor:
    """
    One face at a time through `SimFLEImageProcessor.process_image`, with the processor's own options.

    A call of the processor checks its options anew (Transformers 5.24), which takes as long as the pixels do.
    """

    def __init__(self, processor: SimFLEImageProcessor):
        self.process_image = processor.process_image
        names = ("do_resize", "resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
        self.options = {name: getattr(processor, name) for name in (*names, "do_convert_rgb", "do_grayscale")}
        self.options["size"] = SizeDict(height=processor.size["height"], width=processor.size["width"])

    def __call__(self, image: Image.Image, return_tensors: str) -> dict:
        """`pixel_values` (1, 3, S, S) float32."""
        return {"pixel_values": torch.from_numpy(self.process_image(image, **self.options))[None]}


def load_face_classifier(arguments: Namespace) -> FaceClassifier:
    """
    Args:
        arguments: of `simfle.arguments.parse_arguments`.
    Raises:
        InputError: a model, a detector or a device that cannot be used.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not arguments.already_cropped:
        check_detector(arguments)
    model, processor, weights_hash = load_classifier(arguments.model, arguments.backend)
    options = {name: getattr(arguments, name) for name in LOOKING if getattr(arguments, name) is not None}
    device = "cpu" if arguments.backend == "onnx" else arguments.device  # None: a GPU where there is one
    try:
        pipeline = FaceExpressionPipeline(model=model, image_processor=processor, device=device, **options)
    except (ValueError, RuntimeError, AssertionError) as error:  # torch raises the last for a build without CUDA
        where = f"--device {device}: " if device else ""
        raise InputError(f"{where}{' '.join(str(error).split())[:300]}") from error
    if isinstance(processor, SimFLEImageProcessor):
        pipeline.image_processor = DirectProcessor(processor)  # type: ignore[assignment]
    return FaceClassifier(pipeline, weights_hash, arguments.calibrated)


def check_detector(arguments: Namespace) -> None:
    """One thread a look: several looks run at a time. Raises InputError: no OpenCV, or no weights."""
    try:
        opencv().setNumThreads(1)
        detector_file(arguments.face_detector)
    except (ImportError, ValueError) as error:
        raise InputError(str(error)) from error
