"""Where columns stand on the family's lattice: its turn, its origin, and each column's cell and site.

Positions are (x, y) in Å. Suffixes: N columns, Q sites of a cell, 2 = (x, y) or (first side, second side).
"""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from segdepth_artefacts.manifest import Cell

Floats = NDArray[np.float64]

REACH_A = 0.7
"""A column is at a site if it is at most this far from it; half of what the nearest columns are apart."""

FEWEST = 6
"""Columns of the species that the lattice is fitted to, at least."""

LEAST_SHARE = 0.5
"""Of all columns that are at a site of a lattice which is one."""

FIRST_A = 25.0
"""Radius around the middle column within which the lattice is fitted first: a pixel size that is 1.5 % wrong puts no
column there at a neighbour's site."""

MOST_STRAIN = 0.06
"""By which the fitted cell may differ from the family's, in either direction and in shear."""

SHELLS = 1.3
"""Neighbours up to this many times the nearest's distance tell the turn."""

NEAR = 0.3
"""Two columns are neighbours if they are that share of the nearest's distance off the places of two."""

SYMMETRIES = (2, 4, 6)
"""Turns by a full angle over these may leave the neighbours' directions as they are."""


@dataclass(frozen=True)
class Placed:
    """Columns on the lattice."""

    turn_rad: float
    """From the image's x to the cell's first side."""
    site_N: NDArray[np.int64]
    """Index of the site; -1 off the lattice."""
    cell_N2: NDArray[np.int64]
    """Which cell, counted along the two sides."""


@cache
def _sublattice(cell: Cell) -> tuple[int, Floats, Floats]:
    """The species with fewest sites, its neighbours' vectors [n, 2] [Å], and two of its reciprocal vectors [2, 2]."""
    number = np.bincount([species for _, _, species in cell.sites])
    species = int(np.argmin(np.where(number > 0, number, len(cell.sites) + 1)))
    at = np.array([site[:2] for site in cell.sites if site[2] == species])
    apart = (at[None] - at[:, None]).reshape(-1, 2)
    shifts = np.array(list(product(range(-2, 3), repeat=2)))
    vectors = (apart[:, None] + shifts[None]).reshape(-1, 2) * cell.sides_A
    length = np.hypot(*vectors.T)
    vectors = vectors[(length > 1e-6) & (length < SHELLS * length[length > 1e-6].min())]
    orders = sorted(product(range(-2, 3), repeat=2), key=lambda hk: (np.hypot(*(np.array(hk) / cell.sides_A)), hk))
    found: list[tuple[int, int]] = []
    for h, k in orders:
        phase = (at - at[0]) @ (h, k)
        if (h, k) > (0, 0) and np.allclose(phase, np.round(phase), atol=1e-6):
            if not found or abs(found[0][0] * k - found[0][1] * h):
                found.append((h, k))
            if len(found) == 2:
                break
    return species, vectors, np.array(found) / cell.sides_A


def place(xy_N2: Floats, species_N: NDArray[np.int64], cell: Cell) -> Placed | None:
    """Columns at `xy_N2` [Å] on the lattice that fits them best; None where none does."""
    reference, vectors, reciprocal_22 = _sublattice(cell)
    own = xy_N2[species_N == reference]
    if len(own) < FEWEST:
        return None
    middle = own[np.argmin(np.hypot(*(own - np.median(own, axis=0)).T))]
    near = own[np.hypot(*(own - middle).T) < FIRST_A]
    turn = _turn(near, vectors)
    if turn is None:
        return None
    along = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    sides_22 = along * np.array(cell.sides_A)[:, None]
    origin_2 = _origin(near - middle, reciprocal_22 @ along) + middle
    origin_2 = origin_2 + np.array(next(s[:2] for s in cell.sites if s[2] == reference)) @ -sides_22
    return _grown(xy_N2, species_N, cell, middle, origin_2, sides_22)


def _turn(own: Floats, vectors: Floats) -> float | None:
    """Of the first side, from the directions of neighbours: those of one distance are a pattern of their own."""
    pairs = cKDTree(own).query_pairs(SHELLS * np.hypot(*vectors.T).min() * 1.05, output_type="ndarray")
    apart = own[pairs[:, 1]] - own[pairs[:, 0]]
    length = np.hypot(*vectors.T)
    shells = np.unique(np.round(length, 3))
    nearest = np.abs(np.hypot(*apart.T)[:, None] - shells).argmin(1)
    for symmetry in SYMMETRIES:
        pattern = [_mean_direction(vectors[np.abs(length - shell) < 2e-3], symmetry) for shell in shells]
        if max(map(abs, pattern)) < 0.2:
            continue
        total = sum(
            np.conj(weight) * _directions(apart[nearest == number], symmetry).sum()
            for number, weight in enumerate(pattern)
        )
        # Half a turn leaves a rectangle of columns what it is: the same one of the two, always.
        return float(_refined(np.angle(total) / symmetry, apart, vectors) % np.pi) if abs(total) > 0 else None
    return None


def _refined(turn: float, apart: Floats, vectors: Floats) -> float:
    """The turn by the direction that each pair of neighbours has: some directions have more pairs than others."""
    pairs = apart[:, 0] + 1j * apart[:, 1]
    pattern = vectors[:, 0] + 1j * vectors[:, 1]
    for _ in range(3):
        expected = pattern * np.exp(1j * turn)
        away = np.abs(pairs[:, None] - expected)
        nearest, near = expected[away.argmin(1)], away.min(1) < NEAR * np.abs(pattern).min()
        turn += float(np.angle((pairs * nearest.conj())[near].sum()))
    return turn


def _directions(vectors: Floats, symmetry: int) -> NDArray[np.complex128]:
    return np.exp(1j * symmetry * np.arctan2(vectors[:, 1], vectors[:, 0]))


def _mean_direction(vectors: Floats, symmetry: int) -> complex:
    return complex(_directions(vectors, symmetry).mean())


def _origin(own: Floats, reciprocal_22: Floats) -> Floats:
    """A place of the reference sublattice, from the phases of two of its plane waves."""
    phase = np.angle(np.exp(2j * np.pi * own @ reciprocal_22.T).mean(axis=0)) / (2 * np.pi)
    return np.linalg.solve(reciprocal_22, phase)


def _grown(
    xy_N2: Floats, species_N: NDArray[np.int64], cell: Cell, middle: Floats, origin_2: Floats, sides_22: Floats
) -> Placed | None:
    """The fit refined by least squares, from the middle outwards: the farther, the better it has to be."""
    away_N = np.hypot(*(xy_N2 - middle).T)
    reach_A, known_22 = FIRST_A, sides_22
    while True:
        for _ in range(2):
            sites = _nearest(xy_N2, species_N, cell, origin_2, sides_22)
            used = (sites.site_N >= 0) & (away_N < reach_A)
            if used.sum() < FEWEST:
                return None
            origin_2, sides_22 = _least_squares(xy_N2[used], sites.place_N2[used])
            if np.abs(sides_22 @ np.linalg.inv(known_22) - np.eye(2)).max() > MOST_STRAIN:
                return None
        if reach_A > away_N.max():
            break
        reach_A *= 1.6
    sites = _nearest(xy_N2, species_N, cell, origin_2, sides_22)
    if (sites.site_N >= 0).mean() < LEAST_SHARE:
        return None
    return Placed(float(np.arctan2(sides_22[0, 1], sides_22[0, 0])), _alone(sites), sites.cell_N2)


@dataclass(frozen=True)
class _Sites:
    site_N: NDArray[np.int64]
    cell_N2: NDArray[np.int64]
    place_N2: Floats
    """Cell and site together, in sides of the cell."""
    away_N: Floats
    """From the site [Å]."""


def _nearest(xy_N2: Floats, species_N: NDArray[np.int64], cell: Cell, origin_2: Floats, sides_22: Floats) -> _Sites:
    """Each column's nearest site of its own species."""
    at_N2 = (xy_N2 - origin_2) @ np.linalg.inv(sides_22)
    sites_Q2 = np.array([site[:2] for site in cell.sites])
    cell_NQ2 = np.round(at_N2[:, None] - sites_Q2)
    apart_NQ2 = (at_N2[:, None] - sites_Q2 - cell_NQ2) @ sides_22
    away_NQ = np.hypot(apart_NQ2[..., 0], apart_NQ2[..., 1])
    foreign_NQ = species_N[:, None] != np.array([site[2] for site in cell.sites])
    away_NQ[foreign_NQ] = np.inf
    site_N, row = away_NQ.argmin(1), np.arange(len(xy_N2))
    away_N, cell_N2 = away_NQ[row, site_N], cell_NQ2[row, site_N].astype(np.int64)
    return _Sites(np.where(away_N <= REACH_A, site_N, -1), cell_N2, cell_N2 + sites_Q2[site_N], away_N)


def _least_squares(xy_N2: Floats, place_N2: Floats) -> tuple[Floats, Floats]:
    terms = np.column_stack([np.ones(len(place_N2)), place_N2])
    solution: Floats = np.linalg.lstsq(terms, xy_N2, rcond=None)[0].astype(np.float64)
    return solution[0], solution[1:]


def _alone(sites: _Sites) -> NDArray[np.int64]:
    """Sites with one column each: of several the nearest keeps it."""
    order = np.argsort(sites.away_N, kind="stable")
    keys = np.column_stack([sites.site_N, sites.cell_N2])[order]
    _, first = np.unique(keys, axis=0, return_index=True)
    site_N = np.full(len(order), -1)
    site_N[order[first]] = sites.site_N[order[first]]
    return site_N
