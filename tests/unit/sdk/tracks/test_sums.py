"""Registered sums: counts add up exactly, and columns stay where they are."""

import numpy as np
import pytest

from segdepth.calibration import Calibration
from segdepth.tracks.sums import Summing

CALIBRATION = Calibration(0.1, dose_per_A2=100.0, black_level=2.0)


def scene(seed=0, side=80):
    return np.random.default_rng(seed).poisson(20, (side, side)).astype(np.uint16)


def frame(wide, dx, dy, size=50, at=15):
    """What the camera shows of the scene displaced by (dx, dy) pixels."""
    return wide[at - dy : at - dy + size, at - dx : at - dx + size]


def summed(frames, shifts_px, calibration=CALIBRATION, turns_rad=None):
    summing, total = Summing(len(frames)), None
    for number, (image, (dx, dy)) in enumerate(zip(frames, shifts_px, strict=True)):
        assert total is None
        turn_rad = 0.0 if turns_rad is None else turns_rad[number]
        total = summing.add(image, calibration, 7 + number, np.array([dx, dy]) * 0.1 + 0.003, turn_rad)
    return total


def test_counts_add_up_where_the_specimen_is():
    wide, shifts = scene(), [(0, 0), (3, -2), (-4, 5), (1, 1)]
    total = summed([frame(wide, *shift) for shift in shifts], shifts)
    left, top = total.origin_px
    assert (left, top) == (4, 2)
    assert total.image.dtype == np.uint16
    assert total.image.shape == (50 - 2 - 5, 50 - 4 - 3)
    np.testing.assert_array_equal(total.image, 4 * frame(wide, 0, 0)[2 : 50 - 5, 4 : 50 - 3])
    assert (total.first, total.last) == (7, 10)
    np.testing.assert_allclose(total.shift_A, 0.003)
    assert (total.calibration.dose_per_A2, total.calibration.black_level) == (400.0, 8.0)
    assert total.calibration.sampling_A == 0.1


def test_another_begins_after_it():
    wide, summing = scene(), Summing(2)
    for number in range(6):
        total = summing.add(frame(wide, number, 0), CALIBRATION, number, np.array([number * 0.1, 0.0]), 0.0)
        assert (total is not None) == (number % 2 == 1)
        if total:
            assert (total.first, total.last, total.origin_px) == (number - 1, number, (0, 0))
            np.testing.assert_array_equal(total.image, 2 * frame(wide, number - 1, 0)[:, :49])


@pytest.mark.parametrize("shifts", [[(0, 0), (21, 0)], [(0, 0), (0, -21)], [(0, 0), (60, 0)]])
def test_frames_that_show_too_little_of_one_place_are_not_asked_about(shifts):
    assert summed([scene(side=50)] * 2, shifts) is None


def test_neither_are_frames_that_turned():
    assert summed([scene(side=50)] * 2, [(0, 0)] * 2, turns_rad=[0.0, 0.01]) is None
    assert summed([scene(side=50)] * 2, [(0, 0)] * 2, turns_rad=[0.1, 0.101]) is not None


def test_what_are_no_counts_stays_what_it_is():
    image = scene(side=50).astype(np.float32) + 0.25
    image[3, 4] = np.nan
    total = summed([image] * 3, [(0, 0)] * 3)
    assert total.image.dtype == np.float32
    np.testing.assert_array_equal(total.image, 3 * image)
    high = np.full((50, 50), 40_000, np.uint16)
    assert summed([high] * 2, [(0, 0)] * 2).image.max() == 80_000
