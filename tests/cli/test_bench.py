# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The benchmark at its smallest: every version has figures, and the plain step computes what ours does."""

import json

import pytest

from training.benchmarks import bench


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
