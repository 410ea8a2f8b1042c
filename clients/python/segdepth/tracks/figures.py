"""What a frame shows of each column, in a few figures that move when its number of atoms does.

The model's expected count, and the mean intensity around the column within three radii: the model looks at the whole
column and knows what a count looks like, but is held back by what it expects; intensities know nothing, and miss
nothing that the frame's noise does not hide.

Suffixes: N columns, K classes, H W height and width, P pixels of a window's side, C figures.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

RADII_A = (0.25, 0.5, 0.9)
"""Standard deviations of the Gaussian weights [Å]; columns are 1.35 Å apart or more."""

REACH_A = 1.2
"""Half the side of the window that is weighed [Å]."""

FIGURES = 1 + len(RADII_A)


def expected_count(probabilities_NK: Array) -> Array:
    """Mean of each posterior [N], ten or more counted as ten."""
    return np.asarray(probabilities_NK @ np.arange(probabilities_NK.shape[1]))


def intensities(image_HW: Array, x_px: Array, y_px: Array, sampling_A: float) -> Array:
    """Weighted mean intensity around each position for each of RADII_A [N, 3], the frame's own mean being 1.

    NaN where a window holds a pixel without a value, or lies outside the frame.
    """
    height, width = image_HW.shape
    reach_px = max(1, round(REACH_A / sampling_A))
    steps_P = np.arange(-reach_px, reach_px + 1)
    column_N, row_N = np.round(x_px).astype(np.int64), np.round(y_px).astype(np.int64)
    inside_N = (column_N >= 0) & (column_N < width) & (row_N >= 0) & (row_N < height)
    across_NP = np.clip(column_N[:, None] + steps_P, 0, width - 1)
    down_NP = np.clip(row_N[:, None] + steps_P, 0, height - 1)
    window_NPP = image_HW[down_NP[:, :, None], across_NP[:, None, :]].astype(np.float32)
    dx_NP = (steps_P - (x_px - column_N)[:, None]) * sampling_A
    dy_NP = (steps_P - (y_px - row_N)[:, None]) * sampling_A
    result = np.empty((len(x_px), len(RADII_A)))
    for index, radius_A in enumerate(RADII_A):
        weigh_x_NP, weigh_y_NP = _weights(dx_NP, radius_A), _weights(dy_NP, radius_A)
        rows_NP = np.matmul(window_NPP, weigh_x_NP[:, :, None])[:, :, 0]
        result[:, index] = (rows_NP * weigh_y_NP).sum(axis=1)
    result[~inside_N] = np.nan
    return result / _mean(image_HW)


def _weights(distance_A: Array, radius_A: float) -> Array:
    weights = np.exp(-((distance_A / radius_A) ** 2) / 2).astype(np.float32)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _mean(image_HW: Array) -> float:
    mean = float(image_HW.mean(dtype=np.float64))
    if not np.isfinite(mean):
        mean = float(np.nanmean(image_HW, dtype=np.float64))
    return mean if mean > 0 else np.nan
