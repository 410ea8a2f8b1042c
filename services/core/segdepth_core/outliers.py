"""Single pixels that tell nothing of the specimen: hot, dead, hit by a cosmic ray.

A pixel is compared with the mean of its eight neighbours, on the square root of the electrons, where Poisson noise has
the same spread at any number of them (Anscombe 1948, Biometrika 35, 246).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

BEYOND = 7.0
"""Standard deviations by which a pixel stands out: in frames of the training's noise chain, 60-250 mÅ/px, 50-5000 e/Å²,
none reaches 6.9."""

SAMPLES = 9000
"""Pixels that serve to find the ceiling and the tail."""

CEILING = 8.0
"""No intensity lies higher over the median than this many times the 99th percentile."""

TAIL, TAIL_SIGMA = 0.998, 3.09
"""What lies beyond the share TAIL of differences may be outliers; of normal noise that is beyond TAIL_SIGMA."""

POISSON_SPREAD = 0.5
"""Standard deviation of the square root of a Poisson number."""

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Surroundings:
    """Of each pixel but those at the edge: [height - 2, width - 2]."""

    mean: Image
    """Of it and its eight neighbours."""
    differences: Image
    """Second difference along y of the second difference along x: white noise of variance 1 gives 36."""

    @classmethod
    def of(cls, image: Image) -> Self:
        """Of an image [height, width]."""
        return cls(_box(image), second_differences(image))

    @property
    def noise(self) -> float:
        """Variance of a pixel by its noise: smooth intensity has hardly any second differences."""
        flat = self.differences.ravel()
        return float(np.dot(flat, flat)) / flat.size / 36


def outliers(image: Image) -> tuple[NDArray[np.bool_], Surroundings]:
    """Pixels of `image` [height, width] (finite, mean 1, black at 0) that stand out, and the surroundings of all."""
    ceiling = np.float32(_ceiling(image))
    tame: Image = np.minimum(image, ceiling)
    around = Surroundings.of(tame)
    found: NDArray[np.bool_] = image > ceiling
    noise, mean = around.noise, float(tame.mean(dtype=np.float64))
    if noise <= 0 or mean <= 0:
        # Nothing that electrons make: only what lies above all others is told.
        return found, around
    # The outermost pixels have too few neighbours: there it is the ceiling that tells.
    found[1:-1, 1:-1] = _stand_out(tame, image, around.mean, np.float32(mean / noise))
    return found, around


def _stand_out(tame: Image, image: Image, mean: Image, electrons: np.float32) -> NDArray[np.bool_]:
    """Pixels but those at the edge whose square root is BEYOND from that of their neighbours' mean.

    Without a root of every pixel: sqrt(a) > sqrt(b) + t where a - b - t² > 2 t sqrt(b), and sqrt(a) < sqrt(b) - t where
    that is below -2 t sqrt(b) and b > t².
    """
    neighbours: Image = mean * np.float32(9 / 8)
    neighbours -= tame[1:-1, 1:-1] * np.float32(1 / 8)
    a, b = _anscombe(image[1:-1, 1:-1], electrons), _anscombe(neighbours, electrons)
    t = np.float32(BEYOND * _spread(np.abs(np.sqrt(_some(a)) - np.sqrt(_some(b)))))
    beyond = a - b
    beyond -= t * t
    beyond *= np.abs(beyond)
    bound = np.multiply(b, 4 * t * t, out=neighbours)
    found: NDArray[np.bool_] = beyond > bound
    if b.max() > t * t:
        found |= (beyond < np.negative(bound, out=bound)) & (b > t * t)
    return found


def second_differences(image: Image) -> Image:
    """Second difference along y of the second difference along x, of the pixels that have neighbours."""
    rows = image[:, :-2] + image[:, 2:]
    rows -= image[:, 1:-1]
    rows -= image[:, 1:-1]
    both = rows[:-2] + rows[2:]
    both -= rows[1:-1]
    both -= rows[1:-1]
    return both


def _box(image: Image) -> Image:
    rows = image[:, :-2] + image[:, 1:-1]
    rows += image[:, 2:]
    both = rows[:-2] + rows[1:-1]
    both += rows[2:]
    both *= np.float32(1 / 9)
    return both


def _anscombe(image: Image, electrons: np.float32) -> Image:
    """Electrons of each pixel whose square root has the same spread everywhere."""
    # Below black is read noise: little, whatever its sign.
    count = np.abs(image)
    count *= electrons
    count += np.float32(0.375)
    return count


def _spread(some: Image) -> float:
    """Standard deviation of the differences of pixels that are no outliers, from some of them."""
    tail = float(np.quantile(some, TAIL))
    usual = some[some <= tail]
    return max(POISSON_SPREAD, tail / TAIL_SIGMA, float(np.sqrt(np.dot(usual, usual) / usual.size)))


def _ceiling(image: Image) -> float:
    middle, high = np.quantile(_some(image), (0.5, 0.99))
    return float(middle + CEILING * max(high - middle, 1e-30))


def _some(image: Image) -> Image:
    """Pixels evenly spread over the image, in no step with its rows."""
    return image.ravel()[:: max(7, image.size // SAMPLES) | 1]
