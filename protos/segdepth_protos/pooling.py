"""How what several frames say of one column combines: the rule that clients apply with a served model's own numbers.

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


def fill(
    message: models_pb2.Pooling,
    *,
    prior: Sequence[Sequence[float]],
    dose: Sequence[float],
    correlation: Sequence[float],
    hop: float,
    abstain_below: float,
) -> None:
    """Write a model's numbers into a message."""
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
    hopping: NDArray[np.float64]
    """Probability that the number of atoms changed during the movie [N]."""
    frames: NDArray[np.int64]
    """Frames in which each column was found [N]."""
    seen: NDArray[np.bool_]
    """Whether it is a column at all: found in FOUND_SHARE of the frames, or in their sum [N]."""


def pooled(
    posteriors_FNK: Array, prior_NK: Array, correlation: float, hop: float, summed_NK: Array | None = None
) -> Pooled:
    """Combine the posteriors of columns over the frames of a movie; rows of NaN where a frame has not found a column.

    What frame i adds to the prior p(n) is p(n|i) / p(n), and the prior counts once (Bayes, for independent noise):

        p(n | all) ~ p(n) * prod_i [p(n|i) / p(n)] ** beta,    beta = 1 / (1 + (k - 1) * correlation)

    beta < 1 says that k frames are worth k * beta independent ones: whatever the model gets wrong, it gets wrong in
    each of them (the design effect of a cluster of size k: Kish, Survey Sampling, 1965).

    A column may also change during the movie. With its number drawn from c(n) anew in each frame, or once for all,
    the evidence is

        prod_i sum_n c(n) * p(n|i) / c(n) = 1    or    E = sum_n c(n) * prod_i [p(n|i) / c(n)]

    so that P(hop) = hop / (hop + (1 - hop) * E). What the surroundings let a column expect is told anew in each frame
    and is no evidence that it stands still: taken as such, it outvotes frames that contradict each other. Of what the
    frames have in common, their mean (the prior of calibrated posteriors, by the law of total probability), a share
    `correlation` is expectation: c(n) = correlation * mean_i p(n|i) + (1 - correlation) * p(n). No beta here: an error
    that all frames share makes them agree.

    The answer is the mixture of the still column's posterior and, for a hop, of the mean: a column whose frames
    contradict each other loses its confidence. The order of frames means nothing.

    summed_NK: what the model says of the frames' sum, if it was asked. It sees what no frame shows alone and takes the
    place of p(n | all); rows of NaN where it has not found a column. Whether a column hops, only the frames tell.

    Raises ValueError for arrays that do not belong together, or numbers outside 0-1.
    """
    if posteriors_FNK.ndim != 3 or posteriors_FNK.shape[1:] != prior_NK.shape:
        raise ValueError(f"posteriors {posteriors_FNK.shape} and prior {prior_NK.shape} do not belong together")
    if summed_NK is not None and summed_NK.shape != prior_NK.shape:
        raise ValueError(f"posteriors of the sum {summed_NK.shape} and prior {prior_NK.shape} do not belong together")
    if not (0 <= correlation <= 1 and 0 <= hop < 1):
        raise ValueError(f"correlation {correlation} and hop {hop}: both lie between 0 and 1")
    found_FN: Array = np.asarray(np.isfinite(posteriors_FNK).all(axis=2))
    frames_N = found_FN.sum(axis=0)
    log_prior_NK = np.log(np.maximum(np.asarray(prior_NK, float), SMALLEST))
    log_FNK = np.log(np.maximum(np.nan_to_num(np.asarray(posteriors_FNK, float)), SMALLEST))
    beta_N = 1 / (1 + np.maximum(frames_N - 1, 0) * correlation)
    told_FNK = np.where(found_FN[..., None], (log_FNK - log_prior_NK) * beta_N[:, None], 0.0)
    still_NK = log_prior_NK + told_FNK.sum(axis=0)
    still_NK = np.exp(still_NK - _log_sum(still_NK)[:, None])
    seen_N = frames_N >= FOUND_SHARE * len(posteriors_FNK)
    if summed_NK is not None:
        still_NK = np.where(np.isfinite(summed_NK), summed_NK, still_NK)
        seen_N |= np.isfinite(summed_NK).all(axis=1)
    seen_FNK = np.where(found_FN[..., None], posteriors_FNK, 0.0)
    mean_NK = seen_FNK.sum(axis=0) / np.maximum(frames_N, 1)[:, None]
    expected_NK = np.log(np.maximum(correlation * mean_NK + (1 - correlation) * prior_NK, SMALLEST))
    evidence_N = _log_sum(expected_NK + np.where(found_FN[..., None], log_FNK - expected_NK, 0.0).sum(axis=0))
    hopping_N = np.where(frames_N > 1, hop / (hop + (1 - hop) * np.exp(np.clip(evidence_N, -700, 700))), 0.0)
    posterior_NK = (1 - hopping_N[:, None]) * still_NK + hopping_N[:, None] * mean_NK
    return Pooled(posterior_NK / posterior_NK.sum(axis=1, keepdims=True), hopping_N, frames_N, seen_N)


def _log_sum(log: Array) -> NDArray[np.float64]:
    """Logarithm of the sum over the last axis of what `log` is the logarithm of."""
    highest = log.max(axis=-1, keepdims=True)
    return np.asarray((np.log(np.exp(log - highest).sum(axis=-1, keepdims=True)) + highest)[..., 0])
