"""Specimens with some of their columns longer or shorter, and columns that are far enough apart to change at once."""

import dataclasses

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from segdepth_core.scoring import BORDER_A
from segdepth_training.specimens.specimen import Specimen

APART_A, REACH_A = 9.0, 4.5
"""Distance of columns that change at once, and around each the part of the image that its change is looked for in."""


def far_apart(specimen: Specimen, order: NDArray[np.int64], side_A: float) -> NDArray[np.int64]:
    """Columns in that order, as many as there is room for; so far apart they do not change each other's images."""
    columns, margin_A = specimen.columns, BORDER_A + REACH_A
    taken: list[int] = []
    for index in order:
        x, y = columns[index, :2]
        near = taken and np.hypot(*(columns[taken, :2] - columns[index, :2]).T).min() < APART_A
        if not near and margin_A < min(x, y) and max(x, y) < side_A - margin_A:
            taken.append(int(index))
    return np.array(taken, np.int64)


def lengthened(specimen: Specimen, by: NDArray[np.int64], period_A: float) -> Specimen:
    """The specimen with each column by[i] atoms longer, or shorter, at the end where its family changes it."""
    assert specimen.at_entrance is not None, "the benchmark's specimens know it"
    first = specimen.at_entrance
    return extended(specimen, np.where(first, by, 0), np.where(first, 0, by), period_A)


def extended(specimen: Specimen, before: NDArray[np.int64], after: NDArray[np.int64], period_A: float) -> Specimen:
    """The specimen with before[i] atoms more, or fewer, where the beam meets column i first, and after[i] at its end.

    `columns` stays what it was.
    """
    count = specimen.columns[:, 2].astype(int)
    assert (count + np.minimum(before, 0) + np.minimum(after, 0) >= 0).all(), "no column is cut twice"
    stop = np.cumsum(count)
    start = stop - count
    positions, symbols = specimen.atoms.positions, np.array(specimen.atoms.get_chemical_symbols())
    keep, more, kinds = np.ones(len(positions), bool), [], []
    for column in np.flatnonzero((before != 0) | (after != 0)):
        top, bottom = start[column], stop[column] - 1
        keep[top : top - min(0, before[column])] = False
        keep[bottom + 1 + min(0, after[column]) : bottom + 1] = False
        for end, number, step_A in ((top, before[column], -period_A), (bottom, after[column], period_A)):
            more += [positions[end] + np.array([0, 0, step_A * (nth + 1)]) for nth in range(number)]
            kinds += [symbols[top]] * max(0, number)
    atoms = Atoms(
        [*symbols[keep], *kinds],
        np.concatenate([positions[keep], np.array(more).reshape(-1, 3)]),
        cell=specimen.atoms.cell,
        pbc=True,
    )
    return dataclasses.replace(specimen, atoms=atoms)


def with_room(specimen: Specimen, most: int, period_A: float) -> Specimen:
    """The specimen with room for columns `most` atoms longer, above and below."""
    room_A = period_A * most
    atoms = specimen.atoms.copy()
    atoms.positions[:, 2] += room_A
    atoms.cell[2, 2] += 2 * room_A
    return dataclasses.replace(specimen, atoms=atoms, lowest_A=specimen.lowest_A + room_A)
