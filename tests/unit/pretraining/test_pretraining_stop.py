# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The pretraining loop's end: on an accelerator a step's answer comes a step later, wherever the loop is by then."""

from types import SimpleNamespace

import pytest
import torch

from training.pretraining.loop import PretrainingLoop
from training.pretraining.step_guard import StepGuard

LAST_STEP, LOGGING_STEPS, STEPS_PER_EPOCH = 100, 10, 15


class Loop(PretrainingLoop):
    """The real `train`; its steps do nothing but ask the guard, as on CUDA, and its parts write down their steps."""

    def __init__(self, stop_at: int | None, signal: int | None):
        accelerator = SimpleNamespace(is_main_process=True, mixed_precision="bf16", num_processes=1)
        self.guard = StepGuard(accelerator, SimpleNamespace(), 0)
        self.sampler = SimpleNamespace(first_step=0, last_step=LAST_STEP, steps_per_epoch=STEPS_PER_EPOCH)
        self.run = SimpleNamespace(logging_steps=LOGGING_STEPS, checkpointing_steps=500, monitor_epochs=2)
        self.bar = SimpleNamespace(update=lambda: None, close=lambda: None)
        self.stop_at, self.signal, self.logged_step = stop_at, signal, 0
        self.logged, self.watched, self.saved = [], [], []

    def step(self, step, request):
        self.guard.settle()
        stops = self.stop_at is not None and step + 1 >= self.stop_at
        request.signal = self.signal if stops else None
        ready = SimpleNamespace(synchronize=lambda: None)
        flags = torch.tensor([0.0, 0.0, float(stops), 0.0])
        self.guard.pending = (ready, flags, torch.tensor(False), [], {})

    def log(self, done):
        self.guard.settle()
        self.logged.append(done)
        self.logged_step = done

    def watch(self, done):
        self.guard.settle()
        self.watched.append(done)

    def save(self, done):
        self.guard.settle()
        self.saved.append(done)


@pytest.mark.parametrize("stop_at", [1, 8, 9, 10, 11, 29, 30, 99])
def test_a_run_that_is_asked_to_stop_saves_its_last_step(stop_at):
    loop = Loop(stop_at, signal=15)
    done = loop.train()
    assert done in (stop_at, stop_at + 1)
    assert loop.saved == [done]
    assert loop.logged == [*range(LOGGING_STEPS, done, LOGGING_STEPS), done]
    assert max(loop.watched) < done or done == 30, "whoever sends a signal gives little time"
    assert loop.stop_signal == 15


def test_a_run_whose_time_is_over_is_looked_at_once_more():
    loop = Loop(37, signal=None)
    assert loop.train() == 38
    assert loop.saved == [38]
    assert loop.watched == [0, 30, 38]


def test_a_run_to_its_last_step():
    loop = Loop(None, signal=None)
    assert loop.train() == LAST_STEP
    assert (loop.saved, loop.logged[-2:], loop.watched[-2:]) == ([100], [90, 100], [90, 100])
