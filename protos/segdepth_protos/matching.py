"""Which columns of two sets are the same: of two frames of a movie, two models' answers, an answer and the truth."""

import numpy as np
from numpy.typing import NDArray

MATCH_A = 0.5
"""Two columns are the same if they lie this near [Å], each the other's nearest: less than half the smallest distance of
two columns, so that mutual nearest neighbours are the optimal one-to-one assignment."""


def match(ours: NDArray[np.floating], theirs: NDArray[np.floating], reach: float) -> NDArray[np.int64]:
    """For each position of ours [n, 2] the index of its one of theirs [m, 2], -1 without.

    Two positions belong together if each is the other's nearest and they are no farther apart than `reach`, which has
    the positions' unit.
    """
    result = np.full(len(ours), -1)
    if len(ours) and len(theirs):
        forth, back = _nearest(ours, theirs, reach), _nearest(theirs, ours, reach)
        mutual = (forth >= 0) & (back[forth] == np.arange(len(ours)))
        result[mutual] = forth[mutual]
    return result


def _nearest(ours: NDArray[np.floating], theirs: NDArray[np.floating], reach: float) -> NDArray[np.int64]:
    """Index of the nearest of theirs within reach of each of ours, -1 without; the first of several.

    Theirs lie in the cells of a grid as wide as the reach, sorted by row and column: of three rows of cells around a
    position, three cells each are one run of that order.
    """
    corner = np.minimum(ours.min(axis=0), theirs.min(axis=0)) - reach
    cell_M2 = ((theirs - corner) // reach).astype(np.int64)
    cell_N2 = ((ours - corner) // reach).astype(np.int64)
    width = int(max(cell_M2[:, 0].max(), cell_N2[:, 0].max())) + 2
    key_M = cell_M2[:, 1] * width + cell_M2[:, 0]
    order = np.argsort(key_M, kind="stable")
    key_M, sorted_M2 = key_M[order], theirs[order]

    best_N, distance_N = np.full(len(ours), -1), np.full(len(ours), np.inf)
    for row in (-1, 0, 1):
        middle_N = (cell_N2[:, 1] + row) * width + cell_N2[:, 0]
        first_N, end_N = np.searchsorted(key_M, middle_N - 1, "left"), np.searchsorted(key_M, middle_N + 1, "right")
        for step in range(int((end_N - first_N).max())):
            here = np.flatnonzero(first_N + step < end_N)
            other = first_N[here] + step
            distance = np.hypot(*(sorted_M2[other] - ours[here]).T)
            index = order[other]
            nearer = (distance <= reach) & (
                (distance < distance_N[here]) | ((distance == distance_N[here]) & (index < best_N[here]))
            )
            best_N[here[nearer]], distance_N[here[nearer]] = index[nearer], distance[nearer]
    return best_N
