# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What the tests of published folders share."""

import json

from accelerate.state import AcceleratorState


def read(path):
    return json.loads(path.read_text())


def is_plain(folder):
    return read(folder / "config.json")["model_type"] != "simfle"


def call(script, *arguments):
    AcceleratorState._reset_state(reset_partial_state=True)
    script.main([str(argument) for argument in arguments])


def spoil(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
