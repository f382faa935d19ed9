# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""run.json never changes; progress.json says how far a run is. Tier: `make check`."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

import pytest

from training.runtime.run_record import (
    add_start,
    make_record,
    read_command_line,
    read_progress,
    write_progress,
    write_record,
)


@dataclass
class Example:
    """Arguments."""

    seed: int = 3


def record(argv):
    line = read_command_line("pretrain", argv, (Example(),))
    return make_record(line, "pretraining", {"format": "imagefolder"}, [None], {"num_images": 48})


def test_a_record_holds_the_flags_as_typed_and_the_hash_of_the_recipe(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("seed: 3\n")
    for argv in (["--recipe", str(recipe)], [f"--recipe={recipe}"]):
        about = record(argv)
        assert about.recipe == {"path": str(recipe), "sha256": hashlib.sha256(recipe.read_bytes()).hexdigest()}
        assert about.argv == argv
    write_record(tmp_path, about)
    content = json.loads((tmp_path / "run.json").read_text())
    assert (content["script"], content["arguments"], content["num_images"]) == ("pretrain", {"seed": 3}, 48)
    assert content["lineage"][-1]["method"] == "pretraining"
    assert record([]).recipe is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        about.argv = []


def test_progress_has_an_entry_for_each_start(tmp_path):
    add_start(tmp_path, ["--seed", "3"], 1, 0, 6)
    write_progress(tmp_path, step=4, bad_images=[7])
    assert not read_progress(tmp_path)["finished"]
    add_start(tmp_path, ["--resume_from_checkpoint", "latest"], 2, 4, 6)
    progress = read_progress(tmp_path)
    assert [(start["step"], start["num_processes"]) for start in progress["starts"]] == [(0, 1), (4, 2)]
    assert progress["bad_images"] == [7]
    write_progress(tmp_path, step=6, finished=True)
    assert read_progress(tmp_path)["finished"]
    add_start(tmp_path, [], 1, 0, 6)  # from the beginning
    assert len(read_progress(tmp_path)["starts"]) == 1
