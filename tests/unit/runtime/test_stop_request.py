# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""A stop request in a process of several says when the step does not end. Tier: `make check`."""

import os
import signal
import time

import pytest

from training.runtime.processes import StopRequest


@pytest.fixture
def one_of_two(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "0")


def test_a_step_that_does_not_end_is_said(one_of_two, capfd):
    printed = ""
    with StopRequest() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        while "the last checkpoint stands" not in printed:  # pytest's timeout bounds this
            printed += capfd.readouterr().err
            time.sleep(0.01)
    assert request.signal == signal.SIGTERM
    assert printed.startswith("SIGTERM came 0 seconds ago")
    assert signal.set_wakeup_fd(-1) == -1


def test_a_stop_in_time_says_nothing(one_of_two, monkeypatch, capfd):
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "600")
    with StopRequest() as request:
        for _ in range(2):  # the launcher sends its own after the one from outside
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)  # lets the watcher take the first; the test passes without it
    request.watcher.join()
    assert capfd.readouterr().err == ""


def test_no_signal_ends_the_watcher(one_of_two, capfd):
    with StopRequest() as request:
        pass
    request.watcher.join()
    assert capfd.readouterr().err == ""
