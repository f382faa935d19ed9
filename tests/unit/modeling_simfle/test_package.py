# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What the package exports, and that all of its files travel with the weights."""

import importlib.metadata
from pathlib import Path

import modeling_simfle
from modeling_simfle.hub_folder_simfle import CODE_FILES


def test_every_code_file_of_the_package_travels_with_the_weights():
    files = {path.name for path in Path(modeling_simfle.__file__).parent.glob("*.py")}
    assert set(CODE_FILES) == files - {"__init__.py"}


def test_exports():
    names = {
        "SimFLEConfig",
        "SimFLEModel",
        "SimFLEForPreTraining",
        "SimFLEForImageClassification",
        "SimFLEImageProcessor",
    }
    assert names <= set(modeling_simfle.__all__) <= names | {"FaceExpressionPipeline"}
    assert modeling_simfle.__version__ == importlib.metadata.version("simfle")
