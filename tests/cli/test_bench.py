# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The benchmark at its smallest: every version has figures, and the plain step computes what ours does."""

import json
import shutil

import pytest
from PIL import Image

from tests.new_process import ROOT
from training.benchmarks import bench, robustness

CARDS = ROOT / "hub_cards"


@pytest.mark.slow
def test_bench_times_every_version(config_file, tmp_path, capsys):
    flags = ["--model_config", config_file, "--view_size", 64, "--batch_size", 4, "--num_steps", 2, "--rounds", 1]
    flags += ["--compiled", "false", "--num_workers", 0, "--output_json", tmp_path / "bench.json"]
    bench.main([str(flag) for flag in flags])
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert figures["first_losses_relative_difference"] < 1e-3
    assert figures["step_flops"] > 0
    assert list(figures["versions"]) == [bench.BASELINE, "float32", "bf16"]
    for row in figures["versions"].values():
        assert row["images_per_second"] > 0 and row["step_images_per_second"] > 0
        assert 0 <= row["data_wait"] <= 1
    assert "waits for data" in capsys.readouterr().out


def test_robustness_measures_every_condition(tmp_path, capsys):
    """Runs in `make test`."""
    folder = CARDS / "simfle-resnet18-ferplus"
    (tmp_path / "photos" / "validation" / "happiness").mkdir(parents=True)
    (tmp_path / "photos" / "validation" / "fear").mkdir()
    shutil.copy(folder / "example_photo.png", tmp_path / "photos" / "validation" / "happiness")
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "validation" / "fear" / "none.png")
    models = [str(folder), str(CARDS / "simfle-resnet18-ferplus-plain")]
    robustness.main([*models, "--dataset", f"{tmp_path}/photos", "--output_json", f"{tmp_path}/figures.json"])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["num_images"], figures["without_face"]) == (1, 1)
    assert [*figures["conditions"]] == [*robustness.CONDITIONS, robustness.ALL_MARGINS]
    assert all(figures["conditions"]["margin 0"][model]["accuracy"] == 1 for model in models)
    assert "| margin 0 | 100.0, 100.0 | 100.0, 100.0 (+0.0 [0.0, 0.0]) |" in capsys.readouterr().out
