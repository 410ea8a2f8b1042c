"""Columns on the family's lattice, however it lies in the picture."""

import numpy as np
import pytest
from numpy.typing import NDArray

from segdepth_artefacts.manifest import Cell
from segdepth_core.cell import REACH_A, place

CERIA = Cell(
    sides_A=(5.4113, 3.8264),
    sites=((0, 0, 0), (0.5, 0.5, 0), (0.25, 0, 1), (0.75, 0, 1), (0.25, 0.5, 1), (0.75, 0.5, 1)),
)
GOLD = Cell(sides_A=(4.0786, 2.884), sites=((0, 0, 0), (0.5, 0.5, 0)))
SQUARE = Cell(sides_A=(2.7, 2.7), sites=((0, 0, 0),))


def crystal(
    cell: Cell, reach_A: float, turn: float, scale: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Positions [Å] of columns in a square, their species, site and cell."""
    count = int(2 * reach_A / min(cell.sides_A)) + 2
    steps = np.stack(np.meshgrid(*2 * [np.arange(-count, count + 1)], indexing="ij"), -1).reshape(-1, 2)
    site = np.repeat(np.arange(len(cell.sites)), len(steps))
    cells = np.tile(steps, (len(cell.sites), 1))
    xy = (cells + np.array([s[:2] for s in cell.sites])[site]) * cell.sides_A * scale
    xy = xy @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + (3.1, -1.7)
    kept = np.abs(xy).max(1) < reach_A
    species = np.array([s[2] for s in cell.sites])[site]
    return xy[kept], species[kept], site[kept], cells[kept]


@pytest.mark.parametrize("cell", [CERIA, GOLD, SQUARE], ids=["CeO2 [110]", "Au [110]", "square"])
@pytest.mark.parametrize("reach_A", [11.0, 25.0, 60.0])
@pytest.mark.parametrize("seed", range(4))
def test_columns_are_at_the_sites_they_were_put(cell: Cell, reach_A: float, seed: int) -> None:
    """Found a tenth of an Ångström off, some missing, the pixel size 1.5 % wrong."""
    rng = np.random.default_rng(seed)
    xy, species, site, cells = crystal(cell, reach_A, rng.uniform(0, 7), 1 + rng.uniform(-0.015, 0.015))
    kept = rng.random(len(xy)) < 0.85
    placed = place(xy[kept] + rng.normal(0, 0.1, (kept.sum(), 2)), species[kept], cell)
    assert placed is not None
    assert (placed.site_N >= 0).mean() > 0.99
    # Up to a step along the lattice, and half a turn, neighbours have the places to each other that they had.
    positions, truth = (
        (c + np.array([s[:2] for s in cell.sites])[q]) * cell.sides_A
        for q, c in ((placed.site_N, placed.cell_N2), (site[kept], cells[kept]))
    )
    here, there = (np.linalg.norm(p - p[len(p) // 2], axis=1) for p in (positions, truth))
    np.testing.assert_allclose(here[placed.site_N >= 0], there[placed.site_N >= 0], atol=1e-6)


def test_what_stands_off_the_lattice_has_no_site() -> None:
    xy, species, _, _ = crystal(CERIA, 25.0, 0.3)
    moved = np.hypot(*(xy - xy[60]).T) < 0.1
    placed = place(np.where(moved[:, None], xy + 0.9 * REACH_A, xy), species, CERIA)
    assert placed is not None
    np.testing.assert_array_equal(placed.site_N < 0, moved)


def test_a_site_has_one_column() -> None:
    xy, species, _, _ = crystal(CERIA, 25.0, 1.0)
    twice = np.concatenate([xy, xy[[60]] + 0.4])
    placed = place(twice, np.append(species, species[60]), CERIA)
    assert placed is not None
    assert placed.site_N[60] >= 0
    assert placed.site_N[-1] == -1


def test_columns_at_random_and_few_columns_are_on_no_lattice() -> None:
    rng = np.random.default_rng(0)
    assert place(rng.uniform(0, 50, (300, 2)), rng.integers(0, 2, 300), CERIA) is None
    xy, species, _, _ = crystal(CERIA, 25.0, 1.0)
    assert place(xy[species == 1], species[species == 1], CERIA) is None
    assert place(xy[:0], species[:0], CERIA) is None
