# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Flags and recipes: types checked, wrong ones named, flags over the recipe."""

import pwd
import re
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Literal

import pytest

from tests.new_process import ROOT
from training.runtime.arguments import check_range, parse_arguments
from training.runtime.errors import InputError


@dataclass
class Example:
    """Of every kind of field."""

    rate: float = field(default=0.5)
    steps: int = field(default=10)
    limit: int | None = field(default=None)
    gray: bool = field(default=False)
    branch: bool | None = field(default=None)
    mode: Literal["a", "b"] = field(default="a")
    mean: list[float] = field(default_factory=lambda: [1.0, 2.0])
    name: str | None = field(default=None)
    precision: Literal["no", "half"] | None = field(default=None)


def parse(*argv):
    return parse_arguments((Example,), [str(a) for a in argv])[0]


def write(folder, text):
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_recipe_first_flags_over_it(tmp_path):
    recipe = write(tmp_path, "rate: 1\nsteps: 20\ngray: true\nmean: [3, 4.5]\nbranch: false\nlimit: 7\nmode: b\n")
    assert parse("--recipe", recipe) == Example(1.0, 20, 7, True, False, "b", [3, 4.5])
    over = parse("--steps", 30, "--recipe", recipe, "--mode", "a", "--mean", 0.1, "--gray", "false")
    assert over == Example(1.0, 30, 7, False, False, "a", [0.1])
    assert isinstance(over.rate, float)


def test_a_path_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    """In a flag, a recipe, a list and a positional; the recipe's own path too."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "name: ~/faces\n")
    positional = (("places", {"nargs": "+"}),)
    (example, others) = parse_arguments((Example,), ["--recipe", "~/recipe.yaml", "~/a", "b"], positionals=positional)
    assert example.name == f"{tmp_path}/faces"
    assert others.places == [f"{tmp_path}/a", "b"]
    assert parse("--name", "~/x").name == parse("--name=~/x").name == f"{tmp_path}/x"


def test_variables_and_users_in_a_path(tmp_path, monkeypatch):
    """A shell puts them in on a command line; nobody does in a recipe, or behind the = of a flag."""
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    monkeypatch.delenv("NOWHERE", raising=False)
    for text in ("$SCRATCH/faces", "${SCRATCH}/faces", f"{tmp_path.parent}/$NAME/faces"):
        monkeypatch.setenv("NAME", tmp_path.name)
        assert parse("--recipe", write(tmp_path, f"name: {text}\n")).name == f"{tmp_path}/faces"
    root = pwd.getpwuid(0)
    assert parse(f"--name=~{root.pw_name}/x").name == f"{root.pw_dir}/x"
    assert parse("--name", "a$b~c").name == "a$b~c"
    for text, kind in (("~no_such_user/x", "user"), ("$NOWHERE/x", "environment variable")):
        with pytest.raises(InputError, match=f"{re.escape(text)}: there is no such {kind}"):
            parse("--name", text)


def test_what_yaml_reads_otherwise_is_taken_as_meant(tmp_path):
    """YAML 1.1: 1e-2 is a text there, and no is false."""
    found = parse(
        "--recipe", write(tmp_path, "rate: 1e-2\nmean: [1E3, .5e+1, 2]\nprecision: no\ngray: no\nname: 1e-2\n")
    )
    assert (found.rate, found.mean, found.precision, found.gray, found.name) == (0.01, [1e3, 5, 2], "no", False, "1e-2")


@pytest.mark.parametrize(
    "text,sentence",
    [
        ("stepss: 3", "unknown key 'stepss'; known are"),
        ("stepss: 3", "; did you mean steps?"),
        ("steps: many", "argument --steps: invalid int value: 'many'"),
        ("steps: 1.5", "argument --steps: invalid int value: '1.5'"),
        ("steps: true", "argument --steps: invalid int value: 'true'"),
        ("gray: 3", "argument --gray: Truthy value expected: got 3"),
        ("rate: fast", "argument --rate: invalid float value: 'fast'"),
        ("mode: c", "argument --mode: invalid choice: 'c'"),
        ("precision: 3", "argument --precision: invalid choice: '3'"),
        ("limit: x", "argument --limit: invalid int value: 'x'"),
        ("mean: [x]", "argument --mean: invalid float value: 'x'"),
        ("- steps", "must be a mapping of flags to values, not a list"),
        ("steps: [", "is not YAML"),
    ],
)
def test_bad_recipe_is_named(tmp_path, capsys, text, sentence):
    with pytest.raises(SystemExit) as end:
        parse("--recipe", write(tmp_path, text))
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err


def test_missing_recipe(tmp_path, capsys):
    with pytest.raises(SystemExit):
        parse("--recipe", tmp_path / "none.yaml")
    assert "none.yaml does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--step", "3"], ["--unknown", "3"], ["--steps", "x"], ["--mode", "c"], ["stray"]])
def test_bad_flags_exit_with_2_and_are_named(capsys, flags):
    with pytest.raises(SystemExit) as end:
        parse(*flags)
    assert end.value.code == 2
    assert flags[0].lstrip("-") in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags,sentence",
    [
        (["--steppes", "3"], "unknown flag --steppes; did you mean --steps? --help lists all"),
        (["--steppes=3", "--gray"], "unknown flag --steppes; did you mean --steps? --help lists all"),
        (["--zzz"], "unknown flag --zzz; --help lists all"),
        (["stray"], "argument 'stray' belongs to no flag; --help lists all"),
        (["--steps", "x"], "argument --steps: invalid int value: 'x'"),
    ],
)
def test_a_bad_flag_is_one_line_with_the_closest_flag(capsys, flags, sentence):
    with pytest.raises(SystemExit):
        parse(*flags)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f": {sentence}")


def test_check_range():
    check_range("rate", None, 0)
    check_range("rate", 0, 0)
    for value, arguments in ((-1, (0,)), (2, (0, 1)), (float("nan"), (0,))):
        with pytest.raises(ValueError, match=re.escape(f"--rate {value} must be in")):
            check_range("rate", value, *arguments)


def test_a_worker_that_outlives_a_kill_holds_nothing_up():
    """As one in a call of a dead disk does: the sentence comes, and the process ends without waiting for it."""
    code = """
import multiprocessing
from types import SimpleNamespace
from training.runtime.arguments import run_main
from training.runtime.errors import InputError
worker = SimpleNamespace(kill=lambda: None, join=lambda timeout: None, is_alive=lambda: True)
multiprocessing.active_children = lambda: [worker]
def main():
    raise InputError("it hangs")
run_main("script", main)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (2, "script: it hangs\n")
