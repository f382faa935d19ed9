"""
A linear map with a ridge, solved exactly in float64; its strength is chosen by cross-validation.

    minimise over W, b:  sum over faces of |y - W x - b|^2  +  strength * |W|^2,  the intercept b not penalised

With the training features' principal components P = (x - mean) V, (N, R), s their squared lengths (the eigenvalues),
and centred targets Y, the map is diagonal: predictions = mean(y) + P diag(1 / (s + strength)) P'Y. One
eigendecomposition, of the smaller of the D x D covariance (primal) and the N x N Gram matrix (dual), therefore serves
every strength.

It serves every fold too. With H = 11'/N + P diag(1 / (s + strength)) P', which takes targets to fitted values, what a
map fitted without the faces g predicts for them misses by (I - H_gg)^-1 (y_g - fitted_g): Woodbury's identity, for one
face Golub, Heath, Wahba, Technometrics 1979. No fold is fitted by itself.

Legend: N training faces, n evaluation faces, D numbers a face, R components, T targets. All tensors on the CPU.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from training.runtime.errors import InputError

# Candidates, in units of the mean squared length of the training faces' centred features: from next to no ridge to the
# mean of the targets, two a decade.
RELATIVE_STRENGTHS = tuple(10.0 ** (half / 2) for half in range(-12, 5))
BLOCK = 4096  # columns that are float64 at a time
# Below this share of the features' squared length, what differs between faces is float32's rounding.
LEAST_VARIANCE = 1e-12


@dataclass
class Components:
    """train (N, R) and evaluation (n, R): centred features in the training faces' directions. eigenvalues: (R,)."""

    train: torch.Tensor
    evaluation: torch.Tensor
    eigenvalues: torch.Tensor

    @property
    def scale(self) -> float:
        """Mean squared length of the training faces' centred features."""
        return float(self.eigenvalues.sum() / len(self.train))


def principal_components(train: torch.Tensor, evaluation: torch.Tensor) -> Components:
    """
    Args:
        train: (N, D), evaluation: (n, D), of any floating type.
    Raises:
        InputError: features that are not finite, or the same for every training face.
    """
    if not (torch.isfinite(train).all() and torch.isfinite(evaluation).all()):
        raise InputError("the encoder gives features that are not finite; its weights or BatchNorm statistics are bad.")
    num_faces, width = train.shape
    if width <= num_faces:
        mean = train.double().mean(0)
        centred = train.double() - mean
        eigenvalues, directions = torch.linalg.eigh(centred.T @ centred)
        parts = centred @ directions, (evaluation.double() - mean) @ directions
    else:
        gram, cross = centred_products(train, evaluation)
        eigenvalues, vectors = torch.linalg.eigh(gram)
        lengths = eigenvalues.clamp(min=torch.finfo(torch.float64).tiny).sqrt()
        parts = vectors * lengths, cross @ vectors / lengths
    length = sum(part.double().square().sum() for part in train.split(BLOCK, dim=1))
    if not eigenvalues[-1] > LEAST_VARIANCE * length:
        raise InputError("the encoder gives every training face the same features: there is nothing to map from.")
    # A rank below N or D leaves eigenvalues that are noise; they carry no feature.
    kept = eigenvalues > eigenvalues[-1] * max(train.shape) * torch.finfo(torch.float64).eps
    return Components(parts[0][:, kept], parts[1][:, kept], eigenvalues[kept])


def centred_products(train: torch.Tensor, evaluation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """X X' (N, N) and E X' (n, N) of the features less the training mean, without a float64 copy of the whole."""
    gram = torch.zeros(len(train), len(train), dtype=torch.float64)
    cross = torch.zeros(len(evaluation), len(train), dtype=torch.float64)
    for block, other in zip(train.split(BLOCK, dim=1), evaluation.split(BLOCK, dim=1), strict=True):
        mean = block.double().mean(0)
        centred = block.double() - mean
        gram.addmm_(centred, centred.T)
        cross.addmm_(other.double() - mean, centred.T)
    return gram, cross


def ridge_coefficients(components: Components, targets: torch.Tensor, strength: float) -> torch.Tensor:
    """targets (N, T) -> (R, T), of the components."""
    centred = targets - targets.mean(0)
    return components.train.T @ centred / (components.eigenvalues + strength)[:, None]


def ridge_predictions(components: Components, targets: torch.Tensor, strength: float) -> torch.Tensor:
    """The evaluation faces' predictions, (n, T), by the map fitted on all training faces. targets: (N, T) float64."""
    return targets.mean(0) + components.evaluation @ ridge_coefficients(components, targets, strength)


def held_out_predictions(components: Components, targets: torch.Tensor, folds: np.ndarray, strength: float):
    """For every training face what the map fitted without its fold predicts, (N, T). folds: (N,) integers."""
    fitted = targets.mean(0) + components.train @ ridge_coefficients(components, targets, strength)
    predictions = torch.empty_like(targets)
    for fold in np.unique(folds):
        rows = torch.from_numpy(np.flatnonzero(folds == fold))
        part = components.train[rows]
        hat = 1 / len(targets) + part / (components.eigenvalues + strength) @ part.T  # H_gg
        unit = torch.eye(len(rows), dtype=torch.float64)
        predictions[rows] = targets[rows] - torch.linalg.solve(unit - hat, targets[rows] - fitted[rows])
    return predictions


def person_folds(people: np.ndarray, num_folds: int, seed: int) -> np.ndarray:
    """
    A fold in [0, num_folds) for every face, (N,): people drawn by the seed and dealt out in turn, each kept whole.

    Raises:
        InputError: fewer people than folds.
    """
    names, places = np.unique(people, return_inverse=True)
    if len(names) < num_folds:
        raise InputError(
            f"--folds {num_folds} needs as many training people, and there are {len(names)}; give fewer folds (2 at"
            " least), or faces of more people."
        )
    fold_of_person = np.empty(len(names), dtype=np.int64)
    fold_of_person[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % num_folds
    return fold_of_person[places]


def choose_strength(
    components: Components,
    targets: torch.Tensor,
    folds: np.ndarray,
    error_of: Callable[[np.ndarray], float],
    candidates: Sequence[float] = RELATIVE_STRENGTHS,
) -> tuple[float, list[float]]:
    """
    Args:
        targets: (N, T) float64. folds: (N,). error_of: (N, T) held-out predictions -> the error to make small.
        candidates: in units of the components' scale.
    Returns:
        The relative strength of the least error, and the error of every candidate.
    """
    errors = [
        error_of(held_out_predictions(components, targets, folds, candidate * components.scale).numpy())
        for candidate in candidates
    ]
    return candidates[int(np.argmin(errors))], errors
