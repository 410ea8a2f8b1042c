"""Atoms of chosen regions of the specimen, by species, with an error that knows that columns err together."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segdepth.arguments import checked, number, several, text
from segdepth.errors import InvalidFrame
from segdepth.tracks.results import TrackedColumns, TrackedFrame
from segdepth_protos import contract

COLUMN_CORRELATION = 0.3
"""Correlation between the errors of two columns of the same frame: with it the sums of 115 simulated movies (500 e/Å² a
frame) are as far from the truth as their errors say."""

WRITTEN = "NAME=x0,y0,x1,y1"
"""How a region is written, in Å."""

_NAME = re.compile(r"[\w.-]+")
_COUNTS_K = np.arange(contract.CLASSES, dtype=np.float64)


@dataclass(frozen=True)
class Region:
    """A rectangle of the specimen [Å]: what lies at x0_A <= x < x1_A and y0_A <= y < y1_A in the segment's first frame.

    Its name is of letters, digits, dots and dashes. Raises InvalidFrame for another, and for a rectangle of no area.
    """

    name: str
    x0_A: float
    y0_A: float
    x1_A: float
    y1_A: float

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(text(self.name, "region")):
            raise InvalidFrame(f"region: {self.name!r} is no name; letters, digits, dots and dashes make one", "region")
        edges = [
            number(getattr(self, name), f"region {self.name}: {name}") for name in ("x0_A", "y0_A", "x1_A", "y1_A")
        ]
        if any(map(math.isnan, edges)) or not (edges[0] < edges[2] and edges[1] < edges[3]):
            raise InvalidFrame(f"region {self.name}: x0 < x1 and y0 < y1 are needed, in Å", "region")

    @classmethod
    def parse(cls, written: str) -> "Region":
        """From NAME=x0,y0,x1,y1 in Å. Raises InvalidFrame."""
        name, _, edges = text(written, "region").partition("=")
        try:
            x0_A, y0_A, x1_A, y1_A = map(float, edges.split(","))
        except ValueError:
            raise InvalidFrame(f"region: {written!r} is not {WRITTEN}, in Å", "region") from None
        return cls(name.strip(), x0_A, y0_A, x1_A, y1_A)

    def __str__(self) -> str:
        return f"{self.name}={self.x0_A:g},{self.y0_A:g},{self.x1_A:g},{self.y1_A:g}"


ALL = "all"
"""The region of every column."""


@dataclass(frozen=True)
class RegionSum:
    """The atoms of one species in one region in one frame.

    columns: tracks of this species there that are in the field, those that lost all their atoms included; atoms: the
    sum of their posterior means, in which ten or more atoms are ten; atoms_error: its standard error;
    atoms_error_independent, atoms_error_common: the same if the columns' errors were independent, and if they were one
    and the same.
    """

    region: str
    species: str
    columns: int
    atoms: float
    atoms_error: float
    atoms_error_independent: float
    atoms_error_common: float

    @property
    def mean_occupancy(self) -> float:
        """Atoms a column, NaN where there is none."""
        return self.atoms / self.columns if self.columns else math.nan


class Regions:
    """Sums over chosen regions, frame by frame; `all` is always among them.

    A region is of the specimen: a track is in it if its position less the frame's drift is, when the track is seen
    first, or again after it left the field; so no column at an edge is in one frame in and in the next one out. In
    another segment it is the same rectangle of that segment's first frame. Turning is not taken out.

    Errors of columns of one frame are not independent, they share its defocus, blur, dose and thickness. With standard
    deviations σ of the posteriors and a correlation ρ between every two, a sum's variance is (1 - ρ) Σσ² + ρ (Σσ)².
    ρ = 0 understates the error of many columns, ρ = 1, their standard deviations added up, is the most that it can be;
    both are given beside it.
    """

    def __init__(self, regions: Iterable[Region] = (), correlation: float = COLUMN_CORRELATION):
        """Raises InvalidFrame for two regions of one name, or one called all, and for a correlation not in 0-1."""
        self.regions = tuple(
            checked(one, Region, "regions", 'a Region, such as Region("corner", 0, 0, 20, 20)')
            for one in several(regions, "regions", "a list of Region")
        )
        self.names = (ALL, *(one.name for one in self.regions))
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise InvalidFrame(f"region: {', '.join(twice)} is there more than once; all is the whole field", "region")
        self.correlation = number(correlation, "correlation")
        if not 0 <= self.correlation <= 1:
            raise InvalidFrame(f"correlation: {self.correlation:g} is not from 0 to 1", "correlation")
        self._forget()

    def _forget(self) -> None:
        self._segment = -1
        self._tracks = np.zeros(0, np.int64)
        self._inside_NR = np.zeros((0, len(self.names)), bool)

    def sums(self, frame: TrackedFrame) -> list[RegionSum]:
        """Of each region, each species; none of a frame that is not tracked. Frames come in their order."""
        columns = frame.columns
        if columns is None:
            return []
        if frame.segment != self._segment:
            self._forget()
            self._segment = frame.segment
        inside_NR = self._membership(columns, frame.drift_A)
        mean_N = columns.probabilities @ _COUNTS_K
        variance_N = np.maximum(columns.probabilities @ _COUNTS_K**2 - mean_N**2, 0.0)
        names = ("?", *columns.elements)
        unknown = bool((columns.species == 0).any())
        return [
            self._sum(region, names[value], mean_N[chosen], variance_N[chosen])
            for index, region in enumerate(self.names)
            for value in range(0 if unknown else 1, len(names))
            for chosen in [inside_NR[:, index] & (columns.species == value)]
        ]

    def _sum(
        self, region: str, species: str, mean_N: NDArray[np.float64], variance_N: NDArray[np.float64]
    ) -> RegionSum:
        independent = float(variance_N.sum())
        common = float(np.sqrt(variance_N).sum()) ** 2
        both = (1 - self.correlation) * independent + self.correlation * common
        errors = (math.sqrt(both), math.sqrt(independent), math.sqrt(common))
        return RegionSum(region, species, len(mean_N), float(mean_N.sum()), *errors)

    def _membership(self, columns: TrackedColumns, drift_A: tuple[float, float]) -> NDArray[np.bool_]:
        """Which column is in which region [N, R]: as in the frame before, or where it now stands."""
        x_A, y_A = columns.x_A - drift_A[0], columns.y_A - drift_A[1]
        inside_NR = np.ones((len(columns), len(self.names)), bool)
        for index, one in enumerate(self.regions, 1):
            inside_NR[:, index] = (one.x0_A <= x_A) & (x_A < one.x1_A) & (one.y0_A <= y_A) & (y_A < one.y1_A)
        _, now, before = np.intersect1d(columns.track, self._tracks, assume_unique=True, return_indices=True)
        inside_NR[now] = self._inside_NR[before]
        self._tracks, self._inside_NR = columns.track, inside_NR
        return inside_NR
