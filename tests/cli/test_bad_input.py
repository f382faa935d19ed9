# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What a user can get wrong in a training ends it with one sentence and status 2. Tier: `make test`."""

import json
import re
import shutil

import pytest

from tests.tiny import FIELDS


@pytest.fixture
def wrong(pretrained, tmp_path):
    """Flags by what is wrong with them."""
    (tmp_path / "config.json").write_text(json.dumps({**FIELDS, "mask_ratio": "much"}))
    (tmp_path / "recipe.yaml").write_text("num_workers: many\n")
    for split in ("train", "validation"):
        for label in ("neutral", "fear"):
            (tmp_path / "faces" / split / label).mkdir(parents=True)
            for index in range(20):
                (tmp_path / "faces" / split / label / f"{index}.png").write_bytes(f"no image of {split}".encode())
    run = shutil.copytree(pretrained[0], tmp_path / "run")
    (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-9])
    folder = ["--dataset", tmp_path / "faces"]
    return {
        "config": (["--model_config", tmp_path / "config.json"], "mask_ratio"),
        "recipe": (["--recipe", tmp_path / "recipe.yaml"], "argument --num_workers.*: invalid int value: 'many'"),
        "images": (folder, "can be read|more than --max_bad_images 0"),
        "images in workers": ([*folder, "--num_workers", 1, "--max_bad_images", 99], "can be read|with two pictures"),
        "missing folder": (["--dataset", tmp_path / "none"], "does not exist; --dataset takes a folder"),
        "weights": (["--model", run], "weights are cut off or damaged"),
    }


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
@pytest.mark.parametrize("case", ["config", "recipe", "images", "images in workers", "missing folder", "weights"])
def test_one_sentence_and_status_2(script, wrong, pretraining_flags, tmp_path, name, case):
    flags, sentence = wrong[case]
    if name == "finetune":
        pretraining_flags = pretraining_flags[: pretraining_flags.index("--logging_steps")]
    if case == "weights":
        position = pretraining_flags.index("--model_config")
        pretraining_flags = pretraining_flags[:position] + pretraining_flags[position + 2 :]
    done = script(name, *pretraining_flags, *flags, "--output_dir", tmp_path / "out", check=2)
    *before, last = done.stderr.splitlines()
    assert last.startswith((f"{name}: ", f"{name}.py: "))
    assert len(last) < 400
    assert re.search(sentence, last)
    assert not [line for line in before if not line.startswith("bad image")]
