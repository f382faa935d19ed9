# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What watches the trials of strange bytes sees each fault. Tier: `make test`."""

import os
import subprocess
import sys

from tests.new_process import ROOT

WATCH = """
import os, pickle, subprocess, sys, time
from pathlib import Path
from tests.faults import watched

watched.PROCESSOR_SECONDS = 1
folder = Path(sys.argv[1])
def spin():
    while True:
        pass
trials = {
    "nothing": lambda: "",
    "a file of its own": lambda: (folder / "out" / "a").write_text("a") and "",
    "wrong": lambda: "a fault",
    "a program": lambda: subprocess.run(["true"]) and "",
    "a class": lambda: pickle.loads(b"cos\\nsystem\\n.") and "",
    "a file": lambda: (folder / "b").write_text("b") and "",
    "a folder": lambda: (folder / "c").mkdir() or "",
    "memory": lambda: bytes(3 << 30) and "",
    "a crash": lambda: os.abort(),
    "a hang": spin,
    "the last": lambda: "",
}
names = list(trials)
(folder / "out").mkdir()
for fault in watched.run_trials(range(len(names)), lambda: lambda number: trials[names[number]], [folder / "out"]):
    print(names[fault["number"]], "->", fault["fault"])
"""


def test_every_fault_is_seen_and_the_others_go_on(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WATCH, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    seen = dict(line.split(" -> ", 1) for line in done.stdout.splitlines())
    starts = {"wrong": "a fault", "a program": "subprocess.Popen", "a class": "pickle.find_class", "a file": "open"}
    starts |= {"a folder": "os.mkdir", "memory": "the process ended", "a crash": "the process ended", "a hang": "took"}
    assert seen.keys() == starts.keys(), done.stderr
    for name, start in starts.items():
        assert seen[name].startswith(start), seen[name]


def test_the_generator_is_a_function_of_its_seed():
    import random

    from tests.faults import mutations

    content = b'{"a": [1, 2.5, "b"], "c": {"d": null}}'
    for change in (mutations.mutate_bytes, mutations.mutate_json, mutations.mutate_yaml, mutations.mutate_list):
        made = [[change(content, random.Random(seed)) for seed in range(200)] for _ in range(2)]
        assert made[0] == made[1]
        assert len(set(made[0])) > 100
        assert sum(value != content for value in made[0]) > 150
