"""
MoCo v2: a view finds the other view of its face among a queue of faces that a slow copy of the encoder has seen.

    L = mean over B of -log( exp(q.k+ / t) / (exp(q.k+ / t) + sum over the queue of exp(q.k / t)) ),   unit vectors

The queue holds the keys of all processes, as in the paper. BatchNorm would let a query know its key's batch, so the
processes exchange faces before the keys are made ("shuffling BN"): each makes the keys of every P-th face of all P
processes, which are drawn anew in each step. One process has nobody to exchange with.

Source: He et al., "Momentum Contrast", arXiv 1911.05722 (CVPR 2020), equations 1 and 2 and section 3.3; Chen, Fan,
Girshick, He, arXiv 2003.04297 (2020): t = 0.2, a hidden layer as wide as the features, D = 128, momentum 0.999, a queue
of 65,536 keys.
"""

import copy

import torch
from torch.nn import functional as F

from modeling_simfle.modeling_simfle import raise_precision
from training.pretraining.all_processes import gather, process_index
from training.pretraining.method import Method, SelfSupervisedModel, make_mlp


def info_nce_loss(queries: torch.Tensor, keys: torch.Tensor, queue: torch.Tensor, temperature: float) -> torch.Tensor:
    """
    Args:
        queries, keys: of the two views of each face, (B, D). queue: keys of other faces, (K, D). Neither keys nor queue
            get a gradient.
    """
    q, k, others = (F.normalize(raise_precision(x), dim=1) for x in (queries, keys.detach(), queue.detach()))
    with torch.autocast(q.device.type, enabled=False):
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ others.T], dim=1) / temperature  # (B, 1 + K)
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64, device=q.device))


class MoCo(SelfSupervisedModel):
    queue: torch.Tensor  # (K, D), unit vectors

    def __init__(
        self, encoder, temperature: float, hidden_size: int, projection_size: int, decay: float, queue_size: int
    ):
        super().__init__(encoder)
        self.temperature, self.decay = temperature, decay
        self.projector = make_mlp([self.width, hidden_size, projection_size])
        self.target_encoder, self.target_projector = copy.deepcopy(self.encoder), copy.deepcopy(self.projector)
        self.target_encoder.requires_grad_(False)
        self.target_projector.requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, projection_size), dim=1))

    def compute_loss(self, view_1: torch.Tensor, view_2: torch.Tensor) -> torch.Tensor:
        queries = self.projector(self.features(view_1))
        keys = self.make_keys(view_2)  # (P, B, D), the first axis by process
        loss = info_nce_loss(queries, keys[process_index()], self.queue.clone(), self.temperature)
        self.queue.copy_(torch.cat([keys.flatten(0, 1), self.queue])[: len(self.queue)])
        return loss

    @torch.no_grad()  # the target is moved by `update_target` alone
    def make_keys(self, view: torch.Tensor) -> torch.Tensor:
        rank, batch = process_index(), len(view)
        everyone = gather(view)
        shuffled = everyone[rank :: len(everyone) // batch]  # face i of all goes to process i modulo P
        features = self.target_encoder(shuffled, return_dict=True).pooler_output
        keys = gather(F.normalize(raise_precision(self.target_projector(features)), dim=1))
        return keys.unflatten(0, (-1, batch)).transpose(0, 1).reshape(-1, batch, keys.shape[1])

    @torch.no_grad()
    def update_target(self) -> None:
        for target, online in ((self.target_encoder, self.encoder), (self.target_projector, self.projector)):
            for own, other in zip(target.parameters(), online.parameters(), strict=True):
                own.mul_(self.decay).add_(other, alpha=1 - self.decay)


def settings(config) -> dict[str, float]:
    sizes = {"hidden_size": config.hidden_sizes[-1], "projection_size": 128, "queue_size": 65536}
    return {"temperature": 0.2, "decay": 0.999, **sizes}


METHOD = Method("MoCo v2", "Chen, Fan, Girshick, He, arXiv 2003.04297 (2020)", MoCo, settings)
