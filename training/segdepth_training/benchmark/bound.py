"""A Bayes bound for `perturbed`: what anyone could know of a column from one frame.

For a column, everything but its own number of atoms is taken as known: the imaging conditions, every other column, and
the surface, so that the family's own rule is the prior: unchanged with 0.9, else changed by one (0.7) or two atoms, to
either side. The likelihood is that of the expected images of the five candidates, each simulated like the specimen
itself, at the end where the family changes this column; of the camera's noise only the counting of electrons, which
cannot be undone. The most probable candidate is right most often of all answers: no network, which knows less, can be
right more often. That holds for changed and unchanged columns together: one that calls more columns changed finds more
of the changed ones than the bound does, and pays with the others.

Columns far from each other do not change each other's images: one simulation serves many of them.
"""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from segdepth_training.exit_waves import Plan
from segdepth_training.families import BY_ONE_SHARE, CHANGED_SHARE, FEWEST, MOST
from segdepth_training.figures import Figure, mean
from segdepth_training.imaging import expected, intensity
from segdepth_training.lattice import project
from segdepth_training.multislice import exit_wave
from segdepth_training.observation import conditions
from segdepth_training.scoring import BORDER_A
from segdepth_training.specimen import FAMILIES, Specimen

APART_A, REACH_A = 9.0, 4.5
"""Distance of the columns that are asked about at once, and around each the part of the image that is looked at."""

CANDIDATES = (-2, -1, 0, 1, 2)
"""Changes against the surface."""

DARKEST = 1e-6
"""Fewest electrons expected of a pixel."""

DRAWS = 16
"""Noisy images of each column and dose."""

ROW = np.dtype(
    [("specimen", "i4"), ("dose", "f8"), ("species", "i2"), ("change", "i2"), ("right", "f4"), ("mass", "f4")]
)
"""A column at a dose: the share of the draws in which the most probable candidate is the truth, and its posterior."""


def prior(before: int) -> NDArray[np.float64]:
    """Of each candidate for a column whose surface has `before` atoms, by the rule of `families.perturbation`."""
    weight = dict.fromkeys(CANDIDATES, 0.0)
    weight[0] = 1 - CHANGED_SHARE
    for size, share in ((1, BY_ONE_SHARE), (2, 1 - BY_ONE_SHARE)):
        for change in (-size, size):
            kept = change if FEWEST <= before + change <= MOST else -change
            weight[kept] += CHANGED_SHARE * share / 2
    return np.array([weight[change] for change in CANDIDATES])


def chosen(rng: np.random.Generator, specimen: Specimen, side_A: float) -> NDArray[np.int64]:
    """Columns to ask about, far apart: changed and unchanged ones in turn, as many as there is room for."""
    columns = specimen.columns
    order = rng.permutation(len(columns))
    changed = columns[order, 4] != 0
    turn = np.where(changed, np.cumsum(changed), np.cumsum(~changed))
    order = order[np.argsort(turn, kind="stable")]
    margin_A = BORDER_A + REACH_A
    taken: list[int] = []
    for index in order:
        x, y = columns[index, :2]
        near = taken and np.hypot(*(columns[taken, :2] - columns[index, :2]).T).min() < APART_A
        if not near and margin_A < min(x, y) and max(x, y) < side_A - margin_A:
            taken.append(int(index))
    return np.array(taken)


def with_change(specimen: Specimen, asked: NDArray[np.int64], change: int, period_A: float) -> Specimen:
    """The specimen with each asked column `change` atoms longer than its surface, at the end where changes are."""
    assert specimen.at_entrance is not None, "the benchmark's specimens know it"
    count = specimen.columns[:, 2].astype(int)
    stop = np.cumsum(count)
    start = stop - count
    positions, symbols = specimen.atoms.positions, np.array(specimen.atoms.get_chemical_symbols())
    keep, more, kinds = np.ones(len(positions), bool), [], []
    for column in asked:
        by = change - int(specimen.columns[column, 4])
        first = bool(specimen.at_entrance[column])
        end = positions[start[column]] if first else positions[stop[column] - 1]
        if by < 0:
            keep[start[column] : start[column] - by] &= not first
            keep[stop[column] + by : stop[column]] &= first
        step_A = -period_A if first else period_A
        more += [end + np.array([0, 0, step_A * (number + 1)]) for number in range(by)]
        kinds += [symbols[start[column]]] * max(0, by)
    atoms = Atoms(
        [*symbols[keep], *kinds],
        np.concatenate([positions[keep], np.array(more).reshape(-1, 3)]),
        cell=specimen.atoms.cell,
        pbc=True,
    )
    return dataclasses.replace(specimen, atoms=atoms)


def with_room(specimen: Specimen, period_A: float) -> Specimen:
    """The specimen with room for every candidate above and below.

    All candidates share one cell: in another the multislice method would cut all columns into other slices.
    """
    room_A = period_A * (max(CANDIDATES) - min(CANDIDATES))
    atoms = specimen.atoms.copy()
    atoms.positions[:, 2] += room_A
    atoms.cell[2, 2] += 2 * room_A
    return dataclasses.replace(specimen, atoms=atoms, lowest_A=specimen.lowest_A + room_A)


@dataclass(frozen=True)
class Bound:
    """The bound on the specimens of a benchmark's plan, at finite doses [e/Å²]."""

    plan: Plan
    doses: tuple[float, ...]

    def rows(
        self, specimens: int, folder: Path, progress: Callable[[int, int], None], pool: Executor
    ) -> NDArray[np.void]:
        """Of the first `specimens` perturbed specimens; those in `folder` are not computed again."""
        folder.mkdir(parents=True, exist_ok=True)
        indices = [FAMILIES.index("perturbed") + len(FAMILIES) * number for number in range(specimens)]
        paths = {index: folder / f"{index:05d}.npy" for index in indices}
        tasks = [pool.submit(self.keep, index, path) for index, path in paths.items() if not path.exists()]
        progress(specimens - len(tasks), specimens)
        for number, task in enumerate(as_completed(tasks)):
            task.result()
            progress(specimens - len(tasks) + number + 1, specimens)
        return np.concatenate([np.load(path) for path in paths.values()])

    def keep(self, index: int, path: Path) -> None:
        """Keep the rows of one specimen, whole or not at all."""
        partial = path.with_suffix(".partial.npy")
        np.save(partial, np.array(self._of(index), ROW))
        partial.replace(path)

    def _of(self, index: int) -> list[tuple[Any, ...]]:
        recipe = self.plan.recipe
        side_A, period_A = recipe.specimens.cell_A, project(recipe.crystal).period_A
        specimen = with_room(self.plan.specimen(index), period_A)
        rng = np.random.default_rng([index, 77])
        asked = chosen(rng, specimen, side_A)
        waves = np.stack(
            [
                exit_wave(with_change(specimen, asked, change, period_A), recipe.multislice, recipe.microscope)
                for change in CANDIDATES
            ]
        )
        rows = []
        for dose in self.doses:
            images = self._expected(torch.from_numpy(waves), index, dose)
            pixel_A = side_A / images.shape[-1]
            for column in asked:
                right, mass = self._judged(rng, images, specimen.columns[column], pixel_A)
                kind, change = specimen.columns[column, 3:5].astype(int)
                rows.append((index, dose, kind, change, right, mass))
        return rows

    def _expected(self, waves: Tensor, index: int, dose: float) -> NDArray[np.float64]:
        """Expected images of the candidates [electrons per pixel]."""
        view, optics, exposure, _ = conditions(self.plan, index, dose)
        side_A = self.plan.recipe.specimens.cell_A
        seen = intensity(waves, side_A, optics, self.plan.recipe.microscope)
        return expected(seen, side_A, round(side_A / view.pixel_A), exposure).double().numpy()

    def _judged(
        self, rng: np.random.Generator, images: NDArray[np.float64], column: NDArray[np.float32], pixel_A: float
    ) -> tuple[float, float]:
        """Share of the draws whose most probable candidate is the truth, and the mean posterior of that candidate."""
        x, y = column[:2] / pixel_A
        reach = REACH_A / pixel_A
        rows, columns = (np.arange(int(np.ceil(c - reach)), int(np.floor(c + reach)) + 1) for c in (y, x))
        disk = np.hypot(rows[:, None] - y, columns[None, :] - x) <= reach
        candidates = np.maximum(images[:, rows[:, None], columns[None, :]][:, disk], DARKEST)
        before, change = int(column[2] - column[4]), int(column[4])
        truth = CANDIDATES.index(change)
        counts = rng.poisson(candidates[truth], (DRAWS, candidates.shape[1]))
        with np.errstate(divide="ignore"):
            weight = counts @ np.log(candidates).T - candidates.sum(1) + np.log(prior(before))
        posterior = np.exp(weight - weight.max(1, keepdims=True))
        posterior /= posterior.sum(1, keepdims=True)
        best = posterior.argmax(1)
        return float((best == truth).mean()), float(posterior.max(1).mean())


def figures(rows: NDArray[np.void], species: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Bound by dose: of changed and unchanged columns and of both as the family mixes them, for each species."""
    found: dict[str, dict[str, Any]] = {}
    for dose in np.unique(rows["dose"]):
        for kind, name in enumerate(species):
            some = rows[(rows["dose"] == dose) & (rows["species"] == kind)]
            changed = some["change"] != 0
            right, mass = (
                [mean(some[figure][group], some["specimen"][group]) for group in (changed, ~changed)]
                for figure in ("right", "mass")
            )
            found.setdefault(f"{dose:g}", {})[name] = {
                "columns": len(some),
                "changed": vars(right[0]),
                "unchanged": vars(right[1]),
                "exact": mixed(*right),
                "stated": mixed(*mass),
            }
    return found


def mixed(changed: Figure, unchanged: Figure) -> float:
    """Of both as the family mixes them."""
    return CHANGED_SHARE * changed.value + (1 - CHANGED_SHARE) * unchanged.value
