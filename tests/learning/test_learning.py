# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
A short pretraining learns, and each of its four losses does its part. Tier: `make test`; three seeds and the other
methods: `make test-all`.

Everything is measured on drawn faces that no training has seen, against the same model untrained.
"""

import json

import pytest
import torch
from safetensors.torch import load_file

import modeling_simfle.modeling_simfle as modeling
from modeling_simfle import SimFLEConfig, SimFLEForPreTraining, SimFLEImageProcessor
from tests.learning.measures import HELD_OUT_SEED, measure, retrieval_by_projections, two_views
from training import finetune, pretrain
from training.data.drawn_faces import write_image_folder
from training.pretraining.method import load_method
from training.pretraining.methods import method_names
from training.runtime.checkpoints import list_checkpoints

NUM_IMAGES, EPOCHS, SIZE = 256, 8, 32  # 64 steps of 32 images
FIELDS = {
    "embedding_size": 16,
    "hidden_sizes": [16, 32, 64],
    "depths": [1, 1, 1],
    "layer_type": "basic",
    "num_channel_groups": 8,
    "grouping_initializer": "constant",
    "facemae_image_size": SIZE,
    "facemae_patch_size": 8,
    "facemae_hidden_size": 48,
    "facemae_num_hidden_layers": 2,
    "facemae_num_attention_heads": 4,
    "facemae_intermediate_size": 96,
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 64,
    "projection_hidden_size": 128,
    "projection_size": 32,
}
# For each loss: how much its measure must improve, and how much it may change at most when the loss's gradient is cut.
# Retrieval moves without L_s too, since L_d also draws the two views' features together.
MARGINS = {
    "similarity_loss": (8.0, 6.5),  # percentage points of retrieval
    "reconstruction_loss": (0.15, 0.08),  # of 1.3
    "distillation_loss": (0.05, 0.04),  # of 0.12
    "grouping_loss": (0.03, 0.01),  # S between groups, of 1.0
}
METHOD_MARGIN = 3.0  # percentage points of retrieval by another method than SimFLE
ACCURACY_RISES = 0.2  # of the last epoch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learning")
    write_image_folder(folder / "faces" / "train", NUM_IMAGES, seed=0, size=40)
    (folder / "config.json").write_text(json.dumps(FIELDS))
    return folder


def pretrain_for_64_steps(folder, output_dir, seed: int, *flags) -> None:
    flags += ("--dataset", folder / "faces", "--model_config", folder / "config.json", "--view_size", SIZE)
    flags += ("--per_device_train_batch_size", 32, "--base_learning_rate", 0.4, "--num_train_epochs", EPOCHS)
    flags += ("--num_workers", 0, "--checkpointing_steps", 64, "--seed", seed, "--output_dir", output_dir)
    pretrain.main([str(flag) for flag in flags])


def improvements(folder, output_dir, seed: int) -> dict[str, float]:
    """For each loss, by how much its measure is better after a pretraining than before."""
    processor = SimFLEImageProcessor(size=SIZE)
    torch.manual_seed(seed)
    before = measure(SimFLEForPreTraining(SimFLEConfig(**FIELDS)), processor)
    pretrain_for_64_steps(folder, output_dir, seed)
    after = measure(SimFLEForPreTraining.from_pretrained(output_dir), processor)
    signs = {"similarity_loss": 1}  # the others are to fall
    return {name: signs.get(name, -1) * (after[name] - before[name]) for name in before}


def cut(monkeypatch, loss: str) -> None:
    """The loss keeps its value and loses its gradient."""
    compute = getattr(modeling, loss)
    monkeypatch.setattr(modeling, loss, lambda *args, **kwargs: compute(*args, **kwargs).detach())


def test_pretraining_improves_what_each_loss_is_for(folder, tmp_path):
    found = improvements(folder, tmp_path / "run", 0)
    assert all(found[name] > margin for name, (margin, _) in MARGINS.items()), found


@pytest.mark.parametrize("loss", MARGINS)
def test_without_its_gradient_a_loss_improves_nothing(loss, folder, tmp_path, monkeypatch):
    cut(monkeypatch, loss)
    found = improvements(folder, tmp_path / "run", 0)
    assert abs(found[loss]) < MARGINS[loss][1], found
    others = {"reconstruction_loss", "grouping_loss"} - {loss}
    assert all(found[name] > MARGINS[name][0] for name in others), found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_seeds_learn_too(seed, folder, tmp_path):
    found = improvements(folder, tmp_path / "run", seed)
    assert all(found[name] > margin for name, (margin, _) in MARGINS.items()), found


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in method_names() if name != "simfle"])
def test_other_methods_learn_too(name, folder, tmp_path):
    """Retrieval by the projections of the two views; the heads are in the last checkpoint alone."""
    settings = ["queue_size=64"] if name == "moco" else []
    method, config = load_method(name), SimFLEConfig(**FIELDS, use_local_branch=False)
    torch.manual_seed(0)
    model = method.make_model(config, method.read_settings(config, settings), None)
    views = two_views(SimFLEImageProcessor(size=SIZE), SIZE)
    before = retrieval_by_projections(model, views)
    pretrain_for_64_steps(
        folder, tmp_path / "run", 0, "--method", name, *(["--method_settings", *settings] if settings else [])
    )
    model.load_state_dict(load_file(list_checkpoints(tmp_path / "run")[-1] / "model.safetensors"))
    assert retrieval_by_projections(model, views) - before > METHOD_MARGIN


def test_fine_tuning_raises_accuracy_on_held_out_faces(tmp_path):
    """Against chance, one in eight, which an untrained classifier has."""
    write_image_folder(tmp_path / "faces" / "train", 512, seed=0, size=40)
    write_image_folder(tmp_path / "faces" / "validation", 160, seed=HELD_OUT_SEED, size=40)
    encoder = {name: FIELDS[name] for name in ("embedding_size", "hidden_sizes", "depths", "layer_type")}
    (tmp_path / "config.json").write_text(json.dumps({**encoder, "use_local_branch": False}))
    flags = ["--dataset", tmp_path / "faces", "--model_config", tmp_path / "config.json", "--view_size", 40]
    flags += ["--per_device_train_batch_size", 32, "--base_learning_rate", 0.8, "--num_train_epochs", 8]
    flags += ["--random_erasing", 0, "--rotation", 5, "--zoom", 0.05, "--shift", 0.03, "--num_workers", 0]
    finetune.main([str(flag) for flag in [*flags, "--output_dir", tmp_path / "run"]])
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["accuracy"] > 1 / 8 + ACCURACY_RISES
