# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Three kinds of failure: bad input, a run broken from outside, and bugs. Tier: `make check`."""

import errno
import os

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from training.runtime.arguments import run_main
from training.runtime.errors import CACHES, InputError, RunError, describe_breakdown, note_run_folder, run_errors
from training.runtime.run_folder import prepare_output_dir


@pytest.fixture(autouse=True)
def no_run_folder():
    yield
    note_run_folder(None)


def status_of(main) -> int:
    with pytest.raises(SystemExit) as end:
        run_main("script", main)
    return end.value.code


def failing(error):
    def main():
        raise error

    return main


def test_bad_input_is_one_sentence_and_status_2(capsys):
    assert status_of(failing(InputError("a\n  sentence"))) == 2
    assert capsys.readouterr().err == "script: a sentence\n"


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.ELOOP])
def test_a_name_that_no_file_can_have_is_bad_input(number, capsys):
    assert status_of(failing(OSError(number, os.strerror(number), "a" * 5000))) == 2
    assert capsys.readouterr().err == f"script: {'a' * 100}: no file can have this name ({os.strerror(number)}).\n"


def test_a_bug_shows_its_traceback_and_keeps_it(tmp_path, capsys):
    folder = tmp_path / "run"

    def main():
        prepare_output_dir(str(folder), resume=False)
        np.zeros(3).reshape(2, 2)  # a ValueError, but not about what the user gave

    assert status_of(main) == 1
    shown, kept = capsys.readouterr().err, (folder / "error.log").read_text()
    for text in (shown, kept):
        assert "Traceback" in text
        assert "cannot reshape array of size 3" in text
    assert status_of(main) == 1, "a folder that holds only error logs counts as empty"
    assert (folder / "error.log").read_text().count("Traceback") == 2


def test_each_process_keeps_its_own_log(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")

    def main():
        prepare_output_dir(str(tmp_path), resume=False)
        raise KeyError("bug")

    assert status_of(main) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["error_rank1.log"]
    prepare_output_dir(str(tmp_path), resume=False)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_sentence_and_status_1(error, capsys):
    def main():
        with run_errors("the last checkpoint stands"):
            raise error

    assert status_of(main) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("script: the disk is full, or a limit on its files is reached")
    assert line.endswith("; the last checkpoint stands")


def test_a_full_disk_behind_another_error_is_found():
    error = RuntimeError("An error occurred while generating the dataset")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(RunError, match=r"the disk is full.*; what was saved before stands"), run_errors():
        raise error


@pytest.mark.parametrize(
    "text",
    [
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:8591",
        "[../third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 10000ms for recv operation",
    ],
)
def test_a_dead_process_is_one_sentence_and_status_1(text, capsys):
    assert status_of(failing(RuntimeError(text))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("script: another process of the run died or did not answer in time (")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Connection of two layers of different width"),
        RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:446] op.preamble.length <= op.nbytes. 8 vs 4"),
        torch.distributed.DistBackendError("NCCL error: invalid usage"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),  # standard output's
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),  # not from a loader
        SafetensorError("Error while deserializing header: header too large"),
    ],
)
def test_loose_words_are_no_dead_process(error):
    assert describe_breakdown(error) is None


@pytest.mark.parametrize("error", [ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), EOFError()])
def test_a_connection_that_a_loader_loses_is_a_dead_worker(error):
    source = compile("raise error", torch.utils.data.dataloader.__file__, "exec")
    with pytest.raises(RunError, match="a data worker died or hung"), run_errors():
        exec(source, {"error": error})


@pytest.mark.parametrize("name", ["HF_HOME", "HF_DATASETS_CACHE", "TMPDIR"])
def test_a_cache_that_cannot_be_made_names_its_variable(tmp_path, monkeypatch, name):
    for other in CACHES:
        monkeypatch.delenv(other, raising=False)
    (tmp_path / "file").write_text("")
    for place, fails in (("file", "file/datasets"), ("none/cache", "none"), ("none/cache", "none/cache/hub")):
        monkeypatch.setenv(name, str(tmp_path / place))
        with pytest.raises(InputError, match=rf"{name}=.*{place} cannot be used .*name another folder"), run_errors():
            os.mkdir(tmp_path / fails) if fails != "none" else open(tmp_path / fails).close()
    monkeypatch.setenv(name, str(tmp_path))  # what is missing in a cache that can be written is another matter
    with pytest.raises(FileNotFoundError), run_errors():
        open(tmp_path / "weights").close()


def test_what_vanishes_from_the_run_folder_is_no_bug(tmp_path):
    prepare_output_dir(str(tmp_path), resume=False)
    with pytest.raises(RunError, match="a file cannot be read or written"), run_errors():
        open(tmp_path / "checkpoints" / "step", "rb").close()
    with pytest.raises(FileNotFoundError), run_errors():
        open(tmp_path.parent / "elsewhere", "rb").close()


@pytest.mark.parametrize(
    "place,reason",
    [
        ("{}/file/below", r"cannot be made \(Not a directory\)"),
        ("{}/file", "is a file"),
        ("{}/" + "a" * 300, r"cannot be made \(File name too long\)"),
        ("{}/loop/x", r"cannot be made \(Too many levels of symbolic links\)"),
        ("/proc/no_such_place/x", "cannot be made"),
        ("/dev/null", "is no folder"),
        ("{}/a\0b", r"cannot be made \(embedded null byte\)"),
    ],
)
def test_a_folder_that_cannot_be_made_names_its_flag(tmp_path, place, reason):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match=rf"--output_dir (?s:.)*{reason}"):
        prepare_output_dir(place.format(tmp_path), False)
