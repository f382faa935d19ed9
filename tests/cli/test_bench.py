# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The benchmark at its smallest: every part has figures, and the plain step computes what ours does."""

import json

import pytest

from training.benchmarks import bench


@pytest.mark.slow
def test_bench_writes_every_part(config_file, tmp_path, capsys):
    flags = ["--model_config", config_file, "--view_size", 64, "--batch_size", 4, "--num_images", 16, "--rounds", 1]
    flags += ["--image_side", 40, "--compiled", "false", "--num_workers", 0, "--output_json", tmp_path / "bench.json"]
    bench.main([str(flag) for flag in flags])
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert figures["first_losses_relative_difference"] < 1e-3
    assert figures["step_flops"] > 0
    for part in ("step", "views", "loading", "whole"):
        assert any(name.startswith("baseline") for name in figures[part])
        assert all(row["images_per_second"] > 0 for row in figures[part].values())
    assert figures["step"]["float32"]["peak_memory_bytes"] > 1e8
    assert 0 <= figures["whole"]["float32, ours"]["data_wait"] <= 1
    assert "waits for data" in capsys.readouterr().out


def test_too_few_faces_to_time_an_epoch():
    with pytest.raises(ValueError, match=r"--num_images 16 gives 2 steps of 8 faces.*give 24 or more"):
        bench.main(["--batch_size", "8", "--num_images", "16"])


def test_defaults_of_both_devices_time_an_epoch():
    for device in ("cpu", "cuda"):
        bench.BenchArguments().fill(device)
