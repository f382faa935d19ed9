"""
The three kinds of failure of a script.

`InputError`: bad input, one sentence with the value, the allowed range and the fix; exit status 2. `RunError`: what
breaks a run from outside (a full disk, a dead process, a time-out), one sentence that says what was saved; exit status
1. Anything else is a bug: its traceback is shown, and kept in `error.log` of the run folder.
"""


class InputError(ValueError):
    """Bad input: one sentence with the value, the allowed range and the fix."""


class RunError(RuntimeError):
    """What broke a run from outside: one sentence that says what was saved."""
