# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The commands in README, NOTES, cards and recipes name scripts, flags and recipes that there are."""

import importlib
import re

import pytest

from tests.new_process import ROOT

PLACES = ("README.md", "NOTES.md", "CONTRIBUTING.md", "hub_cards/*/README.md", "training/recipes/*.yaml")
COMMAND = re.compile(r"(?:python|torchrun|launch)\b[^\n`]*? (training/[\w/]+\.py)([^\n`]*)")


def commands():
    """(where it stands, script, what follows it) of each command."""
    for path in sorted(path for place in PLACES for path in ROOT.glob(place)):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".yaml":
            text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
        for script, rest in COMMAND.findall(text.replace("\\\n", " ")):
            yield path.relative_to(ROOT).as_posix(), script, rest


def flags_of(script, capsys):
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(script.removesuffix(".py").replace("/", ".")).main(["--help"])
    return set(re.findall(r"--[a-z_]+", capsys.readouterr().out))


def test_every_command_can_be_given(capsys):
    wrong, given = [], list(commands())
    flags = {script: flags_of(script, capsys) for script in {script for _, script, _ in given}}
    for where, script, rest in given:
        strange = set(re.findall(r"--[a-z_]+", rest)) - flags[script]
        recipes = re.findall(r"--recipe (\S+)", rest)
        wrong += [f"{where}: {script} {name}" for name in strange]
        wrong += [f"{where}: {name}" for name in recipes if not (ROOT / name).is_file()]
    assert not wrong
    assert len(given) > 80
