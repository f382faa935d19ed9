"""
Barlow Twins: the cross-correlation of the two views' projections is driven towards the identity.

    L = sum over i of (1 - C_ii)^2 + w * sum over i, j != i of C_ij^2
    C_ij = sum over B of a_bi b_bj / (|a_i| |b_j|),   a, b: projections of view 1 and view 2, centred over the batch

C is the mean over all processes, as in the paper; each centres and scales by its own batch. What is minimised is
`loss_scale` * L: the paper's optimizer, LARS, does not feel a loss's scale, and SGD does.

Source: Zbontar, Jing, Misra, LeCun, Deny, "Barlow Twins", arXiv 2103.03230 (ICML 2021), equations 1 and 2; w = 0.005, a
projector of three layers of 8192 (section 2.2). 0.024 is the ratio of the paper's two learning rates, 0.0048 and 0.2.
"""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from modeling_simfle.modeling_simfle import raise_precision
from training.pretraining.all_processes import mean_over_processes
from training.pretraining.method import Method, SelfSupervisedModel, make_mlp


def barlow_twins_loss(
    z1: torch.Tensor, z2: torch.Tensor, weight: float, reduce: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> torch.Tensor:
    """
    Args:
        z1, z2: projections of view 1 and view 2, (B, D). weight: w.
        reduce: C of this process -> C of all (their mean); None keeps the process's own.
    """
    a, b = (F.normalize(x - x.mean(0), dim=0) for x in (raise_precision(z1), raise_precision(z2)))
    with torch.autocast(a.device.type, enabled=False):
        correlation = a.T @ b  # (D, D)
    if reduce is not None:
        correlation = reduce(correlation)
    diagonal = correlation.diagonal()
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + weight * off_diagonal


class BarlowTwins(SelfSupervisedModel):
    def __init__(self, encoder, off_diagonal_weight: float, projection_size: int, loss_scale: float):
        super().__init__(encoder)
        self.weight, self.loss_scale = off_diagonal_weight, loss_scale
        self.projector = make_mlp([self.width, *[projection_size] * 3], norm=True)

    def compute_loss(self, view_1: torch.Tensor, view_2: torch.Tensor) -> torch.Tensor:
        z1, z2 = (self.projector(self.features(view)) for view in (view_1, view_2))
        return self.loss_scale * barlow_twins_loss(z1, z2, self.weight, mean_over_processes)


def settings(config) -> dict[str, float]:
    return {"off_diagonal_weight": 0.005, "projection_size": 4 * config.hidden_sizes[-1], "loss_scale": 0.024}


PAPER = "Zbontar, Jing, Misra, LeCun, Deny, arXiv 2103.03230 (ICML 2021)"
METHOD = Method("Barlow Twins", PAPER, BarlowTwins, settings)
