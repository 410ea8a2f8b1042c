"""The 90 % interval of a column's count, which server and client state alike."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.90
"""Share of the posterior that the interval holds at least."""


def count_interval(posterior_NK: NDArray[Any], level: float = LEVEL) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Smallest contiguous set of counts with at least `level` of the posterior: first and last count, both [N].

    Among sets of equal size the one that holds most.
    """
    first_S, last_S = np.triu_indices(posterior_NK.shape[1])
    below_NK = np.pad(np.asarray(posterior_NK, float).cumsum(axis=1), ((0, 0), (1, 0)))
    mass_NS = below_NK[:, last_S + 1] - below_NK[:, first_S]
    size_S = last_S - first_S + 1
    # A tolerance, because eleven rounded probabilities need not sum to exactly one.
    enough_NS = mass_NS >= min(level, 1 - 1e-6) - 1e-7
    best_N = np.where(enough_NS, size_S - 0.5 * mass_NS, np.inf).argmin(axis=1)
    return first_S[best_N], last_S[best_N]
