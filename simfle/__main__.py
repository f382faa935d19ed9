# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""`simfle INPUT... --model FOLDER_OR_HUB_ID`, and `python -m simfle`."""

import errno
import os
import sys

from simfle.arguments import parse_arguments
from simfle.errors import InputError, RunError

BAD_NAME = {errno.ENAMETOOLONG, errno.ELOOP}
LONGEST = 1000  # characters of a sentence


def main(argv=None) -> int:
    """
    Args:
        argv: the arguments, sys.argv's when None.
    Returns:
        The exit status: 0, 1, 2 or 130, as --help has it.
    """
    try:
        arguments = parse_arguments(argv)
        prepare_process()
        from simfle.classify import load_face_classifier
        from simfle.run import run

        return run(arguments, load_face_classifier(arguments))
    except InputError as error:
        return say(error, 2)
    except RunError as error:
        discard_output()
        return say(error, 1)
    except KeyboardInterrupt:
        return say("interrupted.", 130)
    except BrokenPipeError:
        discard_output()
        return 0
    except OSError as error:
        if error.errno not in BAD_NAME:
            raise
        return say(f"{str(error.filename)[:100]}: no file can have this name ({error.strerror}).", 2)


def say(sentence, status: int) -> int:
    text = " ".join(str(sentence).split())
    if len(text) > LONGEST:  # it quotes a value that fills a file
        text = f"{text[: LONGEST * 2 // 3]} [...] {text[-LONGEST // 4 :]}"
    print(f"simfle: {text}", file=sys.stderr)
    return status


def discard_output() -> None:
    """Redirects standard output to the null device if it cannot be written: Python would raise at exit otherwise."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def prepare_process() -> None:
    """Settings that libraries read when they are imported."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


if __name__ == "__main__":
    sys.exit(main())
