"""What a frame shows of each column, in a few figures that move when its number of atoms does.

The model's expected count, and the mean intensity around the column within three radii: the model looks at the whole
column and knows what a count looks like, but is held back by what it expects; intensities know nothing, and miss
nothing that the frame's noise does not hide.

Suffixes: N columns, K classes, H W height and width, P pixels of a window's side, R radii.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

RADII_A = (0.25, 0.5, 0.9)
"""Standard deviations of the Gaussian weights [Å]; columns are 1.35 Å apart or more."""

REACH_A = 1.2
"""Half the side of the window that is weighed [Å]."""

BINNED_A = 0.2
"""Pixels are binned up to this size [Å], smaller than the finest weights."""

FIGURES = 1 + len(RADII_A)


def expected_count(probabilities_NK: Array) -> Array:
    """Mean of each posterior [N], ten or more counted as ten."""
    return np.asarray(probabilities_NK @ np.arange(probabilities_NK.shape[1]))


def intensities(image_HW: Array, x_px: Array, y_px: Array, sampling_A: float) -> Array:
    """Weighted mean intensity around each position for each of RADII_A [N, 3], the frame's own mean being 1.

    NaN where a window holds a pixel without a value.
    """
    binned = max(1, int(BINNED_A / sampling_A))
    # The mean of bins is that of their pixels, and there are fewer of them.
    left_over = image_HW.shape[0] % binned or image_HW.shape[1] % binned
    mean = _mean(image_HW) if left_over else np.nan
    if binned > 1:
        image_HW, x_px, y_px = _binned(image_HW, binned), _in_bins(x_px, binned), _in_bins(y_px, binned)
        sampling_A *= binned
    mean = mean if left_over else _mean(image_HW)
    reach_px = max(1, round(REACH_A / sampling_A))
    # Columns at the edge of the frame are weighed over what there is of their windows.
    padded_HW = np.pad(image_HW.astype(np.float32), reach_px, mode="edge")
    size = 2 * reach_px + 1
    column_N = np.clip(np.round(x_px), 0, image_HW.shape[1] - 1).astype(np.int64)
    row_N = np.clip(np.round(y_px), 0, image_HW.shape[0] - 1).astype(np.int64)
    window_NPP = np.lib.stride_tricks.sliding_window_view(padded_HW, (size, size))[row_N, column_N]
    steps_P = np.arange(-reach_px, reach_px + 1)
    across_NRP = _weights(((steps_P - (x_px - column_N)[:, None]) * sampling_A).astype(np.float32))
    down_NRP = _weights(((steps_P - (y_px - row_N)[:, None]) * sampling_A).astype(np.float32))
    # Products of small matrices are several times as fast as sums over axes; what is off the diagonal costs little.
    weighed_NRR = np.matmul(down_NRP, np.matmul(window_NPP, across_NRP.swapaxes(1, 2)))
    return np.asarray(np.diagonal(weighed_NRR, axis1=1, axis2=2) / np.float64(mean))


def _binned(image_HW: Array, number: int) -> Array:
    """Means of number x number pixels; what is left over at the far edges is left out."""
    height, width = (side // number for side in image_HW.shape)
    whole = image_HW[: height * number, : width * number].astype(np.float32)
    # Rows first: they lie one after the other.
    rows = whole[::number].copy()
    for y in range(1, number):
        rows += whole[y::number]
    total = rows[:, ::number].copy()
    for x in range(1, number):
        total += rows[:, x::number]
    return np.asarray(total / number**2)


def _in_bins(place_px: Array, number: int) -> Array:
    """Positions in binned pixels, (0, 0) the centre of the first."""
    return np.asarray((place_px - (number - 1) / 2) / number)


def _weights(distance_NP: Array) -> Array:
    """Of pixels at these distances [Å], for each of RADII_A [N, R, P]; they add up to 1."""
    falloff_R = (-0.5 / np.square(RADII_A)).astype(np.float32)
    weights = np.exp(distance_NP[:, None, :] ** 2 * falloff_R[:, None])
    return np.asarray(weights / weights.sum(axis=2, keepdims=True))


def _mean(image_HW: Array) -> float:
    mean = float(image_HW.mean(dtype=np.float64))
    if not np.isfinite(mean):
        mean = float(np.nanmean(image_HW, dtype=np.float64))
    return mean if mean > 0 else np.nan
