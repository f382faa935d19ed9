"""
A linear map with a ridge, by scikit-learn in float64; cross-validation over people chooses its strength.

    minimise over W, b:  sum over faces of |y - W x - b|^2  +  strength * |W|^2,  the intercept b not penalised

A feature map has more numbers than there are faces. The map is therefore fitted in its dual form, from the inner
products of the faces' features alone, and these are computed once for all strengths and folds.

Legend: N training faces, n evaluation faces, D numbers a face, T targets.
"""

from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass
class Products:
    """Inner products of centred features. train: (N, N), of the training faces. evaluation: (n, N), with them."""

    train: np.ndarray
    evaluation: np.ndarray

    @property
    def scale(self) -> float:
        """Mean squared length of the training faces' centred features."""
        return float(np.trace(self.train) / len(self.train))


def centred_products(train: torch.Tensor, evaluation: torch.Tensor) -> Products:
    """
    Centres the features by the training mean, without a float64 copy of the whole.

    Args:
        train: (N, D), evaluation: (n, D), of any floating type, on the CPU.
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
    return Products(gram.numpy(), cross.numpy())


def ridge(strength: float) -> Pipeline:
    """The estimator: inner products (N, N) and targets (N, T), both centred anew wherever it is fitted."""
    dual = KernelRidge(alpha=strength, kernel="precomputed")
    return make_pipeline(KernelCenterer(), TransformedTargetRegressor(dual, transformer=StandardScaler(with_std=False)))


def person_folds(people: np.ndarray, num_folds: int, seed: int) -> np.ndarray:
    """
    A fold in [0, num_folds) for every face, (N,). The seed draws the order in which people go to the folds in turn.

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
    products: Products, targets: np.ndarray, folds: np.ndarray, error_of: Callable[[np.ndarray], float]
) -> tuple[float, list[float]]:
    """
    Args:
        targets: (N, T) float64. folds: (N,). error_of: held-out predictions (N, T) -> the error to minimise.
    Returns:
        The relative strength of the least error, and the error of each of RELATIVE_STRENGTHS.
    """
    errors = []
    for relative in RELATIVE_STRENGTHS:
        estimator = ridge(relative * products.scale)
        errors.append(error_of(cross_val_predict(estimator, products.train, targets, cv=PredefinedSplit(folds))))
    return RELATIVE_STRENGTHS[int(np.argmin(errors))], errors
