# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Linear layers trained at once equal those trained one by one; subsets; kept tensors; bad images."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from modeling_simfle import SimFLEModel
from tests.tiny import tiny_config
from training.models.output_store import stored_tensors, weights_hash
from training.probing.arguments import FrozenEncoderArguments, run_folders
from training.probing.linear_heads import few_shot_indices, shuffled_batches, train_heads
from training.runtime.resources import torch_threads

SETTINGS = [(rate, decay) for rate in (0.02, 0.2, 2.0) for decay in (0.0, 0.01)]


@pytest.fixture(scope="module")
def separable():
    """Features (N, 12) of 3 classes that overlap, and labels: 101 for training, 50 for evaluation."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (151,), generator=generator)
    features = torch.randn(151, 12, generator=generator) + 1.5 * F.one_hot(labels, 12)
    return (features[:101], labels[:101]), (features[101:], labels[101:])


def train_one(training, evaluation, rate, decay, num_epochs, seed):
    """The same protocol with torch's own layer and optimiser."""
    torch.manual_seed(seed)
    layer = torch.nn.Linear(12, 3)
    torch.manual_seed(seed)
    torch.nn.init.normal_(layer.weight, std=0.01)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=rate, momentum=0.9, weight_decay=decay)
    best = {"accuracy": -1.0}
    for epoch in range(num_epochs):
        for features, labels in shuffled_batches(*training, 32, seed)(epoch):
            optimizer.zero_grad()
            F.cross_entropy(layer(features), labels).backward()
            optimizer.step()
        accuracy = (layer(evaluation[0]).argmax(1) == evaluation[1]).double().mean().item()
        if accuracy > best["accuracy"]:
            best = {"accuracy": accuracy, "epoch": epoch + 1, "state": copy.deepcopy(layer.state_dict())}
    return best


def test_layers_trained_at_once_equal_layers_trained_one_by_one(separable):
    training, evaluation = separable
    loop = [train_one(training, evaluation, *setting, 12, seed=3) for setting in SETTINGS]
    batches = shuffled_batches(*training, 32, 3)  # 101 faces: a rest of 5
    for setting, expected in zip(SETTINGS, loop, strict=True):  # beside one that does not learn: K is 2
        found = train_heads(batches, 12, evaluation, 3, [setting, (0.0, 0.0)], 3)
        assert (found["learning_rate"], found["weight_decay"]) == setting
        check(found, expected)
    found = train_heads(batches, 12, evaluation, 3, SETTINGS, 3)
    winner = int(np.argmax([one["accuracy"] for one in loop]))
    assert (found["learning_rate"], found["weight_decay"]) == SETTINGS[winner]
    assert found["choices"] == 12 * 6
    check(found, loop[winner])
    assert found["accuracy"] > 0.7


def check(found, expected):
    assert (found["accuracy"], found["epoch"]) == (expected["accuracy"], expected["epoch"])
    for name in ("weight", "bias"):
        torch.testing.assert_close(found[name], expected["state"][name], rtol=1e-4, atol=1e-5)


def test_training_is_repeatable_and_follows_the_seed(separable):
    training, evaluation = separable

    def train(seed):
        return train_heads(shuffled_batches(*training, 32, seed), 3, evaluation, 3, SETTINGS[:2], seed)["weight"]

    assert torch.equal(train(0), train(0))
    assert not torch.equal(train(0), train(1))


def test_fewer_threads_give_the_others_back():
    before = torch.get_num_threads()
    with torch_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_few_shot_subsets_are_stratified_and_follow_seed_and_percent():
    labels = np.repeat([0, 1, 3], [300, 100, 7])  # class 2 does not occur
    for percent, counts in ((1, [3, 1, 1]), (10, [30, 10, 1]), (50, [150, 50, 4]), (100, [300, 100, 7])):
        chosen = few_shot_indices(labels, percent, seed=0)
        assert len(np.unique(chosen)) == len(chosen)
        assert [int((labels[chosen] == label).sum()) for label in (0, 1, 3)] == counts
        assert np.array_equal(chosen, few_shot_indices(labels, percent, seed=0))
    assert not np.array_equal(few_shot_indices(labels, 10, seed=0), few_shot_indices(labels, 10, seed=1))
    assert np.array_equal(few_shot_indices(labels, 100, seed=5), np.arange(len(labels)))


def test_folders_of_runs(tmp_path):
    assert run_folders(tmp_path, FrozenEncoderArguments(seed=4)) == [(tmp_path, 100, 4)]
    assert run_folders(tmp_path, FrozenEncoderArguments(seeds=[7])) == [(tmp_path, 100, 7)]
    several = run_folders(tmp_path, FrozenEncoderArguments(seeds=[0, 1]))
    assert several == [(tmp_path / "seed_0", 100, 0), (tmp_path / "seed_1", 100, 1)]
    few = run_folders(tmp_path, FrozenEncoderArguments(few_shot=[10]))
    assert few == [(tmp_path / "labels_10_percent" / "seed_0", 10, 0)]


def test_stored_tensors_are_computed_once_for_what_they_are_made_from(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"x": torch.arange(6.0).view(2, 3).T}

    for made_from, expected in (({"a": 1}, 1), ({"a": 1}, 1), ({"a": 2}, 2)):
        found = stored_tensors(tmp_path, "x", made_from, compute)
        assert torch.equal(found["x"], torch.arange(6.0).view(2, 3).T)
        assert len(calls) == expected
    assert len(list(tmp_path.iterdir())) == 2  # nothing temporary is left


def test_the_hash_sees_every_weight_and_statistic():
    model = SimFLEModel(tiny_config())
    before = weights_hash(model)
    assert weights_hash(copy.deepcopy(model)) == before
    for tensor in (list(model.parameters())[-1].data, next(b for b in model.buffers() if b.ndim)):
        changed = tensor.clone()
        tensor.view(-1)[-1] += 1
        assert weights_hash(model) != before
        tensor.copy_(changed)
    assert weights_hash(model.half()) != before
