"""The pixel size that a movie's own crystal implies, from the service's check of the lattice on some of its frames."""

import dataclasses
import math
import statistics
from dataclasses import dataclass

import numpy as np

from segdepth.calibration import Options
from segdepth.client import Client
from segdepth.errors import InvalidFrame
from segdepth.files import Movie
from segdepth.verdict import Check

SAMPLED_FRAMES = 9
"""Frames that are asked about, evenly spread over the movie."""

FRAMES_MIN = 3
"""Of those (or all, if the movie is shorter) must show the lattice."""

CORRECTION_MAX = 0.04
"""Larger corrections are refused: then it is another crystal, another zone axis or another magnification."""


@dataclass(frozen=True)
class LatticeSampling:
    """What the lattice implies: sampling and its standard error [Å/px], from how many frames.

    The error is NaN of fewer than FRAMES_MIN frames.
    """

    sampling_A: float
    uncertainty_A: float
    frames: int


class NoLattice(InvalidFrame):
    """The lattice does not tell the pixel size, or not one that may be corrected to."""


def lattice_sampling(client: Client, movie: Movie, options: Options | None = None) -> LatticeSampling:
    """Measure the sampling of a movie whose stated one is nearly right.

    The median over the frames that show the lattice, and its standard error. Raises NoLattice where too few do, or
    where the correction would exceed CORRECTION_MAX.
    """
    stated_A = movie.calibration.sampling_A
    frames = np.unique(np.linspace(0, len(movie) - 1, SAMPLED_FRAMES).round().astype(int))
    checks = [_lattice(client.estimate(movie.frame(int(i)), movie.calibration, options).domain.checks) for i in frames]
    scales = [check.value for check in checks if check is not None and check.value > 0]
    if len(scales) < min(FRAMES_MIN, len(frames)):
        raise NoLattice(
            f"the lattice shows in {len(scales)} of {len(frames)} frames asked about, too few to measure the pixel"
            " size; state it in Å/px (--sampling)",
            "sampling",
        )
    scale = statistics.median(scales)
    if abs(scale - 1) > CORRECTION_MAX:
        raise NoLattice(
            f"the lattice implies {scale * stated_A:.4g} Å/px where {stated_A:.4g} Å/px is stated, more"
            f" than the {CORRECTION_MAX:.0%} that may be corrected. Another crystal or zone axis? If only the"
            " magnification was wrong, state the pixel size (--sampling)",
            "sampling",
        )
    # Of a median of normal values; spread by the median absolute deviation, which strays do not widen.
    spread = 1.4826 * statistics.median(abs(value - scale) for value in scales)
    known = len(scales) >= FRAMES_MIN
    error = math.sqrt(math.pi / 2) * spread / math.sqrt(len(scales)) if known else math.nan
    return LatticeSampling(scale * stated_A, error * stated_A, len(scales))


def _lattice(checks: tuple[Check, ...]) -> Check | None:
    return next((check for check in checks if check.name == "lattice"), None)


def corrected(movie: Movie, found: LatticeSampling) -> None:
    """State the measured sampling for the movie from now on."""
    movie.calibration = dataclasses.replace(movie.calibration, sampling_A=found.sampling_A)
