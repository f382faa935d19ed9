# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Faces, a tiny config, and scripts as a person runs them."""

import io
import json
import os
import runpy
import shutil
import subprocess
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
from accelerate.state import AcceleratorState
from filelock import FileLock

from tests.fork_server import forking_python
from tests.new_process import ROOT
from tests.tiny import FIELDS
from training.data.drawn_faces import write_image_folder
from training.runtime.processes import end_workers

SKIP_REASONS = (
    "no SIMFLE_DATA faces",
    "no GPU",
    "no working torchvision",
    "no Node.js",
    "no Chromium",
    "no second environment with transformers 5.17",
    "not root",
    "no iproute2",
    "no Slurm",
    "no torchao",
)


# The rooms whose tests take longest go first: then the two workers end together. Elsewhere the order is pytest's own.
LONG_ROOMS = ("browser", "distributed", "hub", "faults", "cli")


def pytest_collection_modifyitems(items):
    rooms = [f"tests/{room}/" for room in LONG_ROOMS]

    def rank(item):
        return next((place for place, room in enumerate(rooms) if item.nodeid.startswith(room)), len(rooms))

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """A test that is skipped for another reason than those fails: a missing library is no reason."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(SKIP_REASONS):
            report.outcome, report.longrepr = "failed", f"skipped for a reason that conftest.py does not list: {reason}"
    return report


def pytest_sessionfinish():
    """A failed test's traceback keeps its loaders' workers, which pytest's own end would wait for."""
    end_workers()


def build_once(tmp_path_factory, name, build) -> Path:
    """A folder that the first worker to ask fills by build(folder). The other one waits for it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not (done := Path(f"{folder}.done")).exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a build that failed
            folder.mkdir()
            build(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """A folder of 48 training and 16 validation faces, drawn, 40 px."""
    root = tmp_path_factory.mktemp("data") / "faces"
    write_image_folder(root / "train", 48, seed=0, size=40)
    write_image_folder(root / "validation", 16, seed=1, size=40)
    return root


@pytest.fixture(scope="session")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.json"
    path.write_text(json.dumps(FIELDS))
    return path


def run_here(command: list[str]) -> SimpleNamespace:
    """A script in this process, as Python would run it. Starting Python and torch anew costs seconds."""
    status, out, err = 0, io.StringIO(), io.StringIO()
    AcceleratorState._reset_state(reset_partial_state=True)  # as in a new process
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", command)
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except Exception:
            status = 1
            traceback.print_exc()
    AcceleratorState._reset_state(reset_partial_state=True)
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


@pytest.fixture(scope="session")
def script():
    """
    script("pretrain", "--flag", value) -> returncode, stdout and stderr of training/pretrain.py.

    check: the status that it must end with. env: the environment of a new process; without it the script runs in this
    one.
    """

    def run(name, *arguments, check=None, env=None):
        command = [str(ROOT / "training" / f"{name}.py"), *map(str, arguments)]
        if env is None:
            done = run_here(command)
        else:
            done = subprocess.run([forking_python(), *command], capture_output=True, text=True, cwd=ROOT, env=env)
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def pretraining_flags(faces, config_file):
    """Flags of a pretraining run of seconds; more may follow."""
    flags = ["--dataset", faces, "--model_config", config_file, "--view_size", 64, "--num_workers", 0]
    flags += ["--per_device_train_batch_size", 8, "--num_train_epochs", 1, "--logging_steps", 1]
    return [str(flag) for flag in flags]


@pytest.fixture(scope="session")
def pretrained(script, pretraining_flags, tmp_path_factory):
    """(folder, what was printed) of a run of one epoch: 6 steps."""
    folder = tmp_path_factory.mktemp("runs") / "simfle"
    done = script("pretrain", *pretraining_flags, "--output_dir", folder, "--checkpointing_steps", 4, check=0)
    return folder, done.stdout + done.stderr


@pytest.fixture(scope="session")
def classifier(faces, pretrained, tmp_path_factory):
    """(folder, metrics) of a linear probe of the pretrained encoder, from cached features."""
    from training import linear_probe

    folder = tmp_path_factory.mktemp("runs") / "probe"
    flags = ["--model", pretrained[0], "--dataset", faces, "--cache_features", "--num_workers", 0]
    flags += ["--num_train_epochs", 10, "--output_dir", folder]
    linear_probe.main([str(flag) for flag in flags])
    return folder, json.loads((folder / "metrics.json").read_text())
