"""The motif of a frame: what its lattice's cells show on average, as Fourier coefficients over their mean.

The lattice is that of columns found; what the frame shows beside the crystal is left out. Shape suffixes beside the
usual ones: R reflections.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from segdepth_training.specimens.projection import Projection

Real = NDArray[np.float64]

NEAR_A = 6.0
"""Within this distance columns must be found for a place to count as inside the crystal [Å]."""

FOUND = 0.7
"""Share of the columns there that must be found."""

SOFT_A = 2.0
"""The region's edge is this soft [Å], so that one reflection does not show in another."""

OFF_A = 0.6
"""Columns farther than this from their site are not of the lattice [Å]."""

REGULAR = 0.75
"""Share of the columns that must be on the lattice."""

IRREGULAR_A = 0.25
"""Root mean square distance of columns from their sites beyond which the lattice is none [Å]."""

FEWEST = 24
"""Columns that tell a lattice."""

LEAST_A2 = 250.0
"""Area that tells a motif: a dozen cells of an oxide [Å²]."""


@dataclass(frozen=True)
class Motif:
    """values [R]: complex coefficients over the mean, pixels' integration undone; variance: of each by the noise.

    area_A2: of the crystal that was averaged; residual_A: of columns from their sites, root mean square; turn_rad:
    azimuth of the cell's x, of which the crystal leaves open by half a turn what it is.
    """

    values: NDArray[np.complex128]
    variance: Real
    area_A2: float
    residual_A: float
    turn_rad: float


def turned_alike(motifs: Sequence[Motif]) -> list[Motif]:
    """Motifs of one specimen as the first one's lattice is turned: by half a turn each coefficient is conjugated."""
    first = motifs[0].turn_rad
    turned = [np.cos(one.turn_rad - first) < 0 for one in motifs]
    return [replace(one, values=one.values.conj()) if half else one for one, half in zip(motifs, turned, strict=True)]


@dataclass(frozen=True)
class Fit:
    """A lattice in a frame [Å]: site (u, v), in cells, is at origin + axes @ (u, v)."""

    axes: Real
    origin: Real
    residual_A: float

    def cells(self, xy_A: Real) -> Real:
        """Positions [n, 2] in units of the cell."""
        return np.asarray(np.linalg.solve(self.axes, (xy_A - self.origin).T).T)


def fit_lattice(xy_A: Real, species: NDArray[np.integer[Any]], projection: Projection) -> Fit | None:
    """The lattice on whose sites columns at `xy_A` [n, 2] stand; None where they are on none.

    species: of each, counted from 0; it decides between places that suit the columns alike. An unusual contrast makes
    a model take one element for another, so that places alone count first.
    """
    if len(xy_A) < FEWEST:
        return None
    sites = projection.sites[:, :2] / projection.cell_A
    axes = _turn(_best_turn(xy_A, projection)) * projection.cell_A
    some = range(0, len(xy_A), max(1, len(xy_A) // 8))
    tried = [Fit(axes, xy_A[one] - axes @ site, 0.0) for one in some for site in sites]
    fit = max(tried, key=lambda each: _agreement(each, xy_A, species, projection))
    near = np.zeros(len(xy_A), bool)
    for _ in range(4):
        _, place, off_A = _from_site(fit, xy_A, sites)
        near = off_A < OFF_A
        if near.sum() < FEWEST:
            return None
        design = np.column_stack([place[near], np.ones(near.sum())])
        solved = np.linalg.lstsq(design, xy_A[near], rcond=None)[0]
        fit = Fit(solved[:2].T, solved[2], float(np.sqrt((off_A[near] ** 2).mean())))
    stretch = np.linalg.svd(fit.axes / projection.cell_A)[1]
    regular = near.mean() > REGULAR and fit.residual_A < IRREGULAR_A
    return fit if regular and abs(stretch - 1).max() < 0.06 else None


def _agreement(fit: Fit, xy_A: Real, species: NDArray[np.integer[Any]], projection: Projection) -> float:
    """Share of the columns that stand near to a site, and a little for those of its element."""
    nearest, _, off_A = _from_site(fit, xy_A, projection.sites[:, :2] / projection.cell_A)
    near = np.exp(-((off_A / 0.3) ** 2) / 2)
    return float((near * (1 + 0.3 * (projection.sites[nearest, 3] == species))).mean())


def _best_turn(xy_A: Real, projection: Projection) -> float:
    """Azimuth of the cell's x [rad] at which the columns scatter most into reflections of all sites alike."""
    h, k = np.meshgrid(np.arange(0, 7), np.arange(-6, 7), indexing="ij")
    per_A = np.stack([h.ravel(), k.ravel()], 1)[7:] / projection.cell_A
    per_A = per_A[np.hypot(*per_A.T) < 0.85]
    phases = np.exp(2j * np.pi * per_A @ (projection.sites[:, :2] - projection.sites[0, :2]).T)
    per_A = per_A[abs(phases.mean(1)) > 0.3]
    # Fewer columns stay in phase over a misfit of the azimuth: at first only what lies near to each other.
    some = xy_A[np.linalg.norm(xy_A - np.median(xy_A, 0), axis=1) < 16]

    def score(angle: float, columns: Real) -> float:
        return float(abs(np.exp(2j * np.pi * columns @ _turn(angle) @ per_A.T).mean(0)).sum())

    best = max(np.radians(np.arange(0, 180, 0.5)), key=lambda angle: score(angle, some))
    for step in (0.1, 0.02):
        best = max(best + np.radians(step) * np.arange(-5, 6), key=lambda angle: score(angle, xy_A))
    return float(best)


def _turn(angle: float) -> Real:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _from_site(fit: Fit, xy_A: Real, sites: Real) -> tuple[NDArray[np.intp], Real, Real]:
    """Which site is nearest to each column, where it is [n, 2] in cells, and how far off the column is [Å]."""
    cells = fit.cells(xy_A)
    places = sites[None] + np.round(cells[:, None] - sites[None])
    off_A = np.linalg.norm((cells[:, None] - places) @ fit.axes.T, axis=-1)
    nearest = off_A.argmin(1)
    rows = np.arange(len(cells))
    return nearest, places[rows, nearest], off_A[rows, nearest]


def inside(xy_A: Real, shape: tuple[int, int], sampling_A: float, expected_per_A2: float) -> Real:
    """How much each pixel [H, W] lies inside the crystal, 0-1: where the columns expected around it are found."""
    coarse = max(1, round(1.0 / sampling_A))
    y, x = np.mgrid[0 : shape[0] : coarse, 0 : shape[1] : coarse] * sampling_A
    points = np.column_stack([x.ravel(), y.ravel()])
    number = cKDTree(xy_A).query_ball_point(points, NEAR_A, return_length=True)
    # Of the disk around a point near the edge a part is not in the frame: as much is not expected there.
    grid = np.column_stack([part.ravel() for part in np.mgrid[-NEAR_A : NEAR_A + 1, -NEAR_A : NEAR_A + 1]])
    disk = grid[np.hypot(*grid.T) <= NEAR_A]
    extent = np.array([shape[1], shape[0]]) * sampling_A
    within = ((points[:, None] + disk >= 0) & (points[:, None] + disk < extent)).all(2).mean(1)
    full = np.asarray(number) >= FOUND * expected_per_A2 * np.pi * NEAR_A**2 * within
    mask = full.reshape(y.shape).repeat(coarse, 0).repeat(coarse, 1)[: shape[0], : shape[1]].astype(float)
    return np.asarray(gaussian_filter(mask, SOFT_A / sampling_A, mode="constant"))


def motif(
    frame: NDArray[np.float32],
    sampling_A: float,
    xy_A: Real,
    species: NDArray[np.integer[Any]],
    dose: float,
    projection: Projection,
    hk: NDArray[np.int64],
    spread_px: float = 0.0,
) -> Motif | None:
    """The motif of a frame [H, W], in any unit of intensity; None where columns are on no lattice, or cover too little.

    xy_A: positions [n, 2] of columns, x first, the centre of the first pixel at (0, 0), and their species from 0; dose:
    that its noise shows [e/Å²]; spread_px: by which the sensor has spread electrons that were counted, undone.
    """
    fit = fit_lattice(xy_A, species, projection)
    if fit is None:
        return None
    share = len(projection.sites) / float(np.prod(projection.cell_A))
    weight = inside(xy_A, frame.shape, sampling_A, share)
    area_A2 = float(weight.sum() ** 2 / max((weight**2).sum(), 1e-9)) * sampling_A**2
    if area_A2 < LEAST_A2:
        return None
    # Reflections in the frame's own axes [1/Å]: phase 2π (h u + k v) of a place (u, v) in cells.
    per_A = hk @ np.linalg.inv(fit.axes)
    weighted = weight * frame
    mean = float(weighted.sum() / weight.sum())
    y_A, x_A = np.arange(frame.shape[0]) * sampling_A, np.arange(frame.shape[1]) * sampling_A
    waves_x = np.exp(-2j * np.pi * np.outer(x_A - fit.origin[0], per_A[:, 0]))
    waves_y = np.exp(-2j * np.pi * np.outer(y_A - fit.origin[1], per_A[:, 1]))
    contrast = weighted - weight * mean
    values = ((contrast @ waves_x) * waves_y).sum(0) / weighted.sum()
    transfer = np.sinc(per_A * sampling_A).prod(1)
    transfer = transfer * np.exp(-2 * (np.pi * spread_px * sampling_A * np.hypot(*per_A.T)) ** 2)
    variance = 1 / (dose * area_A2) / transfer**2
    turn_rad = float(np.arctan2(fit.axes[1, 0], fit.axes[0, 0]))
    return Motif(values / transfer, variance, area_A2, fit.residual_A, turn_rad)
