"""
A linear map with a ridge, by scikit-learn in float64; cross-validation over people chooses its strength.

    minimise over W, b:  sum over faces of |y - W x - b|^2  +  strength * |W|^2,  the intercept b not penalised

A feature map has more numbers than there are faces. The map is therefore fitted in its dual form, from the inner
products of the faces' features alone, and these are computed once for all strengths and folds.

Legend: N training faces, n evaluation faces, D numbers a face, T targets.
"""

from collections.abc import Callable

import numpy as np
import torch
from sklearn.compose import TransformedTargetRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import KernelCenterer, StandardScaler

from training.runtime.errors import InputError

# Candidates, in units of the mean squared length of the training faces' centred features: from next to no ridge to the
# mean of the targets, two a decade.
RELATIVE_STRENGTHS = tuple(10.0 ** (half / 2) for half in range(-12, 5))
BLOCK = 4096  # columns that are float64 at a time
# Below this share of the features' squared length, the differences between faces are float32's rounding.
LEAST_VARIANCE = 1e-12


def centred_products(train: torch.Tensor, evaluation: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """
    Inner products of the features, centred by the training mean, without a float64 copy of the whole.

    Args:
        train: (N, D), evaluation: (n, D), of any floating type, on the CPU.
    Returns:
        Those of the training faces, (N, N), and of the evaluation faces with them, (n, N), float64.
    Raises:
        InputError: the features are the same for every training face.
    """
    gram = torch.zeros(len(train), len(train), dtype=torch.float64)
    cross = torch.zeros(len(evaluation), len(train), dtype=torch.float64)
    for block, other in zip(train.split(BLOCK, dim=1), evaluation.split(BLOCK, dim=1), strict=True):
        mean = block.double().mean(0)
        centred = block.double() - mean
        gram.addmm_(centred, centred.T)
        cross.addmm_(other.double() - mean, centred.T)
    if not gram.trace() > LEAST_VARIANCE * torch.linalg.vector_norm(train, dtype=torch.float64) ** 2:
        raise InputError("the encoder gives every training face the same features: there is nothing to map from.")
    return gram.numpy(), cross.numpy()


def ridge(strength: float) -> Pipeline:
    """A ridge regressor of inner products (N, N) and targets (N, T); each fit centres both on its own rows."""
    dual = KernelRidge(alpha=strength, kernel="precomputed")
    return make_pipeline(KernelCenterer(), TransformedTargetRegressor(dual, transformer=StandardScaler(with_std=False)))


def person_folds(people: np.ndarray, num_folds: int, seed: int) -> PredefinedSplit:
    """Folds of faces (N,). The seed draws the order in which people go to the folds in turn."""
    names, places = np.unique(people, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names)).argsort()
    return PredefinedSplit((order % num_folds)[places])


def cross_validate(gram: np.ndarray, targets: np.ndarray, folds: PredefinedSplit, error_of: Callable) -> list[float]:
    """
    The error of each of RELATIVE_STRENGTHS on held-out faces.

    Args:
        gram: (N, N), see `centred_products`. targets: (N, T). error_of: function of the held-out predictions (N, T).
    """
    estimators = [ridge(relative * gram.trace() / len(gram)) for relative in RELATIVE_STRENGTHS]
    return [error_of(cross_val_predict(each, gram, targets, cv=folds)) for each in estimators]
