"""Crystals that a model does not know: seen along some zone axis, cut to a slab, without a truth about columns."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from numpy.typing import NDArray

from segdepth_training.recipes.recipe import Crystal
from segdepth_training.specimens.specimen import Specimen

MARGIN_A = 2.0
"""Vacuum above and below [Å]."""

ALIKE = 0.05
"""A crystal of as many elements along the same zone axis is too like one's own within this share of its lattice."""


@dataclass(frozen=True)
class Foreign:
    """A cubic crystal by ASE's names, and the zone axis along the beam."""

    symbol: str
    structure: str
    lattice_A: float
    zone: tuple[int, int, int]

    def specimen(self, rng: np.random.Generator, cell_A: float) -> Specimen:
        """A slab in a random orientation in the plane."""
        unit = bulk(self.symbol, self.structure, a=self.lattice_A, cubic=True)
        return slab(rng, unit, self.lattice_A, self.zone, cell_A)


@dataclass(frozen=True)
class OtherZone:
    """A recipe's own crystal along another zone axis."""

    crystal: Crystal
    zone: tuple[int, int, int]

    def specimen(self, rng: np.random.Generator, cell_A: float) -> Specimen:
        """A slab in a random orientation in the plane."""
        own = self.crystal
        cell = [own.lattice_A] * 3 + [90] * 3
        unit = crystal(own.elements, own.basis, spacegroup=own.spacegroup, cellpar=cell)
        return slab(rng, unit, own.lattice_A, self.zone, cell_A)


def slab(
    rng: np.random.Generator, unit: Atoms, lattice_A: float, zone: tuple[int, int, int], cell_A: float
) -> Specimen:
    """A slab of 10-40 Å of a cubic unit cell; half of them end inside the field."""
    half_A, thickness_A = cell_A / 2, rng.uniform(10, 40)
    repeats = 2 * int(np.ceil((half_A * 2**0.5 + thickness_A) / lattice_A)) + 1
    block = unit.repeat(repeats)
    centred = block.positions - block.positions.mean(axis=0) + rng.uniform(0, lattice_A, 3)
    positions = centred @ _along(np.array(zone, float), rng.uniform(0, 2 * np.pi)).T
    inside = (np.abs(positions[:, :2]) < half_A).all(axis=1) & (np.abs(positions[:, 2]) < thickness_A / 2)
    if rng.random() < 0.5:
        inside &= positions[:, 0] < rng.uniform(0, 20)
    positions = positions[inside] + rng.normal(0, 0.06, (int(inside.sum()), 3))
    positions += [half_A, half_A, MARGIN_A - positions[:, 2].min()]
    lowest_A = float(positions[:, 2].max())
    symbols = np.array(block.get_chemical_symbols())[inside]
    atoms = Atoms(symbols, positions, cell=[cell_A, cell_A, lowest_A + MARGIN_A], pbc=True)
    atoms.wrap(pbc=(True, True, False))
    return Specimen(atoms, np.zeros((0, 5), np.float32), "flat", "paper", lowest_A)


def _along(zone: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """The rotation that takes a zone axis to z, and then turns about z."""
    z = zone / np.linalg.norm(zone)
    x = np.cross(z, [1.0, 0, 0] if abs(z[0]) < 0.9 else [0, 1.0, 0])
    x /= np.linalg.norm(x)
    upright = np.array([x, np.cross(z, x), z])
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return np.asarray(turn @ upright)


STRANGERS = (
    Foreign("Ge", "diamond", 5.658, (1, 1, 0)),
    Foreign("C", "diamond", 3.567, (1, 1, 0)),
    Foreign("Pt", "fcc", 3.924, (1, 1, 0)),
    Foreign("Cu", "fcc", 3.615, (1, 0, 0)),
    Foreign("NaCl", "rocksalt", 5.64, (1, 0, 0)),
    Foreign("NiO", "rocksalt", 4.177, (1, 1, 0)),
    Foreign("Al", "fcc", 4.05, (1, 1, 1)),
    Foreign("W", "bcc", 3.165, (1, 1, 1)),
    Foreign("Fe", "bcc", 2.866, (1, 0, 0)),
    Foreign("GaAs", "zincblende", 5.653, (1, 1, 0)),
    Foreign("Si", "diamond", 5.431, (1, 0, 0)),
    Foreign("CaF2", "fluorite", 5.463, (1, 0, 0)),
    Foreign("ZrO2", "fluorite", 5.09, (1, 1, 0)),
)
"""None of them is the benchmark's. Lattice constants at room temperature [Å]: Wyckoff, Crystal Structures, 2nd ed.;
cubic zirconia as in yttria-stabilised crystals."""

OTHER_ZONES = ((1, 1, 2), (1, 2, 0), (1, 3, 0), (1, 2, 2), (1, 1, 3))


def alike(one: Foreign, own: Crystal) -> bool:
    """Whether a crystal along its zone axis is too like the own one to be foreign to a model of `own`."""
    elements = len(set(bulk(one.symbol, one.structure, a=one.lattice_A, cubic=True).get_chemical_symbols()))
    same = elements == len(own.elements) and _direction(one.zone) == _direction(own.axes[2])
    return same and abs(one.lattice_A / own.lattice_A - 1) < ALIKE


def strangers(own: Crystal) -> list[Foreign | OtherZone]:
    """Crystals, and zone axes of the own one, that are foreign to a model of `own`."""
    others = [OtherZone(own, zone) for zone in OTHER_ZONES if _direction(zone) != _direction(own.axes[2])]
    return [*(one for one in STRANGERS if not alike(one, own)), *others]


def _direction(zone: tuple[float, ...]) -> tuple[float, ...]:
    """A zone axis up to length, sign and order: in a cubic crystal these are alike."""
    steps = sorted(abs(step) for step in zone)
    return tuple(round(step / steps[-1], 3) for step in steps)
