"""The benchmark's specimens: three families, each by a rule of its own that training does not use.

`paper`: flat, saw-tooth and stepped surfaces of 3-10 atoms without defects (Leibovich et al. 2026). `perturbed`: the
same with exactly a tenth of the columns changed. `particle`: Wulff shapes and islands, half of them with adatoms.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segdepth_training.recipes.recipe import PAPER, Specimens
from segdepth_training.specimens.projection import Projection
from segdepth_training.specimens.specimen import Specimen, Stacks, assembled, surface, turned

CHANGED_SHARE = 0.10
"""Columns of a perturbed specimen that are changed."""

BY_ONE_SHARE = 0.70
"""Of those, the ones changed by one atom; the others by two."""

ADATOM_SHARE = 0.05
"""Columns of a particle with adatoms that have one more atom."""

NEVER_THICK = {"thick_share": 0.0}
"""What the benchmark changes of the recipe's specimens."""

FEWEST, MOST = 1, 10
"""No column is changed to fewer or more atoms: eleven are no other class than ten."""


def draw_for_benchmark(
    rng: np.random.Generator,
    projection: Projection,
    limits: Specimens,
    family: str,
    *,
    kind: str | None = None,
    tilt_deg: float | None = None,
) -> Specimen:
    """A random specimen of a family. The same generator state gives the same specimen.

    `kind` and `tilt_deg` [°] are drawn unless given.
    """
    drawn = sites_for_benchmark(rng, projection, limits, family, kind=kind)
    column = drawn.stacks.number > 0
    limits = limits.model_copy(update=NEVER_THICK)
    made = assembled(rng, drawn.stacks.of(column), projection, limits, (drawn.kind, family), tilt_deg)
    return dataclasses.replace(made, at_entrance=drawn.at_entrance[column])


class Drawn(NamedTuple):
    """All sites of a surface inside the cell, also those without atoms, and where each column's change is."""

    kind: str
    stacks: Stacks
    at_entrance: NDArray[np.bool_]


def sites_for_benchmark(
    rng: np.random.Generator,
    projection: Projection,
    limits: Specimens,
    family: str,
    *,
    kind: str | None = None,
    moved_A: tuple[float, float] = (0.0, 0.0),
) -> Drawn:
    """What a specimen of a family has at each site. The sites are round the origin.

    The surface, but not where the specimen ends, is moved by `moved_A` over the upright lattice: as likely a surface as
    the one of the same generator state.
    """
    limits = limits.model_copy(update=NEVER_THICK)
    which = kind or str(rng.choice(PAPER if family != "particle" else ("particle", "islands")))
    while True:
        sites, first, before = surface(rng, projection, limits, which, moved_A)
        sites, keep = turned(rng, sites, before, limits.cell_A, held_out=True)
        if keep.any():
            break
    # Random numbers are drawn for columns alone.
    change, at_entrance = np.zeros_like(before), np.zeros(len(before), bool)
    if family == "perturbed":
        change[keep] = perturbation(rng, before[keep])
    elif family == "particle" and rng.random() < 0.5:
        change[keep] = rng.random(keep.sum()) < ADATOM_SHARE
    at_entrance[keep] = rng.random(keep.sum()) < 0.5
    first = np.where(at_entrance, first - change, first)
    inside = np.abs(sites[:, :2]).max(axis=1) < limits.cell_A / 2
    return Drawn(which, Stacks(sites, first, before + change, change).of(inside), at_entrance[inside])


def perturbation(rng: np.random.Generator, count: NDArray[np.int64]) -> NDArray[np.int64]:
    """By how many atoms each column is changed: exactly a tenth of them, seven tenths of these by one.

    Shorter or longer with equal chance, unless only one of the two leaves FEWEST to MOST atoms.
    """
    number = round(CHANGED_SHARE * len(count))
    chosen = rng.choice(len(count), number, replace=False)
    size = np.where(np.arange(number) < round(BY_ONE_SHARE * number), 1, 2)
    change = np.where(rng.random(number) < 0.5, -size, size)
    left = count[chosen] + change
    change = np.where((left < FEWEST) | (left > MOST), -change, change)
    result = np.zeros_like(count)
    result[chosen] = change
    return result
