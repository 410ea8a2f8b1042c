"""Specimens: which atoms there are, and the truth about every column."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from segdepth_training.recipes.recipe import PAPER, Specimens
from segdepth_training.specimens.projection import Projection
from segdepth_training.specimens.surfaces import Field, Heights, heights_of

FAMILIES = ("paper", "perturbed", "particle")
"""Families that evaluation reports apart: surfaces as in the paper without defects, the same with isolated defects,
and shapes (smooth, particle, islands)."""


@dataclass(frozen=True)
class Specimen:
    """Atoms in a periodic cell (beam along +z, lengths in Å) and their columns.

    columns: [n, 5] rows of x [Å], y [Å], atoms in the column, species index, and by how many atoms the column was
    changed against the specimen's surface. lowest_A: z of the last atom that the beam meets, where defocus is zero.
    """

    atoms: Atoms
    columns: NDArray[np.float32]
    kind: str
    family: str
    lowest_A: float
    at_entrance: NDArray[np.bool_] | None = None
    """Whether each column's change is at the end that the beam meets first, where that was drawn for every column."""


def draw(
    rng: np.random.Generator,
    projection: Projection,
    limits: Specimens,
    families: tuple[str, ...] = FAMILIES,
    tilt_deg: float | None = None,
) -> Specimen:
    """A random specimen of one of `families`, as training sees them. The same generator state gives the same one.

    Tilted by `tilt_deg` [°], or as the limits say.
    """
    kinds = {k: w for k, w in limits.kinds.items() if k in PAPER or "particle" in families}
    if "paper" not in families and "perturbed" not in families:
        kinds = {k: w for k, w in kinds.items() if k not in PAPER}
    weights = np.array(list(kinds.values()))
    kind = str(rng.choice(list(kinds), p=weights / weights.sum()))
    if kind in PAPER and not {"paper", "perturbed"} <= set(families):
        defects = "paper" not in families
    else:
        defects = bool(rng.random() < limits.perturbed_share)
    sites, first, before = surface(rng, projection, limits, kind)
    count = before
    if defects:
        first, count = disturbed(rng, first, count, limits)
    sites, keep = turned(rng, sites, count, limits.cell_A, held_out=False)
    if not keep.any():
        return draw(rng, projection, limits, families, tilt_deg)
    family = ("perturbed" if defects else "paper") if kind in PAPER else "particle"
    stacks = Stacks(sites[keep], first[keep], count[keep], (count - before)[keep])
    return assembled(rng, stacks, projection, limits, (kind, family), tilt_deg)


def surface(
    rng: np.random.Generator,
    projection: Projection,
    limits: Specimens,
    kind: str,
    moved_A: tuple[float, float] = (0.0, 0.0),
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Sites of a random surface of a kind, and of each the first atom and the number of atoms; the lattice upright.

    `moved_A`: by which the surface is moved over the sites.
    """
    sites = projection.columns(limits.cell_A / 2 * 2**0.5 + 6)
    sites[:, :2] += rng.uniform(0, projection.cell_A)
    x, y = (sites[:, :2] - moved_A).T
    heights = heights_of(kind, rng, x, y, limits, projection.frame)
    if kind != "particle" and rng.random() < limits.vacuum_share:
        heights = bounded(rng, sites, heights)
    return sites, *occupied(sites[:, 2], heights)


def turned(
    rng: np.random.Generator,
    sites: NDArray[np.float64],
    count: NDArray[np.int64],
    cell_A: float,
    *,
    held_out: bool,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Sites in a random orientation, and which of them are columns inside the cell.

    Orientations that the benchmark holds out never occur elsewhere, so that none of its specimens was trained on: the
    middle half of every degree is the benchmark's, the rest is everybody else's. Mirroring and quarter turns, by which
    training multiplies its frames, keep the two apart.
    """
    degrees, part = divmod(rng.uniform(0, 360), 1.0)
    angle = np.radians(degrees + (0.25 + part / 2 if held_out else (0.75 + part / 2) % 1))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    sites = np.column_stack([sites[:, :2] @ turn.T, sites[:, 2:]])
    return sites, (count > 0) & (np.abs(sites[:, :2]).max(axis=1) < cell_A / 2)


def bounded(rng: np.random.Generator, sites: NDArray[np.float64], heights: Heights) -> Heights:
    """The same specimen ending inside the field: at one or two edges, straight or rough, or round a hole."""
    x, y = sites[:, 0], sites[:, 1]
    outside = np.zeros(len(x), bool)
    for _ in range(rng.integers(1, 3)):
        if rng.random() < 0.8:
            angle, rough_A = rng.uniform(0, 2 * np.pi), rng.choice([0.0, 1.0, 3.0])
            wave = np.sin((y * np.cos(angle) - x * np.sin(angle)) / rng.uniform(2, 8) + rng.uniform(0, 6))
            outside |= x * np.cos(angle) + y * np.sin(angle) + rough_A * wave > rng.uniform(0, 26)
        else:
            centre, radius_A = rng.uniform(-24, 24, 2), rng.uniform(4, 14)
            outside |= np.hypot(x - centre[0], y - centre[1]) < radius_A
    return Heights(heights.entrance, np.where(outside, heights.entrance, heights.exit))


def occupied(phase: Field, heights: Heights) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First atom (index along the beam) and number of atoms of each column between entrance and exit."""
    nudge = 1e-6
    first = np.ceil(heights.entrance - phase - nudge).astype(int)
    last = np.ceil(heights.exit - phase - nudge).astype(int)
    return first, np.maximum(last - first, 0)


def disturbed(
    rng: np.random.Generator, first: NDArray[np.int64], count: NDArray[np.int64], limits: Specimens
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Vacancies and adatoms: some columns one atom (70 %) or two shorter or longer, at either end."""
    changed = (rng.random(len(count)) < rng.uniform(*limits.perturbed_columns)) & (count > 0)
    change = rng.choice([-2, -1, 1, 2], len(count), p=[0.15, 0.35, 0.35, 0.15]) * changed
    at_entrance = rng.random(len(count)) < 0.5
    return np.where(at_entrance, first - change, first), np.clip(count + change, 0, None)


class Stacks(NamedTuple):
    """Columns before there are atoms: sites [n, 4], first atom and number of atoms [n], change against the surface."""

    sites: NDArray[np.float64]
    first: NDArray[np.int64]
    number: NDArray[np.int64]
    change: NDArray[np.int64]

    def of(self, which: NDArray[np.bool_]) -> "Stacks":
        """Some of them."""
        return Stacks(self.sites[which], self.first[which], self.number[which], self.change[which])


def assembled(
    rng: np.random.Generator,
    stacks: Stacks,
    projection: Projection,
    limits: Specimens,
    names: tuple[str, str],
    tilt_deg: float | None = None,
) -> Specimen:
    """Atoms of the columns, tilted and displaced, in a cell with 2 Å of vacuum above and below.

    Tilted by `tilt_deg` [°] in a random direction, or as the limits say.
    """
    sites, first, count, change = stacks
    column = np.repeat(np.arange(len(count)), count)
    nth = np.arange(len(column)) - np.repeat(np.cumsum(count) - count, count)
    z = (first[column] + nth + sites[column, 2]) * projection.period_A
    xy = sites[column, :2].copy()
    if tilt_deg is not None or rng.random() < limits.tilt_share:
        angle = rng.uniform(0, 2 * np.pi)
        slope = np.tan(np.radians(rng.uniform(0, limits.tilt_deg) if tilt_deg is None else tilt_deg))
        xy += (z - z.mean())[:, None] * slope * np.array([np.cos(angle), np.sin(angle)])
    middle = np.stack([np.bincount(column, xy[:, i]) / count for i in (0, 1)], axis=1)
    positions = np.column_stack([xy, z]) + rng.normal(0, rng.uniform(*limits.displacement_A), (len(z), 3))
    margin_A = 2.0
    positions += [limits.cell_A / 2, limits.cell_A / 2, margin_A - positions[:, 2].min()]
    lowest_A = float(positions[:, 2].max())
    symbols = np.array(projection.elements)[sites[column, 3].astype(int)]
    atoms = Atoms(symbols, positions, cell=[limits.cell_A, limits.cell_A, lowest_A + margin_A], pbc=True)
    atoms.wrap(pbc=(True, True, False))
    columns = np.column_stack([middle + limits.cell_A / 2, count, sites[:, 3], change]).astype(np.float32)
    return Specimen(atoms, columns, *names, lowest_A)
