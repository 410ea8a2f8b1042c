"""Pixels that pile up at a frame's highest or lowest value: a saturated detector, an export that clipped at black.

Counting noise thins out towards both ends: what the next value has as well is no pile.
"""

import math
from typing import Any

import numpy as np

from segdepth_core.prediction import Array
from segdepth_protos.piles import PILE, top_pile

BLACK_MARGIN = 1.25
"""Zeros that counting makes, at most, relative to those of a frame of one intensity: dark columns have more."""

PARTS = 0.1
"""Pixels of less than two thirds of an electron, at most, relative to those of none: a sensor may share one."""


def saturated_share(seen: Array) -> float:
    """Share of pixels [0-1] that pile up at the highest value, whatever number that is after gain and offset."""
    return top_pile(seen) / seen.size


def black_share(seen: Array, noise: float) -> float:
    """Share of pixels [0-1] that pile up at the lowest value, beyond those that no electron reached by chance.

    noise: variance of a pixel's noise, in units of the mean: 1 / electrons in a pixel.
    """
    bottom = seen.min()
    at_bottom = int(np.count_nonzero(seen == bottom))
    if at_bottom <= PILE * seen.size:
        return 0.0
    pile = (at_bottom - int(np.count_nonzero(seen == _next(seen, bottom)))) / seen.size
    # Where no electron came, the next value is that of one, which also makes the noise: with many pixels far below it
    # the frame holds more electrons than its noise says, and was clipped.
    electron = noise * (float(seen.mean(dtype=np.float64)) - float(bottom))
    parts = int(np.count_nonzero(seen < float(bottom) + electron * 2 / 3)) - at_bottom
    if noise <= 0 or parts > PARTS * at_bottom:
        return max(0.0, pile)
    return max(0.0, min(pile, at_bottom / seen.size - min(1.0, BLACK_MARGIN * math.exp(-1 / noise) + 0.02)))


def _next(seen: Array, bottom: Any) -> Any:
    """The lowest value above the lowest, in an array that has one."""
    if seen.dtype.kind != "u":
        return seen[seen > bottom].min()
    # The lowest value becomes the highest; without a copy of all the others.
    one = seen.dtype.type(1)
    return (seen - bottom - one).min() + bottom + one
