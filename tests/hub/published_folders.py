# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What the tests of published folders share."""

import json

from accelerate.state import AcceleratorState

from modeling_simfle.hub_folder_simfle import STALE_METRICS, weights_sha256


def read(path):
    return json.loads(path.read_text())


def is_plain(folder):
    return read(folder / "config.json")["model_type"] != "simfle"


def call(script, *arguments):
    AcceleratorState._reset_state(reset_partial_state=True)
    script.main([str(argument) for argument in arguments])


def note_weights(folder):
    """The hashes of a run's weights in its metrics.json, as the scripts leave them, after a test has changed these."""
    path, aside = folder / "metrics.json", folder / STALE_METRICS
    if aside.is_file():  # a save of other weights renames it
        aside.replace(path)
    path.write_text(json.dumps({**read(path), "weights_sha256": weights_sha256(folder)}))


def spoil(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
