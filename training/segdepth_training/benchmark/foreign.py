"""Crystals that the model does not know: seen along some zone axis, cut to a slab, without a truth about columns."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray

from segdepth_training.specimen import Specimen

MARGIN_A = 2.0
"""Vacuum above and below [Å]."""


@dataclass(frozen=True)
class Foreign:
    """A cubic crystal by ASE's names, and the zone axis along the beam."""

    symbol: str
    structure: str
    lattice_A: float
    zone: tuple[int, int, int]

    def specimen(self, rng: np.random.Generator, cell_A: float) -> Specimen:
        """A slab of 10-40 Å in a random orientation in the plane; half of them end inside the field."""
        half_A, thickness_A = cell_A / 2, rng.uniform(10, 40)
        unit = bulk(self.symbol, self.structure, a=self.lattice_A, cubic=True)
        repeats = 2 * int(np.ceil((half_A * 2**0.5 + thickness_A) / self.lattice_A)) + 1
        block = unit.repeat(repeats)
        centred = block.positions - block.positions.mean(axis=0) + rng.uniform(0, self.lattice_A, 3)
        positions = centred @ _along(np.array(self.zone, float), rng.uniform(0, 2 * np.pi)).T
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


CEO2_A = 5.4113
FOREIGN = {
    "zone-100": Foreign("CeO2", "fluorite", CEO2_A, (1, 0, 0)),
    "zone-111": Foreign("CeO2", "fluorite", CEO2_A, (1, 1, 1)),
    "gold-110": Foreign("Au", "fcc", 4.0782, (1, 1, 0)),
    "silicon-110": Foreign("Si", "diamond", 5.4309, (1, 1, 0)),
    "magnesia-100": Foreign("MgO", "rocksalt", 4.2112, (1, 0, 0)),
}
"""Lattice constants at room temperature [Å]: Wyckoff, Crystal Structures, 2nd ed."""
