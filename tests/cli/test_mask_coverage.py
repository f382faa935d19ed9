# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""mask_coverage.py from the command line, over drawn faces whose landmarks are known."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from modeling_simfle import SimFLEForImageClassification, SimFLEForPreTraining
from tests.drawn_dataset import make_dataset
from tests.tiny import tiny_config
from training import mask_coverage
from training.data.landmarks import LandmarkArguments
from training.measuring.patch_coverage import REGION_NAMES
from training.models.loading import ProcessorArguments, make_processor


def call(*arguments):
    mask_coverage.main([str(argument) for argument in arguments])


def save(folder, kind=SimFLEForPreTraining, **fields):
    torch.manual_seed(0)
    kind(tiny_config(**fields)).save_pretrained(folder)
    make_processor(ProcessorArguments(), 48).save_pretrained(folder)  # another size than the origin's
    return folder


@pytest.fixture(scope="module")
def landmarks(tmp_path_factory):
    """A Parquet file of 14 drawn faces of 7 people."""
    path = tmp_path_factory.mktemp("landmarks") / "validation.parquet"
    make_dataset(14, 0, 40).add_column("person", [i // 2 for i in range(14)]).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "simfle")


@pytest.fixture(scope="module")
def flags(model, landmarks):
    return ["--model", model, "--dataset", landmarks, "--num_workers", 0]


def test_what_it_leaves(flags, tmp_path, capsys):
    call(*flags, "--output_dir", tmp_path / "one")
    printed = capsys.readouterr().out
    assert printed.startswith("visible patches over chance: brows ") and "14 images of 7 persons" in printed
    assert {path.name for path in (tmp_path / "one").iterdir()} == {"coverage.json", "coverage.png"}
    found = json.loads((tmp_path / "one" / "coverage.json").read_text())
    assert (found["num_images"], found["num_persons"], found["num_bad_images"]) == (14, 7, 0)
    assert (found["num_channel_groups"], found["num_patches"], found["num_visible_patches"]) == (4, 16, 4)
    assert found["preprocessing"]["size"] == {"height": 64, "width": 64}  # the origin's
    assert [group["group"] for group in found["groups"]] == [0, 1, 2, 3]
    for region in REGION_NAMES:
        shares = [group["regions"][region]["share"] for group in found["groups"]]
        overall = found["overall"]["regions"][region]
        assert overall["share"] == pytest.approx(np.mean(shares))
        assert overall["ratio_interval"][0] <= overall["ratio"] <= overall["ratio_interval"][1]
    for part in [found["overall"], *found["groups"]]:
        assert np.log(4) - 1e-9 <= part["entropy"] <= found["entropy_of_chance"] == pytest.approx(np.log(16))
    with Image.open(tmp_path / "one" / "coverage.png") as picture:
        assert picture.format == "PNG" and picture.width > 500
    call(*flags, "--per_device_eval_batch_size", 5, "--output_dir", tmp_path / "other")  # the batch does not matter
    other = json.loads((tmp_path / "other" / "coverage.json").read_text())
    assert other["groups"] == found["groups"]


def test_more_groups_than_are_pictured(landmarks, tmp_path):
    folder = save(tmp_path / "model", num_channel_groups=32)
    call("--model", folder, "--dataset", landmarks, "--num_workers", 0, "--output_dir", tmp_path / "run")
    assert len(json.loads((tmp_path / "run" / "coverage.json").read_text())["groups"]) == 32


def test_an_unreadable_picture_is_left_out(model, tmp_path, capsys):
    rows = make_dataset(4, 0, 40).add_column("person", list(range(4))).to_dict()
    rows["image"][1]["bytes"] = b"no picture"
    Dataset.from_dict(rows).to_parquet(tmp_path / "faces.parquet")
    flags = ["--model", model, "--dataset", tmp_path / "faces.parquet", "--num_workers", 0]
    call(*flags, "--max_bad_images", 1, "--output_dir", tmp_path / "run")
    found = json.loads((tmp_path / "run" / "coverage.json").read_text())
    assert (found["num_images"], found["num_bad_images"]) == (3, 1)
    assert "is not a readable image" in capsys.readouterr().err
    with pytest.raises(ValueError, match="1 bad images are more than --max_bad_images 0"):
        call(*flags, "--output_dir", tmp_path / "strict")


def test_models_without_semantic_masks_are_refused(landmarks, tmp_path):
    for name, folder, sentence in (
        ("global", save(tmp_path / "global", use_local_branch=False), "has no local branch: its groups choose no"),
        ("random", save(tmp_path / "random", masking="random"), "masks at random: its groups choose no patch"),
        ("head", save(tmp_path / "head", SimFLEForImageClassification), "holds a SimFLEForImageClassification, which"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            call("--model", folder, "--dataset", landmarks, "--output_dir", tmp_path / f"{name}_out")
    with pytest.raises(ValueError, match="--model is missing; give a pretraining folder"):
        call("--dataset", landmarks, "--output_dir", tmp_path / "none")


def test_bad_values(flags, tmp_path):
    with pytest.raises(ValueError, match=r"--per_device_eval_batch_size 0 must be in \[1"):
        call(*flags, "--per_device_eval_batch_size", 0, "--output_dir", tmp_path / "out")
    with pytest.raises(ValueError, match="has no column 'who'; found image, label, landmarks, person"):
        call(*flags, "--person_column", "who", "--output_dir", tmp_path / "out")
    assert LandmarkArguments().person_column == "person"


def test_as_a_process(script, flags, tmp_path):
    done = script("mask_coverage", *flags, "--output_dir", tmp_path / "run", check=0)
    assert "visible patches over chance" in done.stdout
    done = script("mask_coverage", *flags, "--model", "/no/such", "--output_dir", tmp_path / "other", check=2)
    assert done.stderr.startswith("mask_coverage: ") and "Traceback" not in done.stderr
