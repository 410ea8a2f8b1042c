"""Shot noise at a camera's speed: Poisson counts of an expected image, frame after frame.

numpy draws one pixel after the other, some 400 frames of 256² a second. Here whole images are drawn at once: of each
pixel one uniform number of 16 bits, compared with the steps of its cumulative distribution. Brighter pixels would need
many steps: of theirs a multiple of some mean is looked up in a table, with a second number, and only the rest is
compared; the sum of two Poisson numbers is one with the sum of their means.

Distributions are right to 2^-17 at each step, and end where less than that is left: means to 1e-4 electrons.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESOLUTION = 1 << 16
"""Uniform numbers there are."""

COMPARED = 8.0
"""Electrons up to which steps alone are faster than the table."""

LEVELS = 64
"""Rows of the table at most: four megabytes, about what a core keeps at hand."""

LOOKED_UP = 180.0
"""Electrons beyond which counts leave the table's bytes: numpy draws those images."""


class ShotNoise:
    """Frames of one expected image [H, W] in electrons per pixel.

    most: upper bound of the electrons per pixel; images with the same one share a table.
    """

    def __init__(self, electrons: NDArray[np.float32], most: float):
        self._electrons = electrons
        self._steps: NDArray[np.uint16] | None = None
        self._table: NDArray[np.uint8] | None = None
        self._rows = np.zeros(0, np.int64)
        if most > LOOKED_UP:
            return
        rest = electrons.ravel()
        if most > COMPARED:
            step = max(1.0, most / (LEVELS - 1))
            self._table = _table(step)
            level = np.minimum(np.floor(rest / np.float32(step)), LEVELS - 1)
            self._rows = level.astype(np.int64) * RESOLUTION
            rest = rest - level * np.float32(step)
        self._steps = _steps(rest)

    def frame(self, numbers: np.random.SFC64) -> NDArray[np.uint16]:
        """A frame [H, W] of counts, with fresh numbers of the generator."""
        shape = self._electrons.shape
        if self._steps is None:
            drawn = np.random.Generator(numbers).poisson(self._electrons)
            return np.minimum(drawn, np.iinfo(np.uint16).max).astype(np.uint16)
        size = self._electrons.size
        uniform = _uniform(numbers, size)
        counts, reached = np.zeros(size, np.uint8), np.empty(size, np.bool_)
        for step in self._steps:
            np.greater(uniform, step, out=reached)
            np.add(counts, reached.view(np.uint8), out=counts)
        if self._table is not None:
            counts += np.take(self._table, self._rows + _uniform(numbers, size), mode="clip")
        return counts.astype(np.uint16).reshape(shape)


def _uniform(numbers: np.random.SFC64, size: int) -> NDArray[np.uint16]:
    return numbers.random_raw(-(-size // 4)).view(np.uint16)[:size]


def _steps(electrons: NDArray[np.float32]) -> NDArray[np.uint16]:
    """[K, n]: a count is the number of its steps that lie below the uniform number."""
    term = np.exp(-electrons)
    below = term.copy()
    steps: list[NDArray[np.uint16]] = []
    while True:
        # The last step of all that no number reaches ends it: less than half of 2^-16 is left.
        step = np.rint(below * RESOLUTION)
        if (step >= RESOLUTION).all():
            return np.array(steps, np.uint16).reshape(len(steps), len(electrons))
        steps.append((step - 1).astype(np.uint16))
        term *= electrons / np.float32(len(steps))
        below += term


@lru_cache(maxsize=4)
def _table(step: float) -> NDArray[np.uint8]:
    """Counts of means 0, step, 2 step ... by uniform number: flat, RESOLUTION for each."""
    rows = np.zeros((LEVELS, RESOLUTION), np.uint8)
    for level in range(1, LEVELS):
        mean = level * step
        counts = np.arange(math.ceil(mean + 12 * math.sqrt(mean) + 12))
        logarithms = counts * math.log(mean) - mean - np.array([math.lgamma(count + 1) for count in counts])
        ends = np.rint(np.cumsum(np.exp(logarithms)) * RESOLUTION).astype(np.int64)
        rows[level] = np.searchsorted(ends, np.arange(RESOLUTION), side="right")
    return rows.ravel()
