"""The optimiser of fine-tuning and its learning rate over the epochs."""

import math

import torch


def make_optimizer(model, run, rate: float):
    """SGD; stage i of n has rate * layer_decay^(n - i), the classifier the full rate; no decay of norms and biases."""
    num_stages = len(model.config.depths)
    groups: dict[tuple[int, bool], list] = {}
    for name, parameter in model.named_parameters():
        depth = num_stages + 1 if name.startswith("classifier") else 0  # 0: the embedder
        if ".stages." in name:
            depth = int(name.split(".stages.")[1].split(".")[0]) + 1
        groups.setdefault((depth, parameter.ndim > 1), []).append(parameter)
    return torch.optim.SGD(
        [
            {
                "params": parameters,
                "rate": rate * run.layer_decay ** (num_stages + 1 - depth),
                "weight_decay": run.weight_decay if decays else 0.0,
            }
            for (depth, decays), parameters in groups.items()
        ],
        lr=rate,
        momentum=run.momentum,
        nesterov=run.momentum > 0,
    )


def schedule(progress: float, warmup: float, total: float) -> float:
    """The share of the learning rate after `progress` of `total` epochs: linear to 1 over `warmup`, cosine to 0."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(total - warmup, 1e-9)))
