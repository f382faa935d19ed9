"""k-nearest-neighbour classification of features: a measure of an encoder that trains nothing."""

import torch
from torch.nn import functional as F


@torch.no_grad()
def knn_predict(
    bank: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor, num_classes: int, k: int = 20, temperature=0.07
) -> torch.Tensor:
    """
    The class with the most votes among the k nearest by cosine, each weighted exp(similarity / temperature).

    Args:
        bank: features (N, D) with labels (N,) int64. queries: (M, D).
    Returns:
        (M,) int64.
    Source: Wu et al., arXiv 1805.01978, section 3.4.
    """
    bank, k = F.normalize(bank.float(), dim=1), min(k, len(bank))
    predictions = []
    for part in F.normalize(queries.float(), dim=1).split(1024):
        similarity, nearest = (part @ bank.T).topk(k, dim=1)  # (m, k)
        votes = torch.zeros(len(part), num_classes, device=part.device)
        votes.scatter_add_(1, labels[nearest], (similarity / temperature).exp())
        predictions.append(votes.argmax(1))
    return torch.cat(predictions)
