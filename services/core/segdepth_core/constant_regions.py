"""Regions of a frame that no camera recorded: padding after drift alignment, gaps between sensors, a beam stop.

There every pixel has the value of its neighbour, in runs that counting noise does not make by chance.
"""

import math
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from segdepth_core.prediction import Array
from segdepth_protos.piles import PILE

CHANCE = 1e-9
"""Probability that counting noise makes one such run in a frame."""

SHORTEST_RUN_PX = 8


def constant_regions(frame: Array) -> NDArray[np.bool_] | None:
    """Pixels [height, width] of lines and blocks that are constant beyond chance; None if there are none.

    Not those at the frame's highest value but for single pixels: that is saturation.
    """
    right, down = frame[:, 1:] == frame[:, :-1], frame[1:] == frame[:-1]
    run = _shortest_run(np.count_nonzero(right) / right.size, frame.size)
    if run > max(frame.shape):
        return None
    side = 2 ** math.ceil(math.log2(run) / 2)
    # Pairs of equal neighbours, as many of them in a row as make a run or a block's side.
    rows, columns = _all_of(right, run - 1, 1), _all_of(down, run - 1, 0)
    blocks = _all_of(_all_of(right, side - 1, 1), side, 0) & _all_of(_all_of(down, side - 1, 0), side, 1)
    if not (rows.any() or columns.any() or blocks.any()):
        return None
    constant = np.zeros(frame.shape, np.bool_)
    for found, height, width in ((rows, 1, run), (columns, run, 1), (blocks, side, side)):
        _mark(constant, found, height, width)
    top = np.fmax.reduce(frame[constant])
    # Hot pixels lie above, and the plain maximum is NaN where any pixel is.
    if np.count_nonzero(frame > top) <= PILE * frame.size:
        constant &= frame != top
    return constant if constant.any() else None


def _shortest_run(equal: float, pixels: int) -> int:
    """Pixels in a row that are not the same by chance, where a share `equal` of neighbours is."""
    if equal <= 0:
        return SHORTEST_RUN_PX
    if equal >= 1:
        return pixels
    return max(SHORTEST_RUN_PX, math.ceil(math.log(CHANCE / pixels) / math.log(equal)))


def _all_of(flags: NDArray[np.bool_], length: int, axis: int) -> NDArray[np.bool_]:
    """Whether `length` flags in a row along `axis` are all set, by their first; nothing where the frame is shorter."""
    if flags.shape[axis] < length:
        shape = list(flags.shape)
        shape[axis] = 0
        return np.zeros(shape, np.bool_)
    have = 1
    while have < length:
        step = min(have, length - have)
        count = flags.shape[axis] - step
        flags = _part(flags, 0, count, axis) & _part(flags, step, step + count, axis)
        have += step
    return flags


def _part(flags: NDArray[np.bool_], start: int, stop: int, axis: int) -> NDArray[np.bool_]:
    return flags[start:stop] if axis == 0 else flags[:, start:stop]


def _mark(constant: NDArray[np.bool_], first: NDArray[np.bool_], height: int, width: int) -> None:
    """Set the `height` x `width` pixels that begin at each of `first`."""
    if not first.any():
        return
    rows = [slice(y, y + first.shape[0]) for y in range(height)]
    tall = np.zeros((first.shape[0] + height - 1, first.shape[1]), np.bool_)
    for row in rows:
        tall[row] |= first
    for x in range(width):
        constant[: tall.shape[0], x : x + tall.shape[1]] |= tall


def thick(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What of a mask is at least three pixels thick; the rest are points and lines."""
    padded = np.pad(mask, 1, constant_values=True)
    core = joined_3x3(padded, np.logical_and)
    return mask & joined_3x3(np.pad(core, 1), np.logical_or)


def near(mask: NDArray[np.bool_], distance_px: int) -> NDArray[np.bool_]:
    """Pixels up to `distance_px` in x and y from a mask."""
    for _ in range(distance_px):
        mask = joined_3x3(np.pad(mask, 1), np.logical_or)
    return mask


def joined_3x3(padded: NDArray[np.bool_], joined: np.ufunc) -> NDArray[np.bool_]:
    """3 x 3 neighbours of each pixel joined, of those of `padded` that have all: one less at each side."""
    rows = reduce(joined, (padded[y : padded.shape[0] - 2 + y] for y in range(3)))
    joined_rows: NDArray[np.bool_] = reduce(joined, (rows[:, x : rows.shape[1] - 2 + x] for x in range(3)))
    return joined_rows
