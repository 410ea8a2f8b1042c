"""Shot noise at speed: Poisson's mean and variance, at each way of drawing it, and the same numbers the same frame."""

import numpy as np
import pytest

from segdepth.camera.noise import COMPARED, LOOKED_UP, ShotNoise

FRAMES = 400
SIDE = 64


def electrons(mean: float) -> np.ndarray:
    """An image of every mean from 0 to twice `mean`."""
    return np.linspace(0, 2 * mean, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)


def frames(expected: np.ndarray, most: float) -> np.ndarray:
    noise = ShotNoise(expected, most)
    return np.stack([noise.frame(np.random.SFC64([3, number])) for number in range(FRAMES)]).astype(np.float64)


@pytest.mark.parametrize("mean", [0.05, 2.0, 0.49 * COMPARED, 0.55 * COMPARED, 20.0, 80.0, 0.6 * LOOKED_UP])
def test_moments_are_those_of_poisson(mean: float) -> None:
    expected = electrons(mean)
    drawn = frames(expected, float(expected.max()))
    # Of the whole: a bias of the tails or of the table would show here, where noise is 1e-4 of the mean or so.
    total = expected.sum() * FRAMES
    assert abs(drawn.sum() - total) < 4.5 * np.sqrt(total)
    # Each pixel by itself: its mean, and what it scatters.
    away = (drawn.mean(axis=0) - expected) / np.sqrt(np.maximum(expected, 1e-6) / FRAMES)
    assert np.abs(away[expected > 0.05]).max() < 6
    ratio = drawn.var(axis=0).sum() / expected.sum() * FRAMES / (FRAMES - 1)
    assert ratio == pytest.approx(1, abs=0.02 if mean > 0.1 else 0.05)
    third = ((drawn - expected) ** 3).mean(axis=0).sum() / expected.sum()
    assert third == pytest.approx(1, abs=0.15 + 0.02 * mean), "the third moment of Poisson is its mean, too"


class EveryNumber:
    """Each of the 2^16 uniform numbers once, instead of random ones."""

    def random_raw(self, size: int) -> np.ndarray:
        return np.arange(4 * size, dtype=np.uint16).view(np.uint64)


@pytest.mark.parametrize("mean, most", [(0.02, 1.0), (1.7, 2.0), (7.9, COMPARED), (20.0, 63.0), (60.0, 63.0)])
def test_distribution_is_right_to_its_resolution(mean: float, most: float) -> None:
    """Without chance: what 2^16 steps make of mean and variance; from the table, of means that leave no rest."""
    counts = ShotNoise(np.full((256, 256), mean, np.float32), most).frame(EveryNumber()).astype(np.float64)
    assert counts.mean() == pytest.approx(mean, abs=1e-4)
    assert counts.var() == pytest.approx(mean, abs=1e-4 + 2e-4 * mean)


def test_pixels_and_frames_are_independent() -> None:
    drawn = frames(np.full((SIDE, SIDE), 12.0, np.float32), 12.0) - 12.0
    for other in (np.roll(drawn, 1, axis=0), np.roll(drawn, 1, axis=1), np.roll(drawn, 1, axis=2)):
        assert abs((drawn * other).mean()) / 12 < 5 / np.sqrt(drawn.size)


def test_nothing_shines_nothing_is_counted() -> None:
    assert not frames(np.zeros((SIDE, SIDE), np.float32), 1.0).any()


def test_an_image_brighter_than_was_said_is_right_all_the_same() -> None:
    expected = np.full((SIDE, SIDE), 40.0, np.float32)
    assert frames(expected, 20.0).mean() == pytest.approx(40, abs=5 * np.sqrt(40 / (FRAMES * SIDE**2)))


@pytest.mark.parametrize("mean", [2.0, 20.0, 300.0])
def test_the_same_numbers_give_the_same_frame(mean: float) -> None:
    noise = ShotNoise(electrons(mean), 2 * mean)
    first, again, other = (noise.frame(np.random.SFC64(seed)) for seed in (5, 5, 6))
    assert first.dtype == np.uint16
    assert (first == again).all()
    assert (first != other).any()
