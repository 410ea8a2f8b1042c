"""What a column's neighbours tell of its number of atoms: a prior learnt from specimens that a family draws.

A site's surroundings are the atoms of all columns within WITHIN_A, those of one species at one distance in order of
their number: which of them is to the left does not count. A small network learns from generated specimens what the
middle column then has; of sites where the family left a column out that they have none.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional as F

from segdepth_training.recipes.recipe import Recipe
from segdepth_training.recipes.seeds import SeedRange, generator
from segdepth_training.specimens.families import sites_for_benchmark
from segdepth_training.specimens.projection import Projection, project
from segdepth_training.specimens.specimen import Stacks

WITHIN_A = 6.0
"""How far neighbours are at most."""

SAME_A = 0.2
"""Columns whose distances differ by less are equally far."""

FARTHEST = 6
"""By how many atoms a column differs from the mean of its nearest equals at most, as far as the prior knows."""

SPECIMENS, SEED = 300, 11
"""That are learnt from; of the validation range, so that none is the benchmark's."""

HIDDEN, EPOCHS, BATCH = 64, 12, 256
UNSEEN = 1e-5
"""Belief in every number of atoms: what was not drawn may still be."""


class Ring(NamedTuple):
    """Equal neighbours of a site: how far, of which species, and how many there are in a perfect crystal."""

    distance_A: float
    species: int
    number: int


def rings(projection: Projection, species: int) -> list[Ring]:
    """The neighbours of a site of a species within WITHIN_A, its own species and the nearest first."""
    columns = projection.columns(WITHIN_A + 2 * max(projection.cell_A))
    own = columns[columns[:, 3] == species]
    middle = own[np.hypot(own[:, 0], own[:, 1]).argmin()]
    found: list[Ring] = []
    for kind in sorted(range(len(projection.elements)), key=lambda kind: kind != species):
        those = columns[columns[:, 3] == kind]
        far_A = np.round(np.hypot(those[:, 0] - middle[0], those[:, 1] - middle[1]), 2)
        distances_A, numbers = np.unique(far_A[(far_A > SAME_A) & (far_A < WITHIN_A)], return_counts=True)
        found += [Ring(*pair) for pair in zip(distances_A, [kind] * len(numbers), numbers.tolist(), strict=True)]
    return found


class Sites(NamedTuple):
    """Sites of one species: atoms [n] (none where the family left a column out), surroundings [n, m]."""

    atoms: NDArray[np.int64]
    around: NDArray[np.float32]


def sites(stacks: Stacks, species: int, side_A: float, projection: Projection) -> Sites:
    """Those of a species whose surroundings are all inside the cell, and not all empty."""
    xy_A = stacks.sites[:, :2] + side_A / 2
    columns = np.column_stack([xy_A, stacks.number, stacks.sites[:, 3]]).astype(np.float32)
    inside = (np.abs(xy_A - side_A / 2) < side_A / 2 - WITHIN_A).all(axis=1)
    own = np.flatnonzero(inside & (stacks.sites[:, 3] == species))
    around = surroundings(xy_A[own], columns, rings(projection, species))
    some = around.any(axis=1)
    return Sites(stacks.number[own[some]], around[some])


def surroundings(xy_A: NDArray[np.float64], columns: NDArray[np.float32], around: list[Ring]) -> NDArray[np.float32]:
    """Atoms of the columns [n, 5] around positions [m, 2], ring by ring, most first; where one is missing, none."""
    most = sum(ring.number for ring in around) + 1
    distance_A, index = cKDTree(columns[:, :2]).query(xy_A, k=most, distance_upper_bound=WITHIN_A + SAME_A)
    nobody = np.zeros((1, columns.shape[1]), np.float32)
    near = np.concatenate([columns, nobody])[index]  # The tree's index of nothing is n.
    parts = []
    for ring in around:
        there = (np.abs(distance_A - ring.distance_A) < SAME_A) & (near[..., 3] == ring.species)
        parts.append(-np.sort(-np.where(there, near[..., 2], 0.0), axis=1)[:, : ring.number])
    return np.concatenate(parts, axis=1).astype(np.float32)


class Belief(nn.Module):
    """Surroundings [n, m] -> log odds of FARTHEST atoms fewer to FARTHEST more than the nearest equals' mean."""

    def __init__(self, nearest: int, neighbours: int):
        super().__init__()
        self.nearest = nearest
        widths = (neighbours + 1, HIDDEN, HIDDEN)
        layers = [layer for i in (0, 1) for layer in (nn.Linear(widths[i], widths[i + 1]), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(HIDDEN, 2 * FARTHEST + 1))

    def base(self, around: Tensor) -> Tensor:
        """Mean of the nearest equals, in whole atoms [n]."""
        return around[:, : self.nearest].mean(1).round()

    def forward(self, around: Tensor) -> Tensor:
        """[n, 2 FARTHEST + 1]."""
        base = self.base(around)[:, None]
        odds: Tensor = self.layers(torch.cat([around - base, base], dim=1) / 4)
        return odds


@dataclass(frozen=True)
class Neighbours:
    """What surroundings tell, of each species."""

    beliefs: tuple[Belief, ...]

    @torch.no_grad()
    def prior(self, species: int, around: NDArray[np.float32], atoms: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of numbers of atoms [S] in surroundings [m]; none is negative."""
        belief, one = self.beliefs[species], torch.from_numpy(around)[None]
        known = torch.softmax(belief(one)[0].double(), 0).numpy() + UNSEEN
        offset = atoms - int(belief.base(one))
        inside = (np.abs(offset) <= FARTHEST) & (atoms >= 0)
        weight = np.where(inside, known[np.clip(offset + FARTHEST, 0, 2 * FARTHEST)], UNSEEN * (atoms >= 0))
        return np.asarray(weight / weight.sum())


def learnt(recipe: Recipe, family: str) -> Neighbours:
    """From specimens as the benchmark draws them, but none of its own."""
    projection, limits = project(recipe.crystal), recipe.specimens
    drawn = [
        sites_for_benchmark(generator(SeedRange.VALIDATION, SEED, index), projection, limits, family).stacks
        for index in range(SPECIMENS)
    ]
    beliefs = []
    for species in range(len(projection.elements)):
        some = [sites(each, species, limits.cell_A, projection) for each in drawn]
        around, atoms = (np.concatenate(part) for part in ([one.around for one in some], [one.atoms for one in some]))
        nearest = rings(projection, species)[0].number
        beliefs.append(trained(torch.from_numpy(around), torch.from_numpy(atoms), nearest))
    return Neighbours(tuple(beliefs))


def trained(around: Tensor, atoms: Tensor, nearest: int) -> Belief:
    """The network of one species, seeded."""
    torch.manual_seed(0)
    belief = Belief(nearest, around.shape[1])
    target = (atoms - belief.base(around)).long().clamp(-FARTHEST, FARTHEST) + FARTHEST
    steps = EPOCHS * -(-len(target) // BATCH)
    optimizer = torch.optim.AdamW(belief.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(target)).split(BATCH):
            loss = F.cross_entropy(belief(around[some]), target[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return belief.eval()
