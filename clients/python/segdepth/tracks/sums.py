"""Registered sums: frames of a drifting movie added up where they show the same place, for the model to count.

Frames are moved by whole pixels, so that a sum of counts is a count again, with the noise of one: what a fraction of a
pixel blurs is less than the pixel does.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.calibration import Calibration
from segdepth_protos import contract

Array = NDArray[Any]

LEAST_SHARE = 0.6
"""Of a frame's side that all frames of a sum show; a sum of less is not asked about."""

TURNED_MOST_RAD = np.radians(0.5)
"""Frames turned by more than this against each other are not added up."""

MOST_16 = np.iinfo(np.uint16).max


@dataclass(frozen=True, eq=False)
class Sum:
    """Frames `first` to `last` of a segment added up. origin_px: where the sum's top-left pixel lies in the first of
    them (x, y); shift_A, turn_rad: how the specimen lies in that frame."""

    image: Array
    calibration: Calibration
    first: int
    last: int
    origin_px: tuple[int, int]
    shift_A: Array
    turn_rad: float


class Summing:
    """Collects frames until there are as many as asked for."""

    def __init__(self, frames: int):
        self._wanted = frames
        self._number = 0
        self._total, self._most = np.zeros((0, 0)), 0
        """And what no pixel of it exceeds."""
        self._first, self._shift_A, self._turn_rad = 0, np.zeros(2), 0.0
        self._turned = False
        self._window = (0, 0, 0, 0)

    def add(self, image: Array, calibration: Calibration, time: int, shift_A: Array, turn_rad: float) -> Sum | None:
        """One more frame of the segment, the `time`-th; a sum when it is complete."""
        height, width = image.shape
        if self._number == 0:
            self._first, self._shift_A, self._turn_rad, self._turned = time, shift_A, turn_rad, False
            self._total, self._most = np.zeros((height, width), np.uint16), 0
            self._window = (0, height, 0, width)
        dx, dy = np.round((shift_A - self._shift_A) / calibration.sampling_A).astype(int)
        top, bottom, left, right = self._window
        # Row y of the first frame is row y + dy of this one.
        top, bottom = max(top, -dy), min(bottom, height - dy)
        left, right = max(left, -dx), min(right, width - dx)
        self._window = (top, bottom, left, right)
        self._turned |= abs(turn_rad - self._turn_rad) > TURNED_MOST_RAD
        # Counts are added up many at once where 16 bits hold them.
        counts = image.dtype.kind == "u" and image.dtype.itemsize <= 2
        self._most += int(image.max(initial=0)) if counts else MOST_16 + 1
        if self._most > MOST_16 and self._total.dtype == np.uint16:
            self._total = self._total.astype(np.float64)
        if bottom > top and right > left:
            self._total[top:bottom, left:right] += image[top + dy : bottom + dy, left + dx : right + dx]
        self._number += 1
        if self._number < self._wanted:
            return None
        return self._finished(calibration, time, (height, width))

    def _finished(self, calibration: Calibration, time: int, shape: tuple[int, int]) -> Sum | None:
        number, self._number = self._number, 0
        top, bottom, left, right = self._window
        small = bottom - top < LEAST_SHARE * shape[0] or right - left < LEAST_SHARE * shape[1]
        if self._turned or small:
            return None
        total = self._total[top:bottom, left:right]
        counts = total.dtype == np.uint16
        if not counts:
            if not np.isfinite(total).any():
                return None
            counts = total.min() >= 0 and total.max() <= MOST_16 and (total == np.round(total)).all()
        image = total.astype(np.uint16 if counts else np.float32)
        if image.nbytes > contract.FRAME_BYTES:
            return None
        return Sum(image, _summed(calibration, number), self._first, time, (left, top), self._shift_A, self._turn_rad)


def _summed(calibration: Calibration, frames: int) -> Calibration:
    """Of a sum of frames that were each taken so."""
    dose, black = calibration.dose_per_A2, calibration.black_level
    return replace(
        calibration,
        dose_per_A2=None if dose is None else dose * frames,
        black_level=None if black is None else black * frames,
    )
