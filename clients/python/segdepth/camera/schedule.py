"""What happens in front of the simulated camera, and when: drift, hops of columns. It follows from a seed."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WANDER_A = 0.1
"""Slow wander to either side of the drift's line."""

PERIODS_S = (7.0, 17.0, 41.0)
"""Of the wander's parts."""

REST = 3.0
"""A column that has hopped stays as it is for this many times the mean interval of hops."""

_DRIFT, _HOPS = 1, 2
"""Streams of random numbers of a seed."""


class DriftPath:
    """A line in a random direction, on which the specimen turns back at the bounds, and a slow wander about it.

    speed_A_per_s: along the line, 0 for a specimen that stands still; largest_A: bound of x and of y.
    """

    def __init__(self, speed_A_per_s: float, largest_A: float, seed: int):
        rng = np.random.default_rng([seed, _DRIFT])
        largest_A = max(0.0, largest_A)
        angle = rng.uniform(0, 2 * math.pi)
        self._velocity = speed_A_per_s * np.array([math.cos(angle), math.sin(angle)])
        self._phase = rng.uniform(0, 2 * math.pi, (len(PERIODS_S), 2))
        wander_A = min(WANDER_A, largest_A / 4) if speed_A_per_s else 0.0
        self._amplitude = wander_A / 2 / len(PERIODS_S)
        self._largest = largest_A - wander_A

    def at(self, time_s: float) -> tuple[float, float]:
        """Displacement (x, y) of the specimen [Å] against time 0."""
        line = _folded(self._velocity * time_s, self._largest)
        angle = 2 * math.pi * time_s / np.array(PERIODS_S)[:, None]
        wander = self._amplitude * (np.sin(angle + self._phase) - np.sin(self._phase)).sum(axis=0)
        x, y = line + wander
        return float(x), float(y)


def _folded(way: NDArray[np.float64], largest: float) -> NDArray[np.float64]:
    """A straight way folded at both bounds."""
    if not largest:
        return np.zeros_like(way)
    return np.asarray(largest - np.abs((way - largest) % (4 * largest) - 2 * largest))


@dataclass(frozen=True)
class Hop:
    """One column of a scene changes at a moment: the number of its hop in the scene, and whether it goes or comes
    back."""

    time_s: float
    index: int
    hopped: bool


class HopSchedule:
    """Hops, one after the other, of columns in sight: first of those that never hopped, later also back and forth.

    every_s: mean interval, 0 for no hops; in_sight: which hops [hops] can be seen at a time [s].
    """

    def __init__(self, hops: int, every_s: float, seed: int, in_sight: Callable[[float], NDArray[np.bool_]]):
        self._rng = np.random.default_rng([seed, _HOPS])
        self._every_s, self._in_sight = every_s, in_sight
        self.hopped = np.zeros(hops, bool)
        """Which have hopped by the time last asked for [hops]."""
        self._last_s = np.full(hops, -math.inf)
        self._order = self._rng.permutation(hops)
        self._next_s = self._interval_s() if every_s else math.inf

    def until(self, time_s: float) -> list[Hop]:
        """The hops since the time last asked for, up to `time_s`."""
        hops = []
        while self._next_s <= time_s:
            at_s, self._next_s = self._next_s, self._next_s + self._interval_s()
            free = self._in_sight(at_s) & (at_s - self._last_s >= REST * self._every_s)
            if free.any():
                waited = self._order[free[self._order]]
                index = int(waited[np.argmin(self._last_s[waited])])
                self.hopped[index] = not self.hopped[index]
                self._last_s[index] = at_s
                hops.append(Hop(at_s, index, bool(self.hopped[index])))
        return hops

    def _interval_s(self) -> float:
        """Hops are not as even as a clock, and never at once."""
        return self._every_s * float(self._rng.uniform(0.5, 1.5))
