# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Classifiers from a folder or the Hub: by PyTorch, or their ONNX file by ONNX Runtime. Shapes: B faces, C classes."""

import hashlib
import os
import traceback
from pathlib import Path

import torch
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.utils import cached_file

from modeling_simfle import SimFLEImageProcessor
from modeling_simfle.hub_folder_simfle import check_shards
from simfle.errors import InputError

ONNX_FILES = ("onnx/model_quantized.onnx", "onnx/model.onnx")  # the first that is there
WRONG = (OSError, ValueError, RuntimeError, HfHubHTTPError, HFValidationError, StrictDataclassError, SafetensorError)


class OnnxClassifier(PreTrainedModel):
    """
    An ONNX file behind the interface of a Transformers model, so that the same pipeline runs it.

    Args:
        config: of the model it was exported from. file: the .onnx file; one input (B, 3, S, S), one output (B, C).
    """

    config_class = PretrainedConfig
    main_input_name = "pixel_values"

    def __init__(self, config: PretrainedConfig, file: str):
        import onnxruntime

        super().__init__(config)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = count_cores()
        options.log_severity_level = 3
        # Threads that spin between runs would take the cores from the face detector.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # On x86 processors without VNNI, sums of two 8-bit products overflow 16 bits otherwise (ONNX Runtime 1.32):
        # probabilities of int8 files were off by up to 0.1 from those of browsers and of processors with VNNI.
        options.add_session_config_entry("session.x64quantprecision", "1")
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.input_name = self.session.get_inputs()[0].name
        self.anchor = torch.nn.Parameter(torch.zeros(()), requires_grad=False)  # gives the model a device and a dtype

    def forward(self, pixel_values: torch.Tensor, **options) -> ImageClassifierOutput:
        """pixel_values: (B, 3, S, S) float32 -> logits (B, C). options: of other models; the file has none."""
        (logits,) = self.session.run(None, {self.input_name: pixel_values.numpy()})
        return ImageClassifierOutput(logits=torch.from_numpy(logits))


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_classifier(source: str, backend: str):
    """
    Args:
        source: a folder or a Hub id. backend: "torch" or "onnx".
    Returns:
        (model, image processor, SHA-256 of the weights).
    Raises:
        InputError: there is no such model, or it is no classifier.
    """
    try:
        check_shards(source)
        config = AutoConfig.from_pretrained(source)
        if not any("ForImageClassification" in str(name) for name in config.architectures or ()):
            kind = ", ".join(map(str, config.architectures or ("model",)))
            raise InputError(f"--model {source} holds a {kind}, not a classifier; fine-tune one from it first.")
        # Transformers 5.24 takes a stock config's temperature for an option of text generation, and drops it.
        temperature = PretrainedConfig.get_config_dict(source)[0].get("temperature", 1.0)
        if backend == "onnx":
            file = find_onnx_file(source)
            # Stock folders name a stock processor; ours computes the same without torchvision.
            processor = SimFLEImageProcessor.from_pretrained(source)
            config.temperature = temperature
            return OnnxClassifier(config, file).eval(), processor, hash_file(file)
        model = AutoModelForImageClassification.from_pretrained(source).eval()
        model.config.temperature = temperature
        return model, load_processor(source, config), hash_weights(model)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"--backend onnx needs ONNX Runtime ({error}); pip install 'simfle[photos]'.") from error
    except (*WRONG, AttributeError, LookupError, TypeError) as error:  # the latter: JSON values of another type
        if not isinstance(error, WRONG) and not is_of_transformers(error):
            raise
        raise InputError(f"--model {source} cannot be loaded: {' '.join(str(error).split())[:400]}") from error


def is_of_transformers(error: Exception) -> bool:
    """Whether transformers, which checks no type of a JSON file's values (5.24), raised an error; else it is a bug."""
    return "transformers" in Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts[-4:-1]


def load_processor(source: str, config: PretrainedConfig):
    if config.model_type == "simfle" or type(config).__name__ == "ResNetConfig":
        return SimFLEImageProcessor.from_pretrained(source)
    return AutoImageProcessor.from_pretrained(source)


def find_onnx_file(source: str) -> str:
    """The path of the int8 file, else of the float32 file. Raises InputError: there is neither."""
    for name in ONNX_FILES:
        if Path(source).is_dir():
            file = str(Path(source, name)) if Path(source, name).is_file() else None
        else:
            file = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
        if file:
            return file
    raise InputError(
        f"--model {source} has neither {' nor '.join(ONNX_FILES)}; give a plain folder, or --backend torch."
    )


def hash_file(file: str) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_weights(model: torch.nn.Module) -> str:
    """SHA-256 over the names and values of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
