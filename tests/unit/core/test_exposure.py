"""What a camera recorded: single pixels are mended and counted, regions that were not recorded are masked."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from segdepth_core.exposure import Exposure
from segdepth_core.photon_transfer import black_level
from segdepth_core.piles import black_share
from segdepth_core.prediction import Array
from tests.models import lattice_frame

SIDE = 256


def counts(seed: int = 1, dose: float = 500.0) -> NDArray[np.float32]:
    """A frame of electrons, some five a pixel."""
    return (lattice_frame(seed, (SIDE, SIDE), dose=dose) / 20).astype(np.float32)


def mean_error(seen: Exposure, frame: Array) -> float:
    """How far the intensity is from that of the untouched frame, on average, where it was recorded."""
    assert seen.intensity is not None
    truth = frame / frame.mean(dtype=np.float64)
    recorded = np.ones(frame.shape, bool) if seen.masked is None else ~seen.masked
    return float(np.abs(seen.intensity - truth)[recorded].mean())


@pytest.mark.parametrize("dose", [20.0, 200.0, 2000.0, 2e4])
@pytest.mark.parametrize("gain", [1.0, 37.5])
@pytest.mark.parametrize("dtype", ["f4", "u2", "u4"])
def test_of_a_frame_of_electrons_nothing_is_touched(dose: float, gain: float, dtype: str) -> None:
    frame = (counts(2, dose) * gain).astype(dtype)
    seen = Exposure.of(frame)
    assert (seen.problem, seen.recorded, seen.replaced, seen.masked) == ("", 1.0, 0.0, None)
    assert seen.intensity is not None
    expected = np.multiply(frame, np.float32(1 / frame.mean(dtype=np.float64)), dtype=np.float32)
    np.testing.assert_array_equal(seen.intensity, expected)


@pytest.mark.parametrize("value", [6e4, 200.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("share", [1 / SIDE**2, 1e-3])
def test_hot_pixels_and_those_that_hold_no_number_are_read_from_their_neighbours(value: float, share: float) -> None:
    frame = counts()
    spoilt = frame.copy()
    at = np.random.default_rng(3).choice(frame.size, round(share * frame.size), replace=False)
    spoilt.ravel()[at] = value
    seen = Exposure.of(spoilt)
    assert seen.masked is None
    assert seen.replaced == pytest.approx(share, rel=0.1)
    assert mean_error(seen, frame) < 1.2 * share
    assert seen.intensity is not None
    assert seen.intensity.max() < 6


def test_a_cluster_of_hot_pixels_is_mended_whole() -> None:
    frame = counts()
    frame[40:42, 60:62] = 3e4
    seen = Exposure.of(frame)
    assert seen.replaced == 4 / frame.size


def _row(frame: Array) -> None:
    frame[100] = 0


def _cross(frame: Array) -> None:
    frame[126:130] = 0
    frame[:, 126:130] = 0


def _block(frame: Array) -> None:
    frame[30:60, 30:70] = 3


def _padding(frame: Array) -> None:
    frame[:24] = 0
    frame[:, :15] = 0


def _padding_of_nan(frame: Array) -> None:
    frame[:24] = np.nan
    frame[:, :15] = np.nan


def _padding_of_the_mean(frame: Array) -> None:
    frame[:24] = frame[:, :15] = frame.mean()


@pytest.mark.parametrize(
    "spoil, pixels",
    [
        (_cross, 8 * SIDE - 16),
        (_block, 1200),
        (_padding, 24 * SIDE + 15 * (SIDE - 24)),
        (_padding_of_nan, 24 * SIDE + 15 * (SIDE - 24)),
        (_padding_of_the_mean, 24 * SIDE + 15 * (SIDE - 24)),
    ],
)
@pytest.mark.parametrize("dose", [50.0, 500.0, 5000.0])
def test_what_was_not_recorded_is_masked_and_not_part_of_the_mean(
    spoil: Callable[[Array], None], pixels: int, dose: float
) -> None:
    frame = counts(4, dose)
    spoilt = frame.copy()
    spoil(spoilt)
    seen = Exposure.of(spoilt)
    assert seen.masked is not None
    # At its edge a pixel has the same value by chance.
    assert pixels <= seen.masked.sum() <= pixels * 1.1 + 30
    assert seen.recorded == pytest.approx(1 - seen.masked.mean(), abs=1e-3)
    assert seen.intensity is not None
    assert seen.intensity[~seen.masked].mean() == pytest.approx(1, abs=1e-3)
    assert seen.intensity[seen.masked].mean() == pytest.approx(1, abs=0.05)
    # The lattice is not even over the frame: its mean is not that of what is left.
    assert mean_error(seen, frame) < 0.02


def test_a_dead_row_is_mended() -> None:
    spoilt = counts()
    _row(spoilt)
    seen = Exposure.of(spoilt)
    assert seen.masked is None
    assert seen.replaced == pytest.approx(1 / SIDE, rel=0.05)
    assert mean_error(seen, counts()) < 0.01


def test_vacuum_at_a_dose_that_leaves_most_pixels_empty_is_recorded() -> None:
    for electrons in (0.02, 0.1, 0.5):
        frame = np.random.default_rng(5).poisson(electrons, (SIDE, SIDE)).astype(np.uint8)
        assert Exposure.of(frame).masked is None


def test_what_is_saturated_is_recorded() -> None:
    frame = np.minimum(counts(6, 2e4), 200)
    seen = Exposure.of(frame)
    assert seen.masked is None
    assert seen.saturated > 0.02


@pytest.mark.parametrize("value", [6e4, np.inf, np.nan, -6e4])
def test_a_spoilt_pixel_hides_no_saturation(value: float) -> None:
    frame = np.minimum(counts(6, 2e4), 200)
    expected = Exposure.of(frame).saturated
    frame[9, 9] = value
    seen = Exposure.of(frame)
    assert seen.masked is None
    assert seen.saturated == pytest.approx(expected, abs=1e-4)


def test_a_mean_that_hot_pixels_alone_make_positive_is_none() -> None:
    frame = counts()
    frame -= np.float32(1.2 * frame.mean())
    frame[9, 9] = 1e6
    assert frame.mean() > 0
    assert "it must be positive" in Exposure.of(frame).problem


def test_a_mean_too_large_is_not_told_to_be_positive() -> None:
    frame = counts()
    frame[9, 9] = 3e38
    assert "it must be 1e-30 to 1e+30" in Exposure.of(frame).problem


@pytest.mark.parametrize("sampling_A", [0.1, 0.2])
def test_a_frame_without_a_middle_has_no_black_level(sampling_A: float) -> None:
    frame = np.random.default_rng(10).poisson(5, (700, 700)).astype(np.float32)
    frame[90:610, 90:610] = 0
    seen = Exposure.of(frame)
    assert seen.around is not None
    assert not np.isfinite(black_level(seen.around, seen.sound, 0.0, sampling_A).error)


@pytest.mark.parametrize("shape", [(2, 2), (2, 4000), (15, 900)])
def test_a_frame_without_room_for_noise_is_none(shape: tuple[int, int]) -> None:
    seen = Exposure.of(np.random.default_rng(7).poisson(5, shape).astype(np.uint8))
    assert "too few to look at" in seen.problem


@pytest.mark.parametrize("share", [0.05, 0.22])
def test_an_export_that_clipped_at_black_is_found(share: float) -> None:
    frame = counts(8, 2e4)
    export = np.clip((frame - np.quantile(frame, share)) / np.ptp(frame) * 255, 0, 255).astype(np.uint8)
    assert black_share(export, Exposure.of(frame).around.noise) > share - 0.04  # type: ignore[union-attr]
    assert Exposure.of(export).black > 0.02


@pytest.mark.parametrize("electrons", [0.05, 0.5, 3.0, 40.0])
def test_pixels_that_no_electron_reached_are_no_clipping(electrons: float) -> None:
    frame = np.random.default_rng(9).poisson(electrons, (SIDE, SIDE)).astype(np.uint8)
    assert Exposure.of(frame).black < 1e-3
