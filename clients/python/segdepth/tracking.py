"""The same column in several frames of a movie that stands still. Drift is not tracked."""

import numpy as np
from numpy.typing import NDArray

MATCH_A = 0.5
"""Positions of a column in two frames may differ by this [Å]: less than half the smallest distance of two columns."""

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
        index = nearest(xy_A, self.xy_A, MATCH_A)
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


def nearest(ours: NDArray[np.float64], theirs: NDArray[np.float64], reach: float) -> NDArray[np.int64]:
    """For each position of ours [n, 2] the index of the position of theirs that is the nearest one to it and it to that
    one, within reach; -1 without."""
    result = np.full(len(ours), -1)
    if not (len(ours) and len(theirs)):
        return result
    forth, back = _closest(ours, theirs, reach), _closest(theirs, ours, reach)
    mutual = (forth >= 0) & (back[forth] == np.arange(len(ours)))
    result[mutual] = forth[mutual]
    return result


def _closest(ours: NDArray[np.float64], theirs: NDArray[np.float64], reach: float) -> NDArray[np.int64]:
    """Index of the closest of theirs within reach, -1 without: compared with those in a strip of equal height alone."""
    order = np.argsort(theirs[:, 1], kind="stable")
    sorted_y = theirs[order, 1]
    low, high = (np.searchsorted(sorted_y, ours[:, 1] + side, "left") for side in (-reach, reach + 1e-12))
    result = np.full(len(ours), -1)
    for number, (first, last) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        if first == last:
            continue
        strip = order[first:last]
        distance = np.hypot(*(theirs[strip] - ours[number]).T)
        best = int(distance.argmin())
        if distance[best] <= reach:
            result[number] = strip[best]
    return result
