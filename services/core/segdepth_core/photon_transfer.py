"""The level that no electron makes, from the frame itself: noise variance against intensity is a line through it.

Shot noise of a detector of gain g has the variance g (I - black) at intensity I (photon transfer; Janesick, Photon
Transfer, 2007). So in a frame of mean 1 the line of variance over intensity, s (I - black), tells black from its slope
s and its value at the mean.

Intensity is the mean of 3x3 px, which has noise too. Where that is high, chance has put more electrons than expected,
and their second differences are larger as well: Poisson noise has a third moment. Of white noise this makes the very
same slope; noise that a sensor has spread over its neighbours makes a steeper one, by a factor that the spread tells.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segdepth_core.constant_regions import joined_3x3
from segdepth_core.outliers import Surroundings, second_differences

COARSE_A = 0.15
"""From this pixel size on [Å/px] columns themselves have second differences: noise is taken from fourth ones."""

SYSTEMATIC = 0.03
"""Error of the black level at 0.12 Å/px from what the line leaves out, in units of the mean; it goes with the pixel's
area."""

LEAK = 1.5e-3
"""Further error at 0.25 Å/px for each electron in a pixel: there columns have fourth differences too, and noise is
little beside them."""

MOST_PX = 512
"""Of a frame's side: more pixels tell it no better."""

Line = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class BlackLevel:
    """Intensity that no electron makes, in units of the frame's mean, and its standard error."""

    value: float
    error: float


def black_level(around: Surroundings, valid: NDArray[np.bool_] | None, blur_px: float, sampling_A: float) -> BlackLevel:
    """Of a frame of mean 1 at `sampling_A` [Å/px], whose noise is spread by a Gaussian of `blur_px`.

    valid: the pixels of `around` that were recorded; None = all. NaN where the frame does not tell, having no contrast,
    or nothing recorded in its middle.
    """
    twice = sampling_A >= COARSE_A
    mean, differences = _middle(around.mean), _middle(around.differences)
    valid = None if valid is None else _middle(valid)
    if twice:
        differences = second_differences(differences)
        mean = mean[1:-1, 1:-1]
        valid = None if valid is None else joined_3x3(valid, np.logical_and)
    coupling = _coupling(round(blur_px, 2), twice)
    intensity, power = (mean.ravel(), differences.ravel()) if valid is None else (mean[valid], differences[valid])
    count = power.size
    if not count:
        return BlackLevel(math.nan, math.inf)
    level, variance = float(intensity.mean()), float(np.dot(power, power)) / count
    power = power * power
    intensity = intensity - np.float32(level)
    spread = float(np.dot(intensity, intensity)) / count
    noise = variance / coupling.power * coupling.box
    # What the slope would be had the noise of the intensity no more to do with the variance than the intensity has.
    weight = spread + (coupling.excess - 1) * noise
    if variance <= 0 or weight <= 0:
        return BlackLevel(math.nan, math.inf)
    slope = float(np.dot(intensity, power)) / count / weight
    if slope <= 0:
        return BlackLevel(math.nan, math.inf)
    scatter = math.sqrt(max(0.0, float(np.dot(power, power)) / count - variance**2))
    slope_error = scatter * math.sqrt(spread / (coupling.independent * count)) / weight
    value = level - variance / slope
    electrons = 1 / around.noise
    leak = LEAK * electrons * (sampling_A / 0.25) ** 8
    error = math.hypot(variance / slope * slope_error / slope, SYSTEMATIC * (sampling_A / 0.12) ** 2, leak)
    return BlackLevel(value, error if slope_error < slope / 2 else math.inf)


@dataclass(frozen=True)
class _Coupling:
    """Of white Poisson noise of variance 1, spread by the sensor."""

    power: float
    """Mean square of its differences."""
    box: float
    """Variance of its 3x3 mean."""
    excess: float
    """Slope of the squared differences over the 3x3 mean, relative to that over the expected intensity."""
    independent: float
    """Share of the squared differences that are independent."""


@lru_cache(maxsize=256)
def _coupling(blur_px: float, twice: bool) -> _Coupling:
    # All of it is separable: each figure is the square of its value along one axis.
    once = np.array([1.0, -2.0, 1.0])
    spread = _gaussian(blur_px)
    difference = np.convolve(spread, np.convolve(once, once) if twice else once, "same")
    box = np.convolve(spread, np.full(3, 1 / 3), "same")
    power, variance = _sum(difference**2), _sum(box**2)
    correlation = np.correlate(difference, difference, "full")
    return _Coupling(
        power=power**2,
        box=variance**2,
        excess=(_sum(difference**2 * box) / (power * variance)) ** 2,
        independent=(correlation.max() ** 2 / _sum(correlation**2)) ** 2,
    )


def _gaussian(sigma_px: float) -> Line:
    """Pixels' shares of a point that a Gaussian spreads."""
    frequency = np.fft.fftfreq(33)
    line: Line = np.fft.fftshift(np.fft.ifft(np.exp(-2 * (np.pi * sigma_px * frequency) ** 2)).real)
    return line


def _sum(line: Line) -> float:
    return float(line.sum())


def _middle(image: NDArray[T]) -> NDArray[T]:
    height, width = image.shape
    top, left = max(0, (height - MOST_PX) // 2), max(0, (width - MOST_PX) // 2)
    return image[top : top + MOST_PX, left : left + MOST_PX]
