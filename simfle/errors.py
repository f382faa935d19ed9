# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The failures that the command answers with one sentence; anything else is a bug, and its traceback is shown."""


class InputError(ValueError):
    """Bad input: one sentence with the value and the fix. Exit status 2."""


class RunError(RuntimeError):
    """What stops a run from outside: one sentence that says what was saved. Exit status 1."""
