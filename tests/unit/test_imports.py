# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The house's rules of imports, and `--help` that does not wait for torch."""

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODELING = sorted((ROOT / "modeling_simfle").glob("*.py"))
TRAINING = sorted((ROOT / "training").rglob("*.py"))
ALLOWED = {"torch", "transformers", "huggingface_hub", "numpy", "PIL"}
SCRIPT_FILES = [path for path in TRAINING if "run_main(" in path.read_text() and path.stem != "script_arguments"]
SCRIPTS = [path.stem for path in SCRIPT_FILES]


def imports(path: Path):
    """(module, level) of every import in a file; `from . import x` comes as ("", 1)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level


@pytest.mark.parametrize("path", MODELING, ids=lambda path: path.name)
def test_the_package_imports_its_flat_siblings_and_little_else(path):
    for module, level in imports(path):
        if level:
            assert level == 1
            assert (path.parent / f"{module}.py").is_file(), module
            continue
        first = module.split(".")[0]
        assert first in ALLOWED or first in sys.stdlib_module_names, module
        if first == "huggingface_hub":
            assert module == "huggingface_hub.dataclasses"


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.name)
def test_training_imports_parts_and_the_package(path):
    for module, level in imports(path):
        assert level == 0
        assert module.split(".")[0] != "tests"
        if path.stem not in SCRIPTS and module.startswith("training."):
            assert module.split(".")[1] not in SCRIPTS, f"{path.name} is a part and imports the script {module}"


def test_no_file_of_training_hides_an_installed_library():
    installed = set(importlib.metadata.packages_distributions()) - {"training", "modeling_simfle", "tests"}
    installed |= set(sys.stdlib_module_names)
    for path in (ROOT / "training").iterdir():
        assert path.stem not in installed, path


@pytest.mark.parametrize("script", SCRIPT_FILES, ids=lambda path: path.stem)
def test_help_answers_before_torch_is_imported(script):
    code = (
        "import runpy, sys; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'datasets', 'accelerate', 'sklearn'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, str(script)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_every_code_file_of_the_package_travels_with_the_weights():
    from modeling_simfle.configuration_simfle import CODE_FILES

    assert set(CODE_FILES) == {path.name for path in MODELING} - {"__init__.py"}


def test_import_registers_and_exports():
    import modeling_simfle

    names = {
        "SimFLEConfig",
        "SimFLEModel",
        "SimFLEForPreTraining",
        "SimFLEForImageClassification",
        "SimFLEImageProcessor",
    }
    assert set(modeling_simfle.__all__) == names
    assert modeling_simfle.__version__ == importlib.metadata.version("simfle")
