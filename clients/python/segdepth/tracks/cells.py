"""The nearest of many places, by a grid of cells: as quick to lay out as to ask.

Positions are complex numbers x + iy. Suffixes: N places known, M places asked about.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BORDER = 2
"""Empty cells around those with places: what lies outside is looked for in the outer ones, and finds none."""


class Cells:
    """Squares as wide as `reach` that hold a place each: the nearest within reach lies in a place's own or beside it.

    Of places that share a square only the last in `order` is seen: they should lie further apart than its diagonal.
    """

    def __init__(self, at_N: Array, order: NDArray[np.int64], reach: float):
        self._reach = reach
        self._at_N = np.append(at_N, complex(np.inf, 0.0))
        """The last one stands for none."""
        cell_N2 = np.floor(pairs(at_N) / reach).astype(np.int64)
        self._first = cell_N2.min(axis=0) - BORDER
        self._size = cell_N2.max(axis=0) + 1 + BORDER - self._first
        cell_N2 -= self._first
        width, height = self._size.tolist()
        self._place = np.full(width * height, len(at_N))
        self._place[(cell_N2[:, 0] + width * cell_N2[:, 1])[order]] = order
        self._around = (np.arange(-1, 2) + width * np.arange(-1, 2)[:, None]).ravel()

    def nearest(self, at_M: Array) -> NDArray[np.int64]:
        """Which place is nearest to each, -1 for those without one within reach."""
        cell_M2 = np.floor(pairs(at_M) / self._reach) - self._first
        # The outermost cells are empty, and so are those around them.
        cell_M2 = np.clip(cell_M2, 1, self._size - 2).astype(np.int64)
        flat_M = cell_M2[:, 0] + self._size[0] * cell_M2[:, 1]
        near_M9 = self._place.take(flat_M[:, None] + self._around)
        apart_M9 = at_M[:, None] - self._at_N.take(near_M9)
        square_M9 = apart_M9.real**2 + apart_M9.imag**2
        every = np.arange(len(at_M))
        best_M = square_M9.argmin(axis=1)
        return np.where(square_M9[every, best_M] < self._reach**2, near_M9[every, best_M], -1)


def pairs(at_N: Array) -> Array:
    """The same positions as x and y [N, 2]."""
    return at_N.view(float).reshape(-1, 2)
