"""The benchmark's specimens: three families, each by a rule of its own that training does not use.

`paper`: flat, saw-tooth and stepped surfaces of 3-10 atoms without defects (Leibovich et al. 2026). `perturbed`: the
same with exactly a tenth of the columns changed. `particle`: Wulff shapes and islands, half of them with adatoms.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from segdepth_training.lattice import Projection
from segdepth_training.recipe import PAPER, Specimens
from segdepth_training.specimen import Specimen, Stacks, assembled, surface, turned

CHANGED_SHARE = 0.10
"""Columns of a perturbed specimen that are changed."""

BY_ONE_SHARE = 0.70
"""Of those, the ones changed by one atom; the others by two."""

ADATOM_SHARE = 0.05
"""Columns of a particle with adatoms that have one more atom."""

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
    limits = limits.model_copy(update={"thick_share": 0.0})
    which = kind or str(rng.choice(PAPER if family != "particle" else ("particle", "islands")))
    while True:
        sites, first, before = surface(rng, projection, limits, which)
        sites, keep = turned(rng, sites, before, limits.cell_A, held_out=True)
        if keep.any():
            break
    sites, first, before = sites[keep], first[keep], before[keep]
    change = np.zeros_like(before)
    if family == "perturbed":
        change = perturbation(rng, before)
    elif family == "particle" and rng.random() < 0.5:
        change = (rng.random(len(before)) < ADATOM_SHARE).astype(np.int64)
    at_entrance = rng.random(len(before)) < 0.5
    first = np.where(at_entrance, first - change, first)
    stacks = Stacks(sites, first, before + change, change)
    made = assembled(rng, stacks, projection, limits, (which, family), tilt_deg)
    return dataclasses.replace(made, at_entrance=at_entrance)


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
