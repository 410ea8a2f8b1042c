"""What a model's clients need to pool a movie: the prior of its counts, and how alike its errors are in every frame."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from segdepth_artefacts.manifest import Manifest, Pooling
from segdepth_inference.comparison import MATCH_A
from segdepth_inference.predictor import Predictor
from segdepth_protos.contract import CLASSES
from segdepth_protos.pooling import pooled
from segdepth_training import model
from segdepth_training.exit_waves import ExitWaves, Plan
from segdepth_training.observation import Observation, movie
from segdepth_training.scoring import BORDER_A, inside, match
from segdepth_training.specimen import FAMILIES

DOSES = (100.0, 500.0, 2000.0)
"""e/Å² of a frame."""

FRAMES = 6
"""Of each movie."""

MOVIES = 10
"""Of each family."""

HOP = 0.02
"""Columns that change during a movie, before it is seen: few, so that only frames that contradict each other say so."""

SMOOTHING = 1.0
"""Columns of each class that are added to those counted."""


class Watched(NamedTuple):
    """Columns found in every frame of a movie: posteriors [F, N, K], true class [N], species index [N]."""

    posteriors: NDArray[np.float64]
    true: NDArray[np.int64]
    species: NDArray[np.int64]


def watch(predictor: Predictor, frames: list[Observation]) -> Watched:
    """What the model says of the true columns of a movie, in the frames as they come."""
    first = frames[0]
    shape, reach = first.frame.shape, MATCH_A / first.sampling_A
    kept = inside(first.columns[:, :2], shape, BORDER_A / first.sampling_A)
    posteriors = np.full((len(frames), len(first.columns), CLASSES), np.nan)
    for number, answer in enumerate(predictor.predict([f.frame for f in frames], [first.sampling_A] * len(frames))):
        columns = answer.columns
        index = match(first.columns[:, :2], np.column_stack([columns.x_px, columns.y_px]), reach)
        posteriors[number, index >= 0] = columns.probabilities[index[index >= 0]]
    kept &= np.isfinite(posteriors).all(axis=(0, 2))
    true = np.minimum(first.columns[kept, 2], CLASSES - 1).astype(np.int64)
    return Watched(posteriors[:, kept], true, first.columns[kept, 3].astype(np.int64))


def movies(waves: ExitWaves, plan: Plan) -> Iterator[tuple[float, list[Observation]]]:
    """Dose and frames of the first specimens of every family."""
    for index in range(min(len(waves), MOVIES * len(FAMILIES))):
        for dose in DOSES:
            yield dose, movie(waves, plan, index, dose, FRAMES)


def prior_of(counts: NDArray[np.int64]) -> tuple[float, ...]:
    """Probability of each class among columns of these counts."""
    number = np.bincount(counts, minlength=CLASSES) + SMOOTHING
    return tuple(float(share) for share in np.round(number / number.sum(), 6))


def correlation(parts: list[Watched], prior: NDArray[np.float64]) -> float:
    """The correlation of least negative log likelihood of the truth, columns of all movies together."""

    def loss(value: float) -> float:
        total, number = 0.0, 0
        for part in parts:
            said = pooled(part.posteriors, prior[part.species], value, 0.0).posterior
            total -= float(np.log(said[np.arange(len(part.true)), part.true].clip(1e-9)).sum())
            number += len(part.true)
        return total / number

    return float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-3}).x)


def fit_pooling(folder: Path, waves: ExitWaves, plan: Plan, progress: Callable[[int, int], None]) -> Manifest:
    """Fit prior and correlation of the calibrated model in `folder` on held-out movies, and write its manifest."""
    manifest = model.read(folder)
    predictor = Predictor.load(folder, device="cpu", engine="torch-fp32", evaluated=False)
    everything = waves.columns[torch.isfinite(waves.columns[..., 0])].numpy()
    counts, kind = np.minimum(everything[:, 2], CLASSES - 1).astype(np.int64), everything[:, 3]
    prior = tuple(prior_of(counts[kind == number]) for number in range(len(plan.recipe.crystal.elements)))
    seen: dict[float, list[Watched]] = {dose: [] for dose in DOSES}
    total = min(len(waves), MOVIES * len(FAMILIES)) * len(DOSES)
    for number, (dose, frames) in enumerate(movies(waves, plan)):
        watched = watch(predictor, frames)
        if len(watched.true):
            seen[dose].append(watched)
        progress(number + 1, total)
    # A model that finds nothing in any movie learns nothing from more frames.
    found = tuple(round(correlation(parts, np.array(prior)), 4) if parts else 1.0 for parts in seen.values())
    manifest = manifest.model_copy(update={"pooling": Pooling(prior=prior, dose=DOSES, correlation=found, hop=HOP)})
    model.write(folder, manifest)
    return manifest
