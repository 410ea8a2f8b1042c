"""What the Bayes bound chooses from: candidate specimens of a family, and the columns that a choice decides.

`perturbed`: a column's change, where the surface is known. `particle`: a column's number of atoms, where those of its
neighbours are known. For `paper`, whose unknown is the surface, see `terraces`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segdepth_training.benchmark.neighbours import Neighbours, rings, surroundings
from segdepth_training.specimens.changes import far_apart, lengthened, with_room
from segdepth_training.specimens.families import BY_ONE_SHARE, CHANGED_SHARE, FEWEST, MOST
from segdepth_training.specimens.projection import Projection
from segdepth_training.specimens.specimen import Specimen

CHANGES = (-2, -1, 0, 1, 2)
"""By which a column of `perturbed` is longer than its surface."""

MOST_POSSIBLE, LEAST_BELIEF = 6, 1e-3
"""Numbers of atoms of a column of `particle` that are looked at, and the belief that makes one possible."""

BEYOND = 12
"""Atoms by which a column is never longer than it is."""


class Question(NamedTuple):
    """One choice between the candidates.

    columns: indices of the columns that it decides [n]; atoms: of each under each candidate [S, n]; prior of the
    candidates [S]; truth: the candidate that is the specimen; whether the whole image is looked at, or what is near
    these columns.
    """

    columns: NDArray[np.int64]
    atoms: NDArray[np.int64]
    prior: NDArray[np.float64]
    truth: int
    whole: bool = False


class Hypotheses(NamedTuple):
    """Candidates of a specimen, all in one cell: in another the multislice method would cut them into other slices."""

    candidates: list[Specimen]
    questions: list[Question]


def perturbed(rng: np.random.Generator, specimen: Specimen, side_A: float, projection: Projection) -> Hypotheses:
    """Columns far from each other, changed and unchanged ones in turn, each shorter or longer than its surface."""
    roomy, change = with_room(specimen, 4, projection.period_A), specimen.columns[:, 4].astype(int)
    chosen = far_apart(specimen, in_turn(rng.permutation(len(change)), change != 0), side_A)
    candidates, questions = [], []
    for by in CHANGES:
        longer = np.zeros(len(change), int)
        longer[chosen] = by - change[chosen]
        candidates.append(lengthened(roomy, longer, projection.period_A))
    for column in chosen:
        before = int(specimen.columns[column, 2]) - change[column]
        atoms = before + np.array(CHANGES)
        questions.append(Question(np.array([column]), atoms[:, None], prior(before), CHANGES.index(change[column])))
    return Hypotheses(candidates, questions)


def particle(
    rng: np.random.Generator, specimen: Specimen, side_A: float, projection: Projection, known: Neighbours
) -> Hypotheses:
    """Columns far from each other, each with the numbers of atoms that its neighbours leave possible."""
    count = specimen.columns[:, 2].astype(np.int64)
    chosen = far_apart(specimen, rng.permutation(len(count)), side_A)
    questions = [possible(specimen, int(column), projection, known) for column in chosen]
    looked_at = max((int((question.prior > 0).sum()) for question in questions), default=1)
    longer = np.zeros((looked_at, len(count)), np.int64)
    for question in questions:
        (column,) = question.columns
        longer[:, column] = question.atoms[:looked_at, 0] - count[column]
    roomy = with_room(specimen, int(np.abs(longer).max(initial=0)), projection.period_A)
    return Hypotheses([lengthened(roomy, by, projection.period_A) for by in longer], questions)


def possible(specimen: Specimen, column: int, projection: Projection, known: Neighbours) -> Question:
    """The true number of atoms, those that the prior believes in most, and without belief what fills up the rest."""
    count, species = int(specimen.columns[column, 2]), int(specimen.columns[column, 3])
    xy_A = specimen.columns[[column], :2].astype(float)
    (around,) = surroundings(xy_A, specimen.columns, rings(projection, species))
    belief = known.prior(species, around, np.arange(count + BEYOND))
    others = [int(n) for n in np.argsort(-belief, kind="stable") if n != count and belief[n] > LEAST_BELIEF]
    atoms = np.array([count, *others][:MOST_POSSIBLE])
    spare = MOST_POSSIBLE - len(atoms)
    weight = np.pad(belief[atoms] / belief[atoms].sum(), (0, spare))
    return Question(np.array([column]), np.pad(atoms, (0, spare), constant_values=count)[:, None], weight, 0)


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
