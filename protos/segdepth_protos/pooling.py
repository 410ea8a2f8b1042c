"""How what several frames say of one column combines: the rule of a served model's own numbers.

What frame i adds to the prior p(n) is p(n|i) / p(n) (`told`), and the prior counts once (Bayes, for independent noise).
Whatever the model gets wrong in a column, it gets wrong in each of k frames that show it alike, so that these are worth
k * beta independent ones (`worth`):

    p(n | all) ~ p(n) * prod_i [p(n|i) / p(n)] ** beta,    beta = 1 / (1 + (k - 1) * correlation)

(the design effect of a cluster of size k: Kish, Survey Sampling, 1965). Columns that stand still are `pooled` so: by
this a model's correlation is fitted. The SDK's tracks follow the same rule from one change of a column to the next.

Suffixes: F frames, N columns, K classes (atoms of a column).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segdepth_protos.v1 import models_pb2

Array = NDArray[Any]

SMALLEST = 1e-6
"""No class is less probable than this in a frame: one frame's rounding must not rule out what all others say."""


def log_of(probability: Array) -> NDArray[np.float64]:
    """Logarithm of probabilities, none of which is less than SMALLEST."""
    return np.asarray(np.log(np.maximum(probability, SMALLEST)))


def told(posterior: Array, log_prior: Array) -> NDArray[np.float64]:
    """What a frame's posterior p(n|i) adds to the prior: log p(n|i) / p(n), of the same shape."""
    return log_of(posterior) - log_prior


def worth(number: Array | float, correlation: float) -> NDArray[np.float64]:
    """beta of so many frames: by how much what each tells counts. 1 for one frame or none."""
    return np.asarray(1 / (1 + np.maximum(np.asarray(number, float) - 1, 0) * correlation))


def fill(
    message: models_pb2.Pooling,
    *,
    prior: Sequence[Sequence[float]],
    dose: Sequence[float],
    correlation: Sequence[float],
    hop: float,
    abstain_below: float,
) -> None:
    """Write a model's numbers into a message. hop: of no effect; clients of before tracking read it."""
    message.prior.extend(probability for species in prior for probability in species)
    message.dose_electrons_per_angstrom2.extend(dose)
    message.correlation.extend(correlation)
    message.hop, message.abstain_below = hop, abstain_below


FOUND_SHARE = 0.5
"""A column is one if at least this share of the frames has it."""


class Pooled(NamedTuple):
    """What a movie says of its columns."""

    posterior: NDArray[np.float64]
    """[N, K]"""
    frames: NDArray[np.int64]
    """Frames in which each column was found [N]."""
    seen: NDArray[np.bool_]
    """Whether it is a column at all: found in FOUND_SHARE of the frames, or in their sum [N]."""


def pooled(posteriors_FNK: Array, prior_NK: Array, correlation: float, summed_NK: Array | None = None) -> Pooled:
    """The posteriors of columns that stand still, over the frames of a movie; the order of frames means nothing.

    posteriors_FNK: rows of NaN where a frame has not found a column: it says nothing of it. summed_NK: what the model
    says of the frames' sum, if it was asked. It sees what no frame shows alone and takes the place of p(n | all); rows
    of NaN where it has not found a column.

    Raises ValueError for arrays that do not belong together, or a correlation outside 0-1.
    """
    if posteriors_FNK.ndim != 3 or posteriors_FNK.shape[1:] != prior_NK.shape:
        raise ValueError(f"posteriors {posteriors_FNK.shape} and prior {prior_NK.shape} do not belong together")
    if summed_NK is not None and summed_NK.shape != prior_NK.shape:
        raise ValueError(f"posteriors of the sum {summed_NK.shape} and prior {prior_NK.shape} do not belong together")
    if not 0 <= correlation <= 1:
        raise ValueError(f"correlation {correlation}: it lies between 0 and 1")
    found_FN: Array = np.asarray(np.isfinite(posteriors_FNK).all(axis=2))
    frames_N = found_FN.sum(axis=0)
    log_prior_NK = log_of(prior_NK)
    told_NK = np.where(found_FN[..., None], told(posteriors_FNK, log_prior_NK), 0.0).sum(axis=0)
    log_NK = log_prior_NK + told_NK * worth(frames_N, correlation)[:, None]
    posterior_NK = np.exp(log_NK - log_NK.max(axis=1, keepdims=True))
    posterior_NK /= posterior_NK.sum(axis=1, keepdims=True)
    seen_N = frames_N >= FOUND_SHARE * len(posteriors_FNK)
    if summed_NK is not None:
        shown_N = np.isfinite(summed_NK).all(axis=1)
        posterior_NK[shown_N] = summed_NK[shown_N] / summed_NK[shown_N].sum(axis=1, keepdims=True)
        seen_N |= shown_N
    return Pooled(posterior_NK, frames_N, seen_N)
