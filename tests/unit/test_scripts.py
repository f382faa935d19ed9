# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""`--help` of every script answers, without waiting for torch."""

import subprocess
import sys

from tests.new_process import ROOT

SCRIPTS = [
    path
    for path in sorted((ROOT / "training").rglob("*.py"))
    if 'if __name__ == "__main__":\n    run_main' in path.read_text()
]
ASK_ALL = """
import runpy, sys
for script in sys.argv[1:]:
    print(script)
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert not end.code, script
    heavy = {"torch", "datasets", "accelerate", "sklearn"} & set(sys.modules)
    assert not heavy, (script, heavy)
"""


def test_help_answers_before_torch_is_imported():
    """One process asks all scripts, one after the other."""
    done = subprocess.run([sys.executable, "-c", ASK_ALL, *map(str, SCRIPTS)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr
    assert len(SCRIPTS) > 12
    assert done.stdout.count("usage:") == len(SCRIPTS)
