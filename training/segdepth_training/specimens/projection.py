"""The projected crystal: where its atomic columns stand, and where the atoms of each lie along the beam."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from ase import Atoms
from ase.build import cut
from ase.spacegroup import crystal
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from segdepth_training.recipes.recipe import Crystal


@dataclass(frozen=True)
class Projection:
    """A crystal seen along its zone axis: a rectangular cell of columns.

    cell_A: the cell's two sides [Å]; period_A: distance of equal atoms along the beam [Å];
    sites: columns of a cell, (x [Å], y [Å], phase along the beam in periods, species index);
    frame: unit axes of x, y and the beam in the crystal's own cell, a row each.
    """

    cell_A: tuple[float, float]
    period_A: float
    sites: NDArray[np.float64]
    elements: tuple[str, ...]
    frame: NDArray[np.float64]

    @property
    def nearest_A(self) -> float:
        """Smallest distance of two columns [Å]."""
        xy = self.columns(max(self.cell_A))[:, :2]
        return float(cKDTree(xy).query(xy, k=2)[0][:, 1].min())

    def columns(self, extent_A: float) -> NDArray[np.float64]:
        """Sites within a square of +-extent_A around the origin, as rows of (x, y, phase, species)."""
        nx, ny = (int(np.ceil(extent_A / side)) + 1 for side in self.cell_A)
        ix, iy = np.meshgrid(np.arange(-nx, nx + 1), np.arange(-ny, ny + 1), indexing="ij")
        shifts = np.stack([ix.ravel() * self.cell_A[0], iy.ravel() * self.cell_A[1]], axis=1)
        rows = np.repeat(self.sites[None], len(shifts), axis=0)
        rows[:, :, :2] += shifts[:, None]
        rows = rows.reshape(-1, 4)
        return np.asarray(rows[np.abs(rows[:, :2]).max(axis=1) <= extent_A])

    def reflections(self, smallest_A: float) -> list[tuple[float, float, float]]:
        """Lattice reflections down to a spacing: (spacing [Å], azimuth [°], weight), one of each Friedel pair.

        The weight is the kinematic intensity of the projection with unit scattering by every column's element number.
        """
        found = []
        charge = np.array([Atoms(e).numbers[0] for e in self.elements], float)[self.sites[:, 3].astype(int)]
        limit = [int(np.ceil(side / smallest_A)) for side in self.cell_A]
        for h in range(limit[0] + 1):
            for k in range(-limit[1], limit[1] + 1):
                if h == 0 and k <= 0:
                    continue
                g = np.array([h / self.cell_A[0], k / self.cell_A[1]])
                amplitude = abs((charge * np.exp(2j * np.pi * self.sites[:, :2] @ g)).sum()) / charge.sum()
                if amplitude > 0.05 and np.hypot(*g) <= 1 / smallest_A:
                    found.append((1 / np.hypot(*g), float(np.degrees(np.arctan2(g[1], g[0]))), float(amplitude**2)))
        return sorted(found, reverse=True)


@cache
def project(structure: Crystal) -> Projection:
    """The projection of a crystal along the third of its `axes`.

    Raises ValueError where the axes are not those of a rectangular cell with its third side along the beam.
    """
    unit = crystal(
        structure.elements,
        structure.basis,
        spacegroup=structure.spacegroup,
        cellpar=[structure.lattice_A] * 3 + [90] * 3,
    )
    for axis in structure.axes:
        if not is_period(unit, axis):
            raise ValueError(
                f"crystal.axes {structure.axes}: {axis} is no period of the crystal; axes are in units of the cell and"
                " take every atom to one like it"
            )
    cell = cut(unit, *structure.axes)
    lengths, angles = cell.cell.lengths(), cell.cell.angles()
    if not np.allclose(angles, 90, atol=1e-6):
        raise ValueError(f"crystal.axes {structure.axes}: not at right angles to each other ({angles})")
    fractions = cell.get_scaled_positions() % 1
    xy = np.round(fractions[:, :2] * lengths[:2], 6) % lengths[:2]
    species = [structure.elements.index(symbol) for symbol in cell.get_chemical_symbols()]
    sites = np.column_stack([xy, np.round(fractions[:, 2], 6) % 1, species])
    unique = np.unique(sites[:, :2], axis=0)
    if len(unique) != len(sites):
        raise ValueError(f"crystal.axes {structure.axes}: columns hold several atoms a period; shorten the third axis")
    side_A, period_A = (float(lengths[0]), float(lengths[1])), float(lengths[2])
    return Projection(side_A, period_A, sites, tuple(structure.elements), unit_axes(structure))


def is_period(unit: Atoms, axis: tuple[float, float, float]) -> bool:
    """Whether a step along `axis` (units of the cell) leads from every atom to one of the same element."""

    def placed(step: tuple[float, float, float]) -> set[tuple[float, ...]]:
        places = np.round((unit.get_scaled_positions() + step) % 1, 4) % 1
        return set(map(tuple, np.column_stack([places, unit.numbers]).tolist()))

    return any(axis) and placed(axis) == placed((0.0, 0.0, 0.0))


def unit_axes(structure: Crystal) -> NDArray[np.float64]:
    """The axes of a view of a cubic crystal, each of length one."""
    axes = np.array(structure.axes, float)
    # The root of the ratio is exact for the usual axes: particles must come out the same to the last digit.
    return np.asarray(np.sign(axes) * np.sqrt(np.square(axes) / np.square(axes).sum(axis=1, keepdims=True)))
