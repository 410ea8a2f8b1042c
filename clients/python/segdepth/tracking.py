"""The same column in several frames of a movie that stands still. Drift is not tracked."""

import numpy as np
from numpy.typing import NDArray

from segdepth_protos.matching import MATCH_A, match

REGISTERED_SHARE = 0.5
"""A frame that shares fewer of its columns with those before has moved."""


class Tracks:
    """Columns of the frames so far, each at the mean of its positions.

    A frame that is displaced by a whole period of the lattice looks like one that is not: only its edges, and counts
    that contradict the others', tell.
    """

    def __init__(self) -> None:
        self._sum_A = np.zeros((0, 2))
        self.found = np.zeros(0, np.int64)
        """Frames in which each column was found."""
        self._frames = 0

    @property
    def xy_A(self) -> NDArray[np.float64]:
        """Mean position of each column [n, 2] in Å."""
        return self._sum_A / np.maximum(self.found, 1)[:, None]

    def add(self, xy_A: NDArray[np.float64]) -> NDArray[np.int64] | None:
        """Which column each position of one more frame is, in their order, new ones last; None for one that moved."""
        index = match(xy_A, self.xy_A, MATCH_A)
        steady = 2 * self.found >= self._frames
        shared = int(steady[index[index >= 0]].sum())
        if self._frames and shared < REGISTERED_SHARE * max(int(steady.sum()), len(xy_A)):
            return None
        new = np.flatnonzero(index < 0)
        index[new] = len(self.found) + np.arange(len(new))
        self._sum_A = np.concatenate([self._sum_A, np.zeros((len(new), 2))])
        self.found = np.concatenate([self.found, np.zeros(len(new), np.int64)])
        self._sum_A[index] += xy_A
        self.found[index] += 1
        self._frames += 1
        return index
