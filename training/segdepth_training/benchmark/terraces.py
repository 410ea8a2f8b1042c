"""What the Bayes bound chooses from in `paper`: surfaces that the family could as well have drawn.

Surfaces are drawn anew from the specimen's own random numbers, but moved over the lattice. Of a stepped one each step
is drawn by itself, and so each is asked about by itself; steps that cross or are nearer than APART_A go together. Teeth
move together. What no move reaches is asked about as a whole: as thick as it is, or an atom thicker or thinner.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from segdepth_training.benchmark.candidates import Hypotheses, Question
from segdepth_training.frames.exit_waves import Plan
from segdepth_training.recipes.seeds import generator
from segdepth_training.specimens.changes import APART_A, extended, with_room
from segdepth_training.specimens.families import sites_for_benchmark
from segdepth_training.specimens.projection import project
from segdepth_training.specimens.specimen import Specimen, Stacks

MOVES_A = ((-2.0, 0.0), (2.0, 0.0), (0.0, -2.0), (0.0, 2.0))
"""Of the surface over the upright lattice: across one row of columns at least, whichever way a step runs."""


def paper(plan: Plan, index: int, specimen: Specimen) -> Hypotheses:
    """The surface of a plan's specimen as it is, thicker, thinner, and moved; the first candidate is the specimen."""
    period_A = project(plan.recipe.crystal).period_A
    count = specimen.columns[:, 2].astype(np.int64)
    here, *moves = [drawn(plan, index, by_A) for by_A in ((0.0, 0.0), *MOVES_A)]
    there = [one for one in moves if (one.number != count).any()]
    low, high = plan.recipe.specimens.atoms
    levels = [by for by in (-1, 1) if low <= count.min() + by and count.max() + by <= high]
    before = np.array([0 * count, *(0 * count for _ in levels), *(here.first - one.first for one in there)])
    atoms = np.array([count, *(count + by for by in levels), *(one.number for one in there)])
    after = atoms - count - before
    roomy = with_room(specimen, int(np.abs([before, after]).max()), period_A)
    candidates = [extended(roomy, *ends, period_A) for ends in zip(before, after, strict=True)]
    moved = np.arange(len(atoms)) > len(levels)
    still = np.flatnonzero((atoms[moved] == count).all(axis=0))
    questions = [question(still, atoms[:, still], ~moved, whole=True)] if len(still) else []
    each = steps(specimen.columns, atoms[moved], apart=specimen.kind == "stepped")
    questions += [question(columns, atoms[:, columns], moved) for columns in each]
    return Hypotheses(candidates, questions)


def drawn(plan: Plan, index: int, moved_A: tuple[float, float]) -> Stacks:
    """The columns of a specimen of `paper`, its surface moved."""
    numbers, recipe = generator(plan.purpose, plan.seed, index), plan.recipe
    found = sites_for_benchmark(numbers, project(recipe.crystal), recipe.specimens, "paper", moved_A=moved_A)
    return found.stacks.of(found.stacks.number > 0)


def steps(columns: NDArray[np.float32], atoms: NDArray[np.int64], *, apart: bool) -> list[NDArray[np.int64]]:
    """Indices of the columns that a move changes, `atoms` [moves, n] being those of each; step by step if `apart`."""
    changed = np.flatnonzero((atoms != columns[:, 2].astype(np.int64)).any(axis=0))
    if not apart or not len(changed):
        return [changed] if len(changed) else []
    near = cdist(columns[changed, :2], columns[changed, :2]) < APART_A
    number, group = connected_components(near, directed=False)
    return [changed[group == each] for each in range(number)]


def question(
    columns: NDArray[np.int64], atoms: NDArray[np.int64], among: NDArray[np.bool_], *, whole: bool = False
) -> Question:
    """Among the first candidate and some others, each different one as likely as any other."""
    weight = np.zeros(len(atoms))
    weight[0] = 1
    for number in np.flatnonzero(among[1:]) + 1:
        weight[number] = not (atoms[number] == atoms[weight > 0]).all(axis=1).any()
    return Question(columns, atoms, weight / weight.sum(), 0, whole)
