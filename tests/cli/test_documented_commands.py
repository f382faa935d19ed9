# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
The documented commands are accepted by the scripts' own parsers: those of the README, docs/, cards and recipes, and
those that the command files run. docs/log.md tells of the past and is left out.
"""

import argparse
import importlib
import json
import os
import re
import shlex
import subprocess

import pytest

from tests.new_process import ROOT
from training.runtime import arguments as script_arguments

PLACES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "hub_cards/*/README.md", "training/recipes/*.yaml")
SHELL_FILES = ("training/benchmarks/*.sh", "training/demo.sh")
COMMAND = re.compile(r"(?:python|torchrun|launch)\b[^\n`]*? (training/[\w/]+\.py|-m training[\w.]+)([^\n`&]*)")
SIMFLE = re.compile(r"^`?simfle ((?:[\w/]+|--)[^\n`]*)", re.MULTILINE)
RECORDER = """#!/bin/sh
exec "$REAL_PYTHON" -c 'import json, os, sys
with open(os.environ["RECORD"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + chr(10))' "$@"
"""


class Parsed(BaseException):
    """The parser accepted the command; nothing of the script has run."""


def written_commands():
    """(file, script, its arguments) of each command in a text."""
    paths = {path for place in PLACES for path in ROOT.glob(place)} - {ROOT / "docs" / "log.md"}
    for path in sorted(paths):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".yaml":
            text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
        text = text.replace("\\\n", " ").replace('"$@"', "")  # a job file's own flags
        for script, rest in [*COMMAND.findall(text), *(("simfle.__main__", words) for words in SIMFLE.findall(text))]:
            if rest:  # else a script is only named
                yield path.relative_to(ROOT).as_posix(), script.removeprefix("-m "), shlex.split(rest, comments=True)


def run_commands(folder):
    """(file, script, its arguments) of each command that a shell file runs, with a `python` that only takes notes."""
    recorder, record = folder / "bin" / "python", folder / "record.jsonl"
    recorder.parent.mkdir()
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{recorder.parent}{os.pathsep}{os.environ['PATH']}",
        "REAL_PYTHON": subprocess.check_output(["which", "python3"], text=True).strip(),
        "RECORD": str(record),
        "FERPLUS": "FERPLUS",
        "LANDMARKS": "LANDMARKS",
    }
    for path in sorted(path for place in SHELL_FILES for path in ROOT.glob(place)):
        record.write_text("")
        flags = ["--output", str(folder / "demo")] if path.name == "demo.sh" else []
        subprocess.run(["bash", str(path), *flags], check=True, env=environment, capture_output=True)
        for line in record.read_text().splitlines():
            words = json.loads(line)
            if words[0] != "-c":
                place = 1 if words[0] == "-m" else 0
                script = {"simfle": "simfle.__main__"}.get(words[place], words[place])
                yield path.relative_to(ROOT).as_posix(), script, words[place + 1 :]


def parse_only(kinds, argv, description=None, positionals=()):
    """`parse_arguments` up to the values: the checks of values look for folders that a document only names."""
    script_arguments.parse_words(kinds, argv, description, positionals)
    raise Parsed


@pytest.fixture
def parse(monkeypatch):
    """parse(script, arguments) runs a script's main up to the end of its parsing."""
    parse_args = argparse.ArgumentParser.parse_args

    def parse_args_only(*arguments, **options):
        parse_args(*arguments, **options)
        raise Parsed

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args_only)

    def parse(script, words):
        module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
        if hasattr(module, "parse_arguments") and script != "simfle.__main__":
            monkeypatch.setattr(module, "parse_arguments", parse_only)
        with pytest.raises(Parsed):
            module.main(words)

    return parse


def test_every_documented_command_can_be_given(parse, tmp_path, capsys):
    wrong, commands = [], [*written_commands(), *run_commands(tmp_path)]
    for where, script, words in commands:
        try:
            parse(script, words)
        except (SystemExit, ValueError, ImportError, AttributeError, AssertionError) as error:
            if not (isinstance(error, SystemExit) and error.code == 0):  # --help
                wrong.append(f"{where}: {script} {shlex.join(words)}: {error} {capsys.readouterr().err}")
    assert not wrong, "\n".join(wrong)
    assert len(commands) > 80
