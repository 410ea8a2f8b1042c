"""Frames to send, the same for every path: a few random ones, over and over."""

import numpy as np
from numpy.typing import NDArray

DIFFERENT = 16


def pictures(side: int) -> list[NDArray[np.uint8]]:
    """Random frames [side, side]."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (side, side), np.uint8) for _ in range(DIFFERENT)]
