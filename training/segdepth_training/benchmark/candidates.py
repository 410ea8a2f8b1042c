"""What the Bayes bound chooses from: candidate specimens of each family, and the columns that a choice decides.

Each family has its own unknown. `perturbed`: a column's change, where the surface is known. `particle`: a column's
number of atoms, where those of its neighbours are known. `paper`: the surface.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from segdepth_training.benchmark.neighbours import Neighbours, rings, steps_A, surroundings
from segdepth_training.families import BY_ONE_SHARE, CHANGED_SHARE, FEWEST, MOST
from segdepth_training.lattice import Projection
from segdepth_training.recipe import Specimens
from segdepth_training.scoring import BORDER_A
from segdepth_training.specimen import Specimen

APART_A, REACH_A = 9.0, 4.5
"""Distance of the columns that are asked about at once, and around each the part of the image that is looked at."""

CHANGES = (-2, -1, 0, 1, 2)
"""By which a column is longer in the candidates: than its surface in `perturbed`, than it is in `particle`."""


class Question(NamedTuple):
    """One choice between the candidates.

    columns: indices of the columns that it decides [n]; atoms: of each under each candidate [S, n]; prior of the
    candidates [S]; truth: the candidate that is the specimen; whether the whole image is looked at, or what is near.
    """

    columns: NDArray[np.int64]
    atoms: NDArray[np.int64]
    prior: NDArray[np.float64]
    truth: int
    whole: bool = False


class Asked(NamedTuple):
    """Candidates of a specimen, all in one cell: in another the multislice method would cut them into other slices."""

    candidates: list[Specimen]
    questions: list[Question]


def perturbed(rng: np.random.Generator, specimen: Specimen, side_A: float, projection: Projection) -> Asked:
    """Columns far from each other, changed and unchanged ones in turn, each shorter or longer than its surface."""
    roomy, change = with_room(specimen, 4, projection.period_A), specimen.columns[:, 4].astype(int)
    asked = far_apart(specimen, in_turn(rng.permutation(len(change)), change != 0), side_A)
    candidates, questions = [], []
    for by in CHANGES:
        longer = np.zeros(len(change), int)
        longer[asked] = by - change[asked]
        candidates.append(lengthened(roomy, longer, projection.period_A))
    for column in asked:
        before = int(specimen.columns[column, 2]) - change[column]
        atoms = before + np.array(CHANGES)
        questions.append(Question(np.array([column]), atoms[:, None], prior(before), CHANGES.index(change[column])))
    return Asked(candidates, questions)


def particle(
    rng: np.random.Generator, specimen: Specimen, side_A: float, projection: Projection, known: Neighbours
) -> Asked:
    """Columns far from each other, each shorter or longer than it is, down to none."""
    roomy, count = with_room(specimen, 2, projection.period_A), specimen.columns[:, 2].astype(np.int64)
    asked = far_apart(specimen, rng.permutation(len(count)), side_A)
    candidates, questions = [], []
    for by in CHANGES:
        longer = np.zeros(len(count), int)
        longer[asked] = np.maximum(by, -count[asked])
        candidates.append(lengthened(roomy, longer, projection.period_A))
    for column in asked:
        atoms, species = count[column] + np.array(CHANGES), int(specimen.columns[column, 3])
        xy_A = specimen.columns[[column], :2].astype(float)
        (around,) = surroundings(xy_A, specimen.columns, rings(projection, species))
        belief = known.prior(species, around, atoms)
        questions.append(Question(np.array([column]), np.maximum(atoms, 0)[:, None], belief, CHANGES.index(0)))
    return Asked(candidates, questions)


def paper(specimen: Specimen, side_A: float, projection: Projection, limits: Specimens) -> Asked:
    """All columns at once: the surface as it is, an atom thicker or thinner, or a cell's side further to any side."""
    count = specimen.columns[:, 2].astype(np.int64)
    moves = [np.zeros_like(count)]
    drawn = [by for by in (-1, 1) if limits.atoms[0] <= count.min() + by and count.max() + by <= limits.atoms[1]]
    moves += [np.full_like(count, by) for by in drawn]
    kind = int(np.bincount(specimen.columns[:, 3].astype(int)).argmax())
    for step_A in steps_A(specimen.columns[specimen.columns[:, 3] == kind, :2].astype(float), projection):
        both = (moved(specimen, sign * step_A, side_A) for sign in (-1, 1))
        moves += [each for each in both if each.any()]
    at_exit = dataclasses.replace(specimen, at_entrance=np.zeros(len(count), bool))
    roomy = with_room(at_exit, int(np.abs(moves).max()), projection.period_A)
    candidates = [lengthened(roomy, by, projection.period_A) for by in moves]
    inside = (np.abs(specimen.columns[:, :2] - side_A / 2) < side_A / 2 - BORDER_A).all(axis=1)
    columns = np.flatnonzero(inside)
    atoms = np.array([count[columns] + by[columns] for by in moves])
    belief = np.full(len(moves), 1 / len(moves))
    return Asked(candidates, [Question(columns, atoms, belief, 0, whole=True)])


def moved(specimen: Specimen, step_A: NDArray[np.float64], side_A: float) -> NDArray[np.int64]:
    """By how much longer each column is where the surface is moved over the lattice; as it is where that is unknown."""
    columns = specimen.columns
    count, by = columns[:, 2].astype(np.int64), np.zeros(len(columns), np.int64)
    for species in np.unique(columns[:, 3]):
        own = np.flatnonzero(columns[:, 3] == species)
        xy_A = columns[own, :2].astype(float)
        distance_A = np.hypot(*np.moveaxis(xy_A[:, None] + step_A - xy_A[None], -1, 0))
        nearest = distance_A.argmin(axis=1)
        there = distance_A.min(axis=1) < 0.8
        inside = (np.abs(xy_A + step_A - side_A / 2) < side_A / 2).all(axis=1)
        by[own] = np.where(there, count[own][nearest] - count[own], np.where(inside, -count[own], 0))
    return by


def prior(before: int) -> NDArray[np.float64]:
    """Of each of CHANGES for a column whose surface has `before` atoms, by the rule of `families.perturbation`."""
    weight = dict.fromkeys(CHANGES, 0.0)
    weight[0] = 1 - CHANGED_SHARE
    for size, share in ((1, BY_ONE_SHARE), (2, 1 - BY_ONE_SHARE)):
        for change in (-size, size):
            kept = change if FEWEST <= before + change <= MOST else -change
            weight[kept] += CHANGED_SHARE * share / 2
    return np.array([weight[change] for change in CHANGES])


def in_turn(order: NDArray[np.int64], changed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices of columns in that order, but changed and unchanged ones in turn."""
    turn = np.where(changed[order], np.cumsum(changed[order]), np.cumsum(~changed[order]))
    return order[np.argsort(turn, kind="stable")]


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
    count = specimen.columns[:, 2].astype(int)
    stop = np.cumsum(count)
    start = stop - count
    positions, symbols = specimen.atoms.positions, np.array(specimen.atoms.get_chemical_symbols())
    keep, more, kinds = np.ones(len(positions), bool), [], []
    for column in np.flatnonzero(by):
        first, longer = bool(specimen.at_entrance[column]), int(by[column])
        end = positions[start[column]] if first else positions[stop[column] - 1]
        if longer < 0:
            keep[start[column] : start[column] - longer] &= not first
            keep[stop[column] + longer : stop[column]] &= first
        step_A = -period_A if first else period_A
        more += [end + np.array([0, 0, step_A * (number + 1)]) for number in range(longer)]
        kinds += [symbols[start[column]]] * max(0, longer)
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
