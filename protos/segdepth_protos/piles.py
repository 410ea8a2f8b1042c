"""Pixels that pile up at a frame's highest value: clients must keep the pile where they correct a frame.

Counting noise thins out towards its end: what the next value has as well is no pile.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

PILE = 1e-4
"""Share of pixels at one value that is not worth a second look."""


def top_pile(values: NDArray[Any]) -> int:
    """How many of `values`, all finite, pile up at the highest one; 0 if hardly any, or all, have it."""
    if not values.size:
        return 0
    top = values.max()
    at_top = int(np.count_nonzero(values == top))
    if at_top <= PILE * values.size or at_top == values.size:
        return 0
    below = values[values < top].max()
    return max(0, at_top - int(np.count_nonzero(values == below)))
