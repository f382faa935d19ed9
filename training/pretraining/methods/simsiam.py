"""
SimSiam: each view predicts the projection of the other one, which gets no gradient. No negatives, no slow copy.

    L = D(p1, stop(z2)) / 2 + D(p2, stop(z1)) / 2,   D(p, z) = -mean over B of p.z, as unit vectors

Source: Chen, He, "Exploring Simple Siamese Representation Learning", arXiv 2011.10566 (CVPR 2021), equations 1 to 4;
projector of three layers of 2048 with BatchNorm also on its output, predictor 2048 - 512 - 2048 (section 3).
"""

import torch
from torch.nn import functional as F

from modeling_simfle.modeling_simfle import raise_precision
from training.pretraining.method import Method, SelfSupervisedModel, make_mlp


def negative_cosine(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """D(p, stop(z)) of predictions and projections (B, D)."""
    p, z = (F.normalize(raise_precision(x), dim=1) for x in (p, z.detach()))
    return -(p * z).sum(1).mean()


def simsiam_loss(p1: torch.Tensor, p2: torch.Tensor, z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
    """L of predictions p and projections z of view 1 and view 2, (B, D)."""
    return (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2


class SimSiam(SelfSupervisedModel):
    def __init__(self, encoder, projection_size: int, predictor_hidden_size: int):
        super().__init__(encoder)
        self.projector = make_mlp([self.width, *[projection_size] * 3], norm=True, norm_output=True)
        self.predictor = make_mlp([projection_size, predictor_hidden_size, projection_size], norm=True)

    def compute_loss(self, view_1: torch.Tensor, view_2: torch.Tensor) -> torch.Tensor:
        z1, z2 = (self.projector(self.features(view)) for view in (view_1, view_2))
        return simsiam_loss(self.predictor(z1), self.predictor(z2), z1, z2)


def settings(config) -> dict[str, float]:
    width = config.hidden_sizes[-1]
    return {"projection_size": width, "predictor_hidden_size": max(1, width // 4)}


METHOD = Method("SimSiam", "Chen, He, arXiv 2011.10566 (CVPR 2021)", SimSiam, settings)
