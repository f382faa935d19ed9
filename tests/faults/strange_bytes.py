# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Strange bytes against everything that reads files; prints the faults as JSON.

    python -m tests.faults.strange_bytes --count 300                        300 of every kind
    python -m tests.faults.strange_bytes pictures weights --count 10000     of these kinds
    python -m tests.faults.strange_bytes pictures --only 1234               one of them, with what was said
"""

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path

NAMES = ("pictures", "tables", "lists", "models", "recipes", "weights", "checkpoints", "results")
LONGEST = 1500  # characters of a sentence


def judge(status: int, said: str) -> str:
    """What is wrong with the end of a reader: "" for a result, or one sentence and status 1 or 2."""
    if "Traceback" in said:
        return "\n".join(said.strip().splitlines()[-8:])[-1500:]
    if status == 0:
        return ""
    if status not in (1, 2):
        return f"status {status}: {said[-300:]}"
    sentences = [line for line in said.splitlines() if line.startswith(("script: ", "script.py: ", "simfle: "))]
    if len(sentences) != 1 or len(sentences[0]) < 15:
        return f"{len(sentences)} sentences: {said[-600:]!r}"
    return (
        f"a sentence of {len(sentences[0])} characters: {sentences[0][:300]!r}" if len(sentences[0]) > LONGEST else ""
    )


def prepare(kind: str, seed: int, root: Path, is_told: bool = False):
    """The trials of a kind, as `watched.run_trials` takes them."""
    from tests.faults.strange_inputs import KINDS, Workplace

    place = Workplace(root)
    cases = KINDS[kind](place)
    valid = {case.file: case.file.read_bytes() for case in cases}

    for number, case in enumerate(case for case in cases if case.is_valid):
        readers = case.readers if len(cases) < 20 else [case.readers[number % len(case.readers)]]
        for reader in readers:
            place.empty_out()
            if (end := reader(case.file))[0]:
                raise ValueError(f"the valid {case.file} is refused: {end}")

    def lay(number: int):
        dice = random.Random(f"{kind} {seed} {number}")
        for file, content in valid.items():  # as they were before the last trial
            if not file.is_file() or file.read_bytes() != content:
                file.write_bytes(content)
        place.empty_out()
        case = dice.choices(cases, [case.weight for case in cases])[0]
        content = case.mutate(valid[case.file], dice)
        if case.hostile and dice.random() < 0.02:
            content = dice.choice(case.hostile)
        case.file.write_bytes(content)
        reader = dice.choice(case.readers)

        def run() -> str:
            status, said = reader(case.file)
            if is_told:
                print(case.file, reader, status, said, sep="\n")
            fault = judge(status, said)
            return f"{case.file.name}: {fault}" if fault else ""

        return run

    return lay


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="simfle_strange_") as folder:
        root = Path(folder)
        for name in ("HOME", "HF_HOME", "TMPDIR", "XDG_CACHE_HOME"):
            (root / "cache").mkdir(exist_ok=True)
            os.environ[name] = str(root / "cache")
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        tempfile.tempdir = str(root / "cache")
        from tests.faults import watched

        for kind in arguments.kinds or NAMES:
            began = time.monotonic()
            numbers = range(arguments.count) if arguments.only is None else [arguments.only]
            place = root / kind
            faults = watched.run_trials(
                numbers,
                lambda: prepare(kind, arguments.seed, place, arguments.only is not None),  # noqa: B023
                [place / "out", root / "cache"],
            )
            for fault in faults:
                print(json.dumps({"kind": kind, **fault}), flush=True)
            seconds = time.monotonic() - began
            print(f"{kind}: {len(numbers)} trials, {len(faults)} faults, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
