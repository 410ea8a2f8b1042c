"""What a frame shows of each column, in a few figures that move when its number of atoms does.

The model's expected count, and the mean intensity around the column within three radii: the model looks at the whole
column and knows what a count looks like, but is held back by what it expects; intensities know nothing, and miss
nothing that the frame's noise does not hide.

Suffixes: N columns, K classes, H W height and width, P pixels of a window's side, R radii.
"""

import functools
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

POINTS_PX = (-0.5, 0.0, 0.5)
"""Along each axis of a pixel, where its window is weighed; between them a parabola tells. Neighbouring pixels share
their edge: a column that drifts across it shows no step."""

ONE_THREAD = 1 << 18
"""Multiplications up to which OpenBLAS, which comes with numpy, starts no threads."""

FIGURES = 1 + len(RADII_A)


def expected_count(probabilities_NK: Array) -> Array:
    """Mean of each posterior [N], ten or more counted as ten."""
    return np.asarray(probabilities_NK @ np.arange(probabilities_NK.shape[1]))


def intensities(image_HW: Array, x_px: Array, y_px: Array, sampling_A: float) -> Array:
    """Weighted mean intensity around each position for each of RADII_A [3, N], the frame's own mean being 1.

    NaN where a window holds a pixel without a value.
    """
    binned = max(1, int(BINNED_A / sampling_A))
    if binned > 1:
        image_HW, x_px, y_px = _binned(image_HW, binned), _in_bins(x_px, binned), _in_bins(y_px, binned)
        sampling_A *= binned
    reach_px = max(1, round(REACH_A / sampling_A))
    column_N, right_px = _pixel(x_px, image_HW.shape[1])
    row_N, down_px = _pixel(y_px, image_HW.shape[0])
    window_NP = _windows(image_HW, row_N, column_N, reach_px)
    # Weighing about every point at once is a product of matrices, several times as fast as about each column's own.
    weighed = _product(_weights(sampling_A, reach_px), window_NP.T)
    weighed = weighed.reshape(len(RADII_A), len(POINTS_PX), len(POINTS_PX), -1)
    share = _parabola(down_px)[:, None] * _parabola(right_px)
    return np.asarray((weighed * share).sum(axis=(1, 2)) / _mean(image_HW))


def _windows(image_HW: Array, row_N: NDArray[np.int64], column_N: NDArray[np.int64], reach_px: int) -> Array:
    """Pixels up to so far from each place in x and y [N, P P]; at the edge of the frame its outermost ones again."""
    size = 2 * reach_px + 1
    last_HW = np.array(image_HW.shape) - 1 - reach_px
    at_2N = np.array([row_N, column_N])
    if at_2N.min(initial=reach_px) < reach_px or (at_2N.max(axis=1, initial=0) > last_HW).any():
        image_HW, row_N, column_N = np.pad(image_HW, reach_px, mode="edge"), row_N + reach_px, column_N + reach_px
    windows = np.lib.stride_tricks.sliding_window_view(image_HW, (size, size))
    return windows[row_N - reach_px, column_N - reach_px].reshape(-1, size**2).astype(np.float32)


def _product(weights_WP: Array, window_PN: Array) -> Array:
    """Matrix product, in pieces that BLAS leaves to one thread: others would spin until the next frame's."""
    columns = max(1, ONE_THREAD // weights_WP.size)
    pieces = [
        weights_WP @ window_PN[:, first : first + columns] for first in range(0, window_PN.shape[1] or 1, columns)
    ]
    return np.concatenate(pieces, axis=1)


def _pixel(place_px: Array, size_px: int) -> tuple[NDArray[np.int64], Array]:
    """The pixel that each place lies in, and where in it: -0.5 to 0.5."""
    pixel = np.clip(np.round(place_px), 0, size_px - 1)
    return pixel.astype(np.int64), np.clip(place_px - pixel, -0.5, 0.5)


def _parabola(place_px: Array) -> Array:
    """What a parabola through its values at POINTS_PX takes of each, at any place between them [3, N] (Lagrange)."""
    return np.array([place_px * (2 * place_px - 1), 1 - 4 * place_px**2, place_px * (2 * place_px + 1)])


@functools.lru_cache(maxsize=8)
def _weights(sampling_A: float, reach_px: int) -> Array:
    """Of the pixels of a window, for each radius about each of its points [radii * points * points, P P]: they add up
    to 1."""
    away_A = (np.arange(-reach_px, reach_px + 1) - np.array(POINTS_PX)[:, None]) * sampling_A
    along = np.exp(-0.5 * (away_A / np.array(RADII_A)[:, None, None]) ** 2)
    along /= along.sum(axis=2, keepdims=True)
    weights = along[:, :, None, :, None] * along[:, None, :, None, :]
    return np.asarray(weights.reshape(-1, away_A.shape[1] ** 2), np.float32)


def _binned(image_HW: Array, number: int) -> Array:
    """Sums of number x number pixels; what is left over at the far edges is left out."""
    height, width = (side // number for side in image_HW.shape)
    whole = image_HW[: height * number, : width * number]
    few = whole.dtype.kind == "u" and int(whole.max(initial=0)) * number**2 <= np.iinfo(whole.dtype).max
    # Counts are added up as such where they fit, several of them at once.
    whole = whole if few else whole.astype(np.float32)
    # Rows first: they lie one after the other.
    rows = whole[::number].copy()
    for y in range(1, number):
        rows += whole[y::number]
    total = rows[:, ::number].copy()
    for x in range(1, number):
        total += rows[:, x::number]
    return np.asarray(total)


def _in_bins(place_px: Array, number: int) -> Array:
    """Positions in binned pixels, (0, 0) the centre of the first."""
    return np.asarray((place_px - (number - 1) / 2) / number)


def _mean(image_HW: Array) -> float:
    mean = float(image_HW.mean(dtype=np.float64))
    if not np.isfinite(mean):
        mean = float(np.nanmean(image_HW, dtype=np.float64))
    return mean if mean > 0 else np.nan
