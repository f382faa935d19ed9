# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The monitor: k-NN by hand, collapse that is seen, groups that part, and nothing moved by looking."""

import copy
import shutil

import pytest
import torch

from modeling_simfle import SimFLEForPreTraining, SimFLEImageProcessor
from modeling_simfle.modeling_simfle import channel_similarity
from tests.tiny import tiny_config, tiny_inputs
from training.data.faces import DatasetArguments, open_faces
from training.data.images import BadImage
from training.measuring.knn import knn_predict
from training.pretraining.monitor import Monitor


def test_knn_by_hand():
    bank = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 5.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 0, 1, 1, 2])
    queries = torch.tensor([[3.0, 0.2], [0.0, 0.5], [-2.0, 0.1]])
    assert knn_predict(bank, labels, queries, 3, k=3).tolist() == [0, 1, 2]
    # Two far votes of 1 against one near vote of 0: the temperature decides.
    bank, labels, query = (
        torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]]),
        torch.tensor([0, 1, 1]),
        torch.tensor([[1.0, 0]]),
    )
    assert knn_predict(bank, labels, query, 2, k=3, temperature=0.07).tolist() == [0]
    assert knn_predict(bank, labels, query, 2, k=3, temperature=10).tolist() == [1]
    assert knn_predict(bank, labels, query, 2, k=99).tolist() == [0]


@pytest.fixture
def monitor(faces, tmp_path):
    train, validation = (open_faces(DatasetArguments(), str(faces), split, True) for split in ("train", "validation"))
    return Monitor(train, SimFLEImageProcessor(size=64), train, validation, tmp_path, 0, 0)


def make_model(**fields):
    torch.manual_seed(0)
    model = SimFLEForPreTraining(tiny_config(**fields)).train()
    for seed in range(20):  # running statistics of some use
        model(**tiny_inputs(16, seed))
    return model


def test_a_bad_picture_is_named_once_however_often_one_looks(faces, tmp_path, capsys):
    root = shutil.copytree(faces, tmp_path / "faces")
    for split in ("train", "validation"):
        next((root / split).rglob("*.png")).write_bytes(b"no picture")
    train, validation = (open_faces(DatasetArguments(), str(root), split, True) for split in ("train", "validation"))
    monitor = Monitor(train, SimFLEImageProcessor(size=64), train, validation, tmp_path, 0, 2)
    for epoch in (0, 1):
        monitor(make_model(), epoch)
    assert capsys.readouterr().err.count("bad image ") == 2
    with pytest.raises(BadImage, match="2 bad images are more than --max_bad_images 1"):
        Monitor(train, SimFLEImageProcessor(size=64), train, validation, tmp_path, 0, 1)(make_model(), 0)


@pytest.mark.parametrize("masking", ["semantic", "random"])
def test_looking_moves_nothing_and_finds_everything(monitor, tmp_path, masking):
    model = make_model(masking=masking)
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = monitor(model, 3)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())
    assert (tmp_path / "pictures" / "epoch_0003.png").is_file()
    assert 0 <= found["encoder_knn_accuracy"] <= 1
    assert 0 <= found["target_encoder_knn_accuracy"] <= 1
    assert found["knn_images"] == 16
    assert 0 < found["mask_entropy"] <= 1
    for name in ("similarity_within_groups", "similarity_between_groups"):
        assert 0 <= found[name] <= 1.001
    assert not found["collapsing"]
    assert found == monitor(model, 3)


def test_the_groups_are_those_of_the_loss(monitor):
    model = make_model()
    pixels = monitor.pixel_values(model, model.config.facemae_image_size)
    assert len(pixels) <= 64  # one batch
    found, training = monitor(model, 1), copy.deepcopy(model)
    with torch.no_grad():
        similarity = channel_similarity(training.channel_grouping(training.encoder(pixels).last_hidden_state))
    group = torch.arange(len(similarity)) // (len(similarity) // model.config.num_channel_groups)
    between = similarity[group[:, None] != group[None]].mean().item()
    assert found["similarity_between_groups"] == pytest.approx(between, abs=1e-6)
    training.eval()
    with torch.no_grad():
        similarity = channel_similarity(training.channel_grouping(training.encoder(pixels).last_hidden_state))
    assert similarity[group[:, None] != group[None]].mean().item() != pytest.approx(between, abs=1e-3)


def test_a_collapsed_model_is_called_so(monitor):
    model = make_model()
    with torch.no_grad():
        model.projector.output.weight.zero_()
        model.projector.output.bias.fill_(1)
    found = monitor(model, 1)
    assert found["collapsing"]
    assert found["projection_deviation"] < 1e-3


def test_equal_channels_have_not_parted(monitor):
    found = monitor(make_model(grouping_initializer="constant"), 1)
    assert found["similarity_between_groups"] == pytest.approx(1, abs=1e-3)
    assert found["similarity_within_groups"] == pytest.approx(1, abs=1e-3)


def test_without_the_local_branch_there_is_no_picture(monitor, tmp_path):
    found = monitor(make_model(use_local_branch=False), 1)
    assert "mask_entropy" not in found
    assert not (tmp_path / "pictures").exists()
