"""
SimCLR: the two views of a face attract each other, and repel both views of every other face of the batch.

    l(i, j) = -log( exp(z_i.z_j / t) / sum over k != i of exp(z_i.z_k / t) ),   L = mean of l over all 2N positive pairs

z are unit vectors, t the temperature. The other faces are those of all processes, as in the paper, and the gradient
goes through all of them. BatchNorm is each process's own unless --sync_batchnorm is given.

Source: Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", arXiv
2002.05709 (ICML 2020), equation 1 and algorithm 1; t = 0.1 of table 5, D = 128 and a hidden layer as wide as the
features (section 4.2).
"""

import torch
from torch.nn import functional as F

from modeling_simfle.modeling_simfle import raise_precision
from training.pretraining.all_processes import gather_with_gradient, process_index
from training.pretraining.method import Method, SelfSupervisedModel, make_mlp


def nt_xent_loss(views: list[torch.Tensor], all_views: list[torch.Tensor], first: int, temperature: float):
    """
    L of this process's faces.

    Args:
        views: projections of view 1 and view 2 in this process, (B, D) each.
        all_views: the same of all processes, (N, D) each. first: the row in them of this process's first face.
    """
    batch, total = len(views[0]), len(all_views[0])
    queries, keys = (F.normalize(raise_precision(torch.cat(part)), dim=1) for part in (views, all_views))
    with torch.autocast(queries.device.type, enabled=False):
        logits = queries @ keys.T / temperature  # (2B, 2N)
    rows = first + torch.arange(batch, device=logits.device)
    itself, positive = torch.cat([rows, rows + total]), torch.cat([rows + total, rows])
    logits = logits.scatter(1, itself[:, None], -torch.inf)
    return F.cross_entropy(logits, positive)


class SimCLR(SelfSupervisedModel):
    def __init__(self, encoder, temperature: float, hidden_size: int, projection_size: int):
        super().__init__(encoder)
        self.temperature = temperature
        self.projector = make_mlp([self.width, hidden_size, projection_size])

    def compute_loss(self, view_1: torch.Tensor, view_2: torch.Tensor) -> torch.Tensor:
        views = [self.projector(self.features(view)) for view in (view_1, view_2)]
        all_views = [gather_with_gradient(view) for view in views]
        return nt_xent_loss(views, all_views, process_index() * len(view_1), self.temperature)


def settings(config) -> dict[str, float]:
    return {"temperature": 0.1, "hidden_size": config.hidden_sizes[-1], "projection_size": 128}


METHOD = Method("SimCLR", "Chen, Kornblith, Norouzi, Hinton, arXiv 2002.05709 (ICML 2020)", SimCLR, settings)
