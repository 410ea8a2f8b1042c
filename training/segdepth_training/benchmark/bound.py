"""A Bayes bound: what anyone could know of the columns from one frame.

The imaging conditions are taken as known, and everything but what each family leaves open (see `candidates`):

- `perturbed`: one column at a time; all others and the surface are known, so that the family's own rule is the prior:
  unchanged with 0.9, else changed by one (0.7) or two atoms, to either side.
- `particle`: one column at a time; all others are known. The prior is what columns among such neighbours have in
  specimens that the family draws (see `neighbours`). Of the shape no more is used than that: who recognised the
  polyhedron from afar could know more.
- `paper`: the whole surface, all columns together, against surfaces an atom thicker or thinner and surfaces moved by a
  cell's side: nearest of those that the family could have drawn. A step that is moved alone is not among them.

The likelihood is that of the expected images of the candidates, each simulated like the specimen itself; of the
camera's noise only the counting of electrons, which cannot be undone. The most probable count is right most often of
all answers: no network, which knows less, can be right more often. That holds for changed and unchanged columns
together: one that calls more columns changed finds more of the changed ones than the bound does, and pays with the
others.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segdepth_inference.calibration import interval
from segdepth_protos.contract import CLASSES
from segdepth_training.benchmark.candidates import REACH_A, Asked, Question, paper, particle, perturbed
from segdepth_training.benchmark.neighbours import known_neighbours
from segdepth_training.exit_waves import Plan
from segdepth_training.families import CHANGED_SHARE
from segdepth_training.figures import Figure, mean
from segdepth_training.imaging import expected, intensity
from segdepth_training.lattice import project
from segdepth_training.multislice import exit_wave
from segdepth_training.observation import conditions
from segdepth_training.specimen import FAMILIES

RULES = 1
"""Counts up whenever the same specimen gives other rows: those kept before are not used again."""

DARKEST = 1e-6
"""Fewest electrons expected of a pixel."""

DRAWS = 16
"""Noisy images of each question and dose."""

ROW = np.dtype(
    [
        *(("specimen", "i4"), ("family", "U10"), ("dose", "f8"), ("species", "i2"), ("atoms", "i2"), ("change", "i2")),
        *(("right", "f4"), ("mass", "f4"), ("width", "f4"), ("found", "f4")),
    ]
)
"""A column at a dose; means over the draws of: whether the most probable count is the truth, its posterior, the classes
in the 90 % interval, and whether the most probable count is any atoms at all."""


@dataclass(frozen=True)
class Bound:
    """The bound on the specimens of a benchmark's plan, at finite doses [e/Å²]."""

    plan: Plan
    doses: tuple[float, ...]

    def rows(
        self, specimens: int, folder: Path, progress: Callable[[int, int], None], pool: Executor
    ) -> NDArray[np.void]:
        """Of the first `specimens` specimens of each family; those in `folder` are not computed again."""
        folder.mkdir(parents=True, exist_ok=True)
        total = specimens * len(FAMILIES)
        paths = {index: folder / f"{index:05d}.npy" for index in range(total)}
        tasks = [pool.submit(self.keep, index, path) for index, path in paths.items() if not path.exists()]
        progress(total - len(tasks), total)
        for number, task in enumerate(as_completed(tasks)):
            task.result()
            progress(total - len(tasks) + number + 1, total)
        return np.concatenate([np.load(path) for path in paths.values()])

    def keep(self, index: int, path: Path) -> None:
        """Keep the rows of one specimen, whole or not at all."""
        partial = path.with_suffix(".partial.npy")
        np.save(partial, np.array(self._of(index), ROW))
        partial.replace(path)

    def _of(self, index: int) -> list[tuple[Any, ...]]:
        recipe, columns = self.plan.recipe, self.plan.specimen(index).columns
        rng = np.random.default_rng([index, 77])
        asked = self._asked(rng, index)
        waves = torch.from_numpy(
            np.stack([exit_wave(one, recipe.multislice, recipe.microscope) for one in asked.candidates])
        )
        family, rows = FAMILIES[index % len(FAMILIES)], []
        for dose in self.doses:
            images = self._expected(waves, index, dose)
            for question in asked.questions:
                weight = log_posterior(rng, images, question, columns, recipe.specimens.cell_A)
                for column, figures in zip(question.columns, answered(weight, question), strict=True):
                    count, species, change = columns[column, 2:5].astype(int)
                    rows.append((index, family, dose, species, count, change, *figures))
        return rows

    def _asked(self, rng: np.random.Generator, index: int) -> Asked:
        recipe, specimen = self.plan.recipe, self.plan.specimen(index)
        side_A, projection = recipe.specimens.cell_A, project(recipe.crystal)
        if specimen.family == "paper":
            return paper(specimen, side_A, projection, recipe.specimens)
        if specimen.family == "perturbed":
            return perturbed(rng, specimen, side_A, projection)
        known = known_neighbours(recipe.model_dump_json(), specimen.family)
        return particle(rng, specimen, side_A, projection, known)

    def _expected(self, waves: Tensor, index: int, dose: float) -> NDArray[np.float64]:
        """Expected images of the candidates [electrons per pixel]."""
        view, optics, exposure, _ = conditions(self.plan, index, dose)
        side_A = self.plan.recipe.specimens.cell_A
        seen = intensity(waves, side_A, optics, self.plan.recipe.microscope)
        return expected(seen, side_A, round(side_A / view.pixel_A), exposure).double().numpy()


def log_posterior(
    rng: np.random.Generator,
    images: NDArray[np.float64],
    question: Question,
    columns: NDArray[np.float32],
    side_A: float,
) -> NDArray[np.float64]:
    """Of each candidate in DRAWS noisy images of the true one, but for a constant of each image [DRAWS, S]."""
    if question.whole:
        candidates = images.reshape(len(images), -1)
    else:
        pixel_A = side_A / images.shape[-1]
        x, y = columns[question.columns[0], :2] / pixel_A
        reach = REACH_A / pixel_A
        down, across = (np.arange(int(np.ceil(c - reach)), int(np.floor(c + reach)) + 1) for c in (y, x))
        disk = np.hypot(down[:, None] - y, across[None, :] - x) <= reach
        candidates = images[:, down[:, None], across[None, :]][:, disk]
    candidates = np.maximum(candidates, DARKEST)
    logs, sums = np.log(candidates), candidates.sum(1)
    found = np.empty((DRAWS, len(images)))
    for draw in range(DRAWS):
        counted = rng.poisson(candidates[question.truth])
        found[draw] = logs @ counted - sums
    with np.errstate(divide="ignore"):
        return found + np.log(question.prior)


def answered(weight: NDArray[np.float64], question: Question) -> NDArray[np.float64]:
    """From the candidates' log posterior [DRAWS, S], for each column: right, mass, width, found [n, 4] (see ROW)."""
    posterior = np.exp(weight - weight.max(1, keepdims=True))
    posterior /= posterior.sum(1, keepdims=True)
    classes = np.minimum(question.atoms, CLASSES - 1)
    of_class = np.eye(CLASSES)[classes]
    belief = np.einsum("ds,snk->dnk", posterior, of_class)
    best = belief.argmax(-1)
    first, last = interval(torch.from_numpy(belief.reshape(-1, CLASSES)))
    width = (last - first + 1).numpy().reshape(best.shape)
    figures = [best == classes[question.truth], belief.max(-1), width, best > 0]
    return np.stack([np.asarray(figure, float).mean(0) for figure in figures], axis=1)


def figures(rows: NDArray[np.void], species: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Bound as found[family][dose][species], all species together as "all".

    Of `perturbed` also that of changed and of unchanged columns; together they are as the family mixes them.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for family in FAMILIES:
        for dose in np.unique(rows["dose"]):
            some = rows[(rows["family"] == family) & (rows["dose"] == dose)]
            kinds = {"all": some} | {name: some[some["species"] == kind] for kind, name in enumerate(species)}
            of_kind = {name: _of_kind(each, family) for name, each in kinds.items() if len(each)}
            found.setdefault(family, {})[f"{dose:g}"] = of_kind
    return found


def _of_kind(rows: NDArray[np.void], family: str) -> dict[str, Any]:
    names = {"exact": "right", "stated": "mass", "width": "width"}
    if family != "perturbed":
        few = rows[rows["atoms"] < 3]
        kept = {name: vars(mean(rows[field], rows["specimen"])) for name, field in names.items()}
        return {"columns": len(rows), **kept, "recall_to_2": vars(mean(few["found"], few["specimen"]))}
    changed = rows["change"] != 0
    parts = {
        name: [mean(rows[field][group], rows["specimen"][group]) for group in (changed, ~changed)]
        for name, field in names.items()
    }
    of_each = {"changed": vars(parts["exact"][0]), "unchanged": vars(parts["exact"][1])}
    return {"columns": len(rows), **{name: vars(mixed(*both)) for name, both in parts.items()}, **of_each}


def mixed(changed: Figure, unchanged: Figure) -> Figure:
    """Of both as the family mixes them; the interval is the widest that theirs allow."""
    shares = (CHANGED_SHARE, 1 - CHANGED_SHARE)
    both = zip(*((part.value, part.low, part.high) for part in (changed, unchanged)), strict=True)
    return Figure(*(float(np.dot(shares, pair)) for pair in both))
