# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""SimFLE for Transformers: importing this package registers its classes with the Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, AutoModelForPreTraining

# Under transformers 5.17 without torchvision the top-level name is a dummy that raises.
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_simfle import SimFLEConfig
from .image_processing_simfle import SimFLEImageProcessor
from .modeling_simfle import SimFLEForImageClassification, SimFLEForPreTraining, SimFLEModel
from .pipeline_simfle import TASK, FaceExpressionPipeline

__version__ = "0.1.0"

AutoConfig.register(SimFLEConfig.model_type, SimFLEConfig, exist_ok=True)
AutoModel.register(SimFLEConfig, SimFLEModel, exist_ok=True)
AutoModelForPreTraining.register(SimFLEConfig, SimFLEForPreTraining, exist_ok=True)
AutoModelForImageClassification.register(SimFLEConfig, SimFLEForImageClassification, exist_ok=True)
# Named for both backends: where torchvision is installed, transformers would otherwise say that it falls back.
AutoImageProcessor.register(
    SimFLEConfig,
    image_processor_classes={"pil": SimFLEImageProcessor, "torchvision": SimFLEImageProcessor},
    exist_ok=True,
)
if TASK not in PIPELINE_REGISTRY.get_supported_tasks():  # a second registration is warned of
    PIPELINE_REGISTRY.register_pipeline(
        TASK, pipeline_class=FaceExpressionPipeline, pt_model=AutoModelForImageClassification, type="image"
    )

__all__ = [
    "FaceExpressionPipeline",
    "SimFLEConfig",
    "SimFLEForImageClassification",
    "SimFLEForPreTraining",
    "SimFLEImageProcessor",
    "SimFLEModel",
]
