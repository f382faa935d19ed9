"""Linear layers over given features: several learning rates and weight decays trained at once, and few-shot subsets."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch.nn import functional as F


def few_shot_indices(labels: np.ndarray, percent: int, seed: int) -> np.ndarray:
    """
    A share of each class, drawn by (seed, percent) alone, so that every encoder sees the same faces.

    Returns:
        (n,) sorted indices of labels (N,). Each class that occurs has its share, rounded, and at least one face.
    """
    generator = np.random.default_rng([seed, percent])
    chosen = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        chosen.append(members[: max(1, round(len(members) * percent / 100))])
    return np.sort(np.concatenate(chosen))


def shuffled_batches(features: torch.Tensor, labels: torch.Tensor, batch_size: int, seed: int):
    """A function of the epoch that yields (features (B, C), labels (B,)) in an order drawn by (seed, epoch)."""

    def batches(epoch: int):
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(len(features)))
        for indices in order.split(batch_size):
            yield features[indices.to(features.device)], labels[indices]

    return batches


def train_heads(
    epochs: Callable[[int], Iterable], num_epochs: int, evaluation, num_classes: int, settings, seed: int
) -> dict:
    """
    Trains K linear layers from the same initial values by SGD with momentum 0.9 on the mean cross-entropy.

    All layers see the same batches.

    Args:
        epochs: function of the epoch that yields (features (B, C), labels (B,)) on any device.
        evaluation: features (M, C) and labels (M,) that choose the epoch and the setting.
        settings: K pairs of learning rate and weight decay. The weight decay acts on the bias too.
        seed: of the initial values, normal(0.01) weights and zero biases.
    Returns:
        weight (classes, C) and bias (classes,) with the highest accuracy on `evaluation` (the first on a tie); its
        epoch, learning_rate, weight_decay and accuracy; choices, the number of epochs and settings compared.
    """
    eval_features, eval_labels = evaluation
    device = eval_features.device
    first = torch.empty(num_classes, eval_features.shape[1])
    torch.nn.init.normal_(first, std=0.01, generator=torch.Generator().manual_seed(seed))
    heads = [[first.clone().to(device), torch.zeros(num_classes, device=device)] for _ in settings]
    groups = [
        {"params": [parameter.requires_grad_() for parameter in head], "lr": rate, "weight_decay": decay}
        for head, (rate, decay) in zip(heads, settings, strict=True)
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    best: dict = {}
    best_rank = (-1.0, 0)
    for epoch in range(1, num_epochs + 1):
        for features, labels in epochs(epoch - 1):
            optimizer.zero_grad()
            losses = [F.cross_entropy(F.linear(features, *head), labels.to(device)) for head in heads]
            torch.stack(losses).sum().backward()
            optimizer.step()
        for index, (weight, bias) in enumerate(heads):
            correct = F.linear(eval_features, weight.detach(), bias.detach()).argmax(1) == eval_labels.to(device)
            accuracy = correct.sum().item() / len(eval_labels)
            if (accuracy, -index) > best_rank:  # of equals the first setting, and its first epoch
                rate, decay = settings[index]
                best = {"accuracy": accuracy, "epoch": epoch, "learning_rate": rate, "weight_decay": decay}
                best |= {"weight": weight.detach().clone(), "bias": bias.detach().clone()}
                best_rank = accuracy, -index
    return best | {"choices": num_epochs * len(settings)}
