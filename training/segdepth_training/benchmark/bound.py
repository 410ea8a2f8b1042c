"""A Bayes bound: what anyone could know of the columns from one frame.

The imaging conditions are taken as known, and everything but what each family leaves open (see `candidates`):

- `perturbed`: one column at a time; all others and the surface are known, so that the family's own rule is the prior:
  unchanged with 0.9, else changed by one (0.7) or two atoms, to either side.
- `particle`: one column at a time; all others are known. The prior is what sites with such neighbours have in specimens
  that the family draws, none at all included (see `neighbours`); columns alone are asked about, not empty sites. Of the
  shape no more is used than the neighbours: who recognised the polyhedron from afar could know more.
- `paper`: the surface, all columns of a frame together, among surfaces that the family could as well have drawn: an
  atom thicker or thinner, and each step or all teeth a row of columns further (see `terraces`). The family draws many
  more; who must choose among those, too, is right less often.

The likelihood is that of the expected images of the candidates, each simulated like the specimen itself; of the
camera's noise only the counting of electrons, which cannot be undone. The most probable count is right most often of
all answers: no network, which knows less, can be right more often. That holds for all columns together: one that calls
more columns changed finds more of the changed ones than the bound does, and pays with the others; as does one that
finds a column at every site, in recall.
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

from segdepth_core.scoring import BORDER_A, inside
from segdepth_protos.contract import CLASSES
from segdepth_protos.count_interval import count_interval
from segdepth_training.benchmark.candidates import Hypotheses, Question, particle, perturbed
from segdepth_training.benchmark.neighbours import Neighbours, learnt
from segdepth_training.benchmark.terraces import paper
from segdepth_training.frames.exit_waves import Plan
from segdepth_training.frames.imaging import expected, intensity
from segdepth_training.frames.multislice import exit_wave
from segdepth_training.frames.observation import conditions
from segdepth_training.judging.figures import Figure, mean
from segdepth_training.specimens.changes import REACH_A
from segdepth_training.specimens.families import CHANGED_SHARE
from segdepth_training.specimens.projection import project
from segdepth_training.specimens.specimen import FAMILIES, Specimen

RULES = 3
"""Counts up whenever the same specimen gives other rows: those kept before are not used again."""

DARKEST = 1e-6
"""Fewest electrons expected of a pixel."""

DRAWS, OF_PAPER = 16, 4
"""Noisy images of each question and dose; those of `paper` are of whole frames, and decide many columns."""

ROW = np.dtype(
    [
        *(("specimen", "i4"), ("family", "U10"), ("dose", "f8"), ("species", "i2"), ("atoms", "i2"), ("change", "i2")),
        *(("right", "f4"), ("mass", "f4"), ("width", "f4"), ("found", "f4")),
    ]
)
"""A column at a dose; means over the draws of: whether the most probable count is the truth, its posterior, the classes
in the 90 % interval, all three given that there is a column; and whether a column is more probable than none."""


@dataclass(frozen=True)
class Bound:
    """The bound on the specimens of a benchmark's plan, at finite doses [e/Å²]."""

    plan: Plan
    doses: tuple[float, ...]

    def rows(
        self, specimens: int, folder: Path, progress: Callable[[int, int], None], pool: Executor
    ) -> NDArray[np.void]:
        """Of the first `specimens` specimens of each family, a third as many of `paper`, with all their columns.

        Those in `folder` are not computed again.
        """
        folder.mkdir(parents=True, exist_ok=True)
        few, of_family = -(-specimens // 3) * len(FAMILIES), enumerate(FAMILIES * specimens)
        which = [index for index, family in of_family if family != "paper" or index < few]
        paths = {index: folder / f"{index:05d}.npy" for index in which}
        missing = [index for index, path in paths.items() if not path.exists()]
        known = learnt(self.plan.recipe, "particle") if missing else None
        tasks = [pool.submit(self.keep, index, paths[index], known) for index in missing]
        progress(len(paths) - len(tasks), len(paths))
        for number, task in enumerate(as_completed(tasks)):
            task.result()
            progress(len(paths) - len(tasks) + number + 1, len(paths))
        return np.concatenate([np.load(path) for path in paths.values()])

    def keep(self, index: int, path: Path, known: Neighbours | None) -> None:
        """Keep the rows of one specimen, whole or not at all."""
        partial = path.with_suffix(".partial.npy")
        np.save(partial, np.array(self._of(index, known), ROW))
        partial.replace(path)

    def _of(self, index: int, known: Neighbours | None) -> list[tuple[Any, ...]]:
        recipe, specimen = self.plan.recipe, self.plan.specimen(index)
        rng = np.random.default_rng([index, 77])
        hypotheses = self._hypotheses(rng, index, specimen, known)
        waves = torch.from_numpy(
            np.stack([exit_wave(one, recipe.multislice, recipe.microscope) for one in hypotheses.candidates])
        )
        draws, rows = OF_PAPER if specimen.family == "paper" else DRAWS, []
        for dose in self.doses:
            images = self._images(waves, index, dose, framed=specimen.family == "paper")
            xy_px = images.xy_px(specimen.columns)
            counted = inside(xy_px, images.electrons.shape[1:], BORDER_A / images.pixel_A)
            for question in hypotheses.questions:
                if not counted[question.columns].any():
                    continue
                figures = answered(log_posterior(rng, images, question, xy_px, draws), question)
                for column, of_column in zip(question.columns, figures, strict=True):
                    if counted[column]:
                        count, species, change = specimen.columns[column, 2:5].astype(int)
                        rows.append((index, specimen.family, dose, species, count, change, *of_column))
        return rows

    def _hypotheses(
        self, rng: np.random.Generator, index: int, specimen: Specimen, known: Neighbours | None
    ) -> Hypotheses:
        recipe = self.plan.recipe
        side_A, projection = recipe.specimens.cell_A, project(recipe.crystal)
        if specimen.family == "paper":
            return paper(self.plan, index, specimen)
        if specimen.family == "perturbed":
            return perturbed(rng, specimen, side_A, projection)
        assert known is not None, "the prior of particle"
        return particle(rng, specimen, side_A, projection, known)

    def _images(self, waves: Tensor, index: int, dose: float, *, framed: bool) -> "Images":
        """Of the candidates: what the camera sees, or the whole cell."""
        view, optics, exposure, _ = conditions(self.plan, index, dose)
        side_A = self.plan.recipe.specimens.cell_A
        seen = intensity(waves, side_A, optics, self.plan.recipe.microscope)
        electrons = expected(seen, side_A, round(side_A / view.pixel_A), exposure).double().numpy()
        y, x = view.origin if framed else (0, 0)
        size = view.size if framed else electrons.shape[-1]
        return Images(electrons[:, y : y + size, x : x + size], view.pixel_A, (y, x))


@dataclass(frozen=True)
class Images:
    """Expected images of the candidates [S, H, W] in electrons per pixel; origin: (y, x) of their first pixel."""

    electrons: NDArray[np.float64]
    pixel_A: float
    origin: tuple[int, int]

    def xy_px(self, columns: NDArray[np.float32]) -> NDArray[np.float64]:
        """Where columns [n, 5] are."""
        return np.asarray(columns[:, :2] / self.pixel_A - np.array(self.origin[::-1]), np.float64)

    def near(self, xy_px: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Pixels [H, W] within REACH_A of any of some positions."""
        shape, reach = self.electrons.shape[1:], REACH_A / self.pixel_A
        shown = np.zeros(shape, bool)
        for x, y in xy_px:
            down, across = (
                np.arange(max(0, int(np.ceil(at - reach))), min(size, int(np.floor(at + reach)) + 1))
                for at, size in zip((y, x), shape, strict=True)
            )
            if len(down) and len(across):
                disk = np.hypot(down[:, None] - y, across[None, :] - x) <= reach
                shown[down[0] : down[-1] + 1, across[0] : across[-1] + 1] |= disk
        return shown


def log_posterior(
    rng: np.random.Generator, images: Images, question: Question, xy_px: NDArray[np.float64], draws: int
) -> NDArray[np.float64]:
    """Of each candidate in noisy images of the true one, but for a constant of each image [draws, S]."""
    shown = np.ones(images.electrons.shape[1:], bool) if question.whole else images.near(xy_px[question.columns])
    possible = np.flatnonzero(question.prior)
    candidates = np.maximum(images.electrons[possible][:, shown], DARKEST)
    logs, sums = np.log(candidates), candidates.sum(1)
    found = np.full((draws, len(question.prior)), -np.inf)
    (truth,) = np.flatnonzero(possible == question.truth)
    for draw in range(draws):
        counted = rng.poisson(candidates[truth])
        found[draw, possible] = logs @ counted - sums + np.log(question.prior[possible])
    return found


def answered(weight: NDArray[np.float64], question: Question) -> NDArray[np.float64]:
    """From the candidates' log posterior [draws, S], for each column: right, mass, width, found [n, 4] (see ROW)."""
    posterior = np.exp(weight - weight.max(1, keepdims=True))
    posterior /= posterior.sum(1, keepdims=True)
    classes = np.minimum(question.atoms, CLASSES - 1)
    of_class = np.eye(CLASSES)[classes]
    belief = np.einsum("ds,snk->dnk", posterior, of_class)
    found = belief.argmax(-1) > 0
    # Counts are scored at columns: none is no answer there.
    belief[..., 0] = 0
    belief /= np.maximum(belief.sum(-1, keepdims=True), np.finfo(float).tiny)
    best = belief.argmax(-1)
    first, last = count_interval(belief.reshape(-1, CLASSES))
    width = (last - first + 1).reshape(best.shape)
    figures = [best == classes[question.truth], belief.max(-1), width, found]
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
        kept = {name: vars(mean(rows[field], rows["specimen"])) for name, field in names.items()}
        by_atoms = {"recall_to_2": rows[rows["atoms"] < 3], "recall_from_3": rows[rows["atoms"] >= 3]}
        recall = {name: vars(mean(some["found"], some["specimen"])) for name, some in by_atoms.items()}
        return {"columns": len(rows), **kept, **recall}
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
