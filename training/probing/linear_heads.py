"""
Linear layers over given features: several learning rates and weight decays trained at once, and k-shot subsets.

All K layers see the same batches, so that their weights stand in one (K * classes, C) matrix and a step is one product.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch.nn import functional as F

MOMENTUM = 0.9


def few_shot_indices(labels: np.ndarray, percent: int, seed: int) -> np.ndarray:
    """
    A share of each class, drawn by (seed, percent) and nothing else: the same for every encoder.

    Args:
        labels: (N,) integers. percent: in [1, 100].
    Returns:
        (n,) sorted indices; of every class that occurs, its share rounded, and one at least.
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


def head_logits(heads: list[torch.Tensor], features: torch.Tensor) -> torch.Tensor:
    """heads: weights (K, classes, C) and biases (K, classes). features: (B, C). Returns (B, K, classes)."""
    weight, bias = heads
    return (features @ weight.flatten(0, 1).T).unflatten(1, bias.shape) + bias


def train_heads(
    epochs: Callable[[int], Iterable], num_epochs: int, evaluation, num_classes: int, settings, seed: int
) -> dict:
    """
    Trains K linear layers from the same initial values by SGD with momentum 0.9 on the mean cross-entropy.

    Args:
        epochs: function of the epoch that yields (features (B, C), labels (B,)), each device's own.
        evaluation: features (M, C) and labels (M,) that choose the epoch and the setting.
        settings: K pairs of learning rate and weight decay; the latter acts on the bias too, as torch's SGD does.
        seed: of the initial values, normal(0.01) weights and zero biases.
    Returns:
        weight (classes, C) and bias (classes,) of the first that is best on `evaluation`; its epoch, learning_rate,
        weight_decay and accuracy; choices, the number of those that it was chosen from.
    """
    eval_features, eval_labels = evaluation
    device = eval_features.device
    first = torch.empty(num_classes, eval_features.shape[1])
    torch.nn.init.normal_(first, std=0.01, generator=torch.Generator().manual_seed(seed))
    heads = [first.expand(len(settings), -1, -1).clone(), torch.zeros(len(settings), num_classes)]
    heads = [head.to(device).requires_grad_() for head in heads]
    momenta = [torch.zeros_like(head) for head in heads]
    rates, decays = torch.tensor(settings, dtype=torch.float32, device=device).T  # (K,) each
    best = [head.detach().clone() for head in heads]
    most, best_epochs = torch.full((len(settings),), -1, device=device), torch.zeros(len(settings), dtype=torch.int64)
    for epoch in range(num_epochs):
        for features, labels in epochs(epoch):
            sgd_step(heads, momenta, features, labels.to(device), rates, decays)
        with torch.no_grad():
            correct = (head_logits(heads, eval_features).argmax(2) == eval_labels.to(device)[:, None]).sum(0)  # (K,)
            better = correct > most
            most = torch.where(better, correct, most)
            best_epochs[better.cpu()] = epoch + 1
            for kept, head in zip(best, heads, strict=True):
                kept[better] = head[better]
    winner = int(np.argmax(most.cpu().numpy()))  # the first of equals
    return {
        "weight": best[0][winner],
        "bias": best[1][winner],
        "accuracy": most[winner].item() / len(eval_labels),
        "epoch": int(best_epochs[winner]),
        "learning_rate": settings[winner][0],
        "weight_decay": settings[winner][1],
        "choices": num_epochs * len(settings),
    }


def sgd_step(heads, momenta, features, labels, rates, decays) -> None:
    """v = 0.9 v + gradient + decay * w, then w -= rate * v, for each of the K layers by its own rate and decay."""
    num_heads = len(rates)
    logits = head_logits(heads, features).flatten(0, 1)  # (B * K, classes)
    loss = F.cross_entropy(logits, labels.repeat_interleave(num_heads), reduction="sum") / len(labels)
    gradients = torch.autograd.grad(loss, heads)
    with torch.no_grad():
        for head, momentum, gradient in zip(heads, momenta, gradients, strict=True):
            shape = (num_heads,) + (1,) * (head.ndim - 1)
            momentum.mul_(MOMENTUM).add_(gradient).add_(decays.view(shape) * head)
            head.sub_(rates.view(shape) * momentum)
