"""Single pixels that tell nothing of the specimen: hot, dead, hit by a cosmic ray.

A pixel is compared with the mean of its eight neighbours, on the square root of the electrons, where Poisson noise has
the same spread at any number of them (Anscombe 1948, Biometrika 35, 246).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

BEYOND = 7.0
"""Standard deviations by which a pixel stands out. Of frames of the training's noise chain, 60-250 mÅ/px, 50-5000 e/Å²,
one in 252 has pixels that do (three, at 250 mÅ/px); without noise columns themselves may."""

SAMPLES = 9000
"""Pixels that serve to find the ceiling and the tail."""

CEILING = 8.0
"""No intensity lies higher over the median than this many times the 99th percentile."""

TAIL, TAIL_SIGMA = 0.998, 3.09
"""What lies beyond the share TAIL of differences may be outliers; of normal noise that is beyond TAIL_SIGMA."""

POISSON_SPREAD = 0.5
"""Standard deviation of the square root of a Poisson number."""

STRIP_PX = 32_768
"""Pixels that are looked at together: what is made of them on the way stays in the processor's cache."""

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Surroundings:
    """Of each pixel but those at the edge: [height - 2, width - 2]."""

    mean: Image
    """Of it and its eight neighbours."""
    differences: Image
    """Second difference along y of the second difference along x: white noise of variance 1 gives 36."""

    @classmethod
    def of(cls, image: Image, ceiling: float = np.inf) -> Self:
        """Of an image [height, width], as if nothing in it were higher than `ceiling`."""
        inner = (image.shape[0] - 2, image.shape[1] - 2)
        around = cls(np.empty(inner, np.float32), np.empty(inner, np.float32))
        for strip, part in _strips(image):
            tame: Image = np.minimum(part, np.float32(ceiling))
            around.mean[strip] = _box(tame)
            around.differences[strip] = second_differences(tame)
        return around

    @property
    def noise(self) -> float:
        """Variance of a pixel by its noise: smooth intensity has hardly any second differences."""
        flat = self.differences.ravel()
        return float(np.dot(flat, flat)) / flat.size / 36


def outliers(image: Image) -> tuple[NDArray[np.bool_], Surroundings]:
    """Pixels of `image` [height, width] (finite, mean 1, black at 0) that stand out, and the surroundings of all."""
    ceiling = _ceiling(image)
    around = Surroundings.of(image, ceiling)
    found: NDArray[np.bool_] = image > np.float32(ceiling)
    noise, mean = around.noise, float(around.mean.mean())
    if noise <= 0 or mean <= 0:
        # Nothing that electrons make: only what lies above all others is told.
        return found, around
    electrons = np.float32(mean / noise)
    y, x = np.divmod(np.arange(0, around.mean.size, _step(around.mean)), around.mean.shape[1])
    a, b = _pairs(image[y + 1, x + 1], around.mean[y, x], ceiling, electrons)
    apart = np.float32(BEYOND * _spread(np.abs(np.sqrt(a) - np.sqrt(b))))
    # The outermost pixels have too few neighbours: there it is the ceiling that tells.
    for strip, part in _strips(image):
        a, b = _pairs(part[1:-1, 1:-1], around.mean[strip], ceiling, electrons)
        found[strip.start + 1 : strip.stop + 1, 1:-1] = _stand_out(a, b, apart)
    return found, around


def _strips(image: Image) -> Iterator[tuple[slice, Image]]:
    """Rows of [height - 2, width - 2], and those of the image with one more on each side."""
    rows = max(1, STRIP_PX // image.shape[1])
    for start in range(0, image.shape[0] - 2, rows):
        stop = min(start + rows, image.shape[0] - 2)
        yield slice(start, stop), image[start : stop + 2]


def _pairs(pixels: Image, mean: Image, ceiling: float, electrons: np.float32) -> tuple[Image, Image]:
    """Pixels and the means of their eight neighbours, both as electrons."""
    neighbours: Image = mean * np.float32(9 / 8)
    neighbours -= np.minimum(pixels, np.float32(ceiling)) * np.float32(1 / 8)
    return _anscombe(pixels, electrons), _anscombe(neighbours, electrons)


def _stand_out(a: Image, b: Image, t: np.float32) -> NDArray[np.bool_]:
    """Where the square roots of a and b are more than `t` apart.

    Without a root of every pixel: sqrt(a) > sqrt(b) + t where a - b - t² > 2 t sqrt(b), and sqrt(a) < sqrt(b) - t where
    that is below -2 t sqrt(b) and b > t².
    """
    beyond = a - b
    beyond -= t * t
    beyond *= np.abs(beyond)
    bound = b * (4 * t * t)
    found: NDArray[np.bool_] = beyond > bound
    if b.max() > t * t:
        found |= (beyond < np.negative(bound, out=bound)) & (b > t * t)
    return found


def second_differences(image: Image) -> Image:
    """Second difference along y of the second difference along x, of the pixels that have neighbours."""
    # Whole rows first: they lie one after the other in memory.
    rows = image[:-2] + image[2:]
    rows -= image[1:-1]
    rows -= image[1:-1]
    both = rows[:, :-2] + rows[:, 2:]
    both -= rows[:, 1:-1]
    both -= rows[:, 1:-1]
    return both


def _box(image: Image) -> Image:
    rows = image[:-2] + image[1:-1]
    rows += image[2:]
    both = rows[:, :-2] + rows[:, 1:-1]
    both += rows[:, 2:]
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
    ordered = np.sort(some)
    tail = _quantile(ordered, TAIL)
    usual = ordered[: np.searchsorted(ordered, tail, "right")]
    return max(POISSON_SPREAD, tail / TAIL_SIGMA, float(np.sqrt(np.dot(usual, usual) / usual.size)))


def _ceiling(image: Image) -> float:
    ordered = np.sort(_some(image))
    middle, high = _quantile(ordered, 0.5), _quantile(ordered, 0.99)
    return middle + CEILING * max(high - middle, 1e-30)


def _quantile(ordered: Image, share: float) -> float:
    """Of values in ascending order. numpy's own takes ten times as long as to sort some thousand of them."""
    place = share * (ordered.size - 1)
    below = int(place)
    first, last = float(ordered[below]), float(ordered[min(below + 1, ordered.size - 1)])
    return first + (place - below) * (last - first)


def _some(image: Image) -> Image:
    """Pixels evenly spread over the image, in no step with its rows."""
    return image.ravel()[:: _step(image)]


def _step(image: Image) -> int:
    return max(7, image.size // SAMPLES) | 1
