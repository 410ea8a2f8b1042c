"""What tracking needs of a model: the prior of its counts, and how alike its errors are in all frames of a movie."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from segdepth_artefacts.manifest import Manifest, Pooling
from segdepth_core.prediction import Prediction
from segdepth_core.predictor import Predictor
from segdepth_core.scoring import BORDER_A, inside
from segdepth_protos.contract import CLASSES
from segdepth_protos.matching import MATCH_A, match
from segdepth_protos.pooling import FOUND_SHARE, SMALLEST, pooled
from segdepth_training.fitting import model
from segdepth_training.frames.exit_waves import ExitWaves, Plan
from segdepth_training.frames.observation import Observation, movie
from segdepth_training.specimens.specimen import FAMILIES

DOSES = (100.0, 500.0, 2000.0)
"""e/Å² of a frame."""

FRAMES = 6
"""Of each movie."""

MOVIES = 10
"""Of each family."""

HOP = 0.02
"""Share of columns that change during a movie, for clients of before tracking: nothing else reads it."""


class Watched(NamedTuple):
    """True columns found in a movie: posteriors [F, N, K] (NaN where missed), true class [N], species index [N].

    dose: of each answered frame, as measured [e/Å²]; mean: summed posterior [S, K] of all found columns, also of those
    that are nobody's, by the species answered.
    """

    posteriors: NDArray[np.float64]
    true: NDArray[np.int64]
    species: NDArray[np.int64]
    dose: list[float]
    mean: NDArray[np.float64]


def posteriors_of(observation: Observation, answer: Prediction) -> NDArray[np.float64]:
    """Posterior of each true column in one answer [n, K]; NaN where it was not found."""
    columns, true = answer.columns, observation.columns[:, :2]
    index = match(true, columns.xy_px, MATCH_A / observation.sampling_A)
    posterior = np.full((len(true), CLASSES), np.nan)
    posterior[index >= 0] = columns.probabilities[index[index >= 0]]
    return posterior


def watch(predictor: Predictor, frames: list[Observation], species: int) -> Watched:
    """What the model says of the true columns of a movie, in the frames as they come."""
    first = frames[0]
    shape, sampling_A = first.frame.shape, first.sampling_A
    posteriors, mean = np.full((len(frames), len(first.columns), CLASSES), np.nan), np.zeros((species, CLASSES))
    answers = predictor.predict([f.frame for f in frames], [sampling_A] * len(frames))
    for number, answer in enumerate(answers):
        posteriors[number] = posteriors_of(first, answer)
        columns = answer.columns
        counted = inside(columns.xy_px, shape, BORDER_A / sampling_A)
        np.add.at(mean, columns.species[counted].astype(int) - 1, columns.probabilities[counted])
    kept = inside(first.columns[:, :2], shape, BORDER_A / sampling_A)
    kept &= np.isfinite(posteriors[..., 0]).sum(axis=0) >= FOUND_SHARE * len(frames)
    true = np.minimum(first.columns[kept, 2], CLASSES - 1).astype(np.int64)
    dose = [answer.dose for answer in answers if len(answer.columns)]
    return Watched(posteriors[:, kept], true, first.columns[kept, 3].astype(np.int64), dose, mean)


def movies(waves: ExitWaves, plan: Plan) -> Iterator[tuple[float, list[Observation]]]:
    """Dose and frames of the first specimens of every family."""
    for index in range(min(len(waves), MOVIES * len(FAMILIES))):
        for dose in DOSES:
            yield dose, movie(waves, plan, index, dose, FRAMES)


def prior_of(parts: list[Watched]) -> tuple[tuple[float, ...], ...]:
    """Probability of each class among found columns of each species: the mean of their posteriors.

    For calibrated posteriors that is how often a class is true (law of total probability), no column among them, and no
    class is without any.
    """
    total = np.sum([part.mean for part in parts], axis=0) + SMALLEST
    return tuple(tuple(float(share) for share in np.round(row / row.sum(), 6)) for row in total)


def correlation(parts: list[Watched], prior: NDArray[np.float64]) -> float:
    """The correlation of least negative log likelihood of the truth, columns of all movies together."""

    def loss(value: float) -> float:
        total, number = 0.0, 0
        for part in parts:
            said = pooled(part.posteriors, prior[part.species], value).posterior
            total -= float(np.log(said[np.arange(len(part.true)), part.true].clip(1e-9)).sum())
            number += len(part.true)
        return total / number

    return float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-3}).x)


def fitted(seen: list[list[Watched]], species: int) -> Pooling:
    """The numbers of movies that were seen at several doses, a list for each."""
    groups = [parts for parts in seen if parts]
    if not groups:  # A model that finds nothing in any movie learns nothing from more frames.
        flat = (1 / CLASSES,) * CLASSES
        return Pooling(prior=(flat,) * species, dose=DOSES, correlation=(1.0,) * len(DOSES), hop=HOP)
    prior = prior_of([part for parts in groups for part in parts])
    nodes = {}
    for parts in groups:
        dose = float(np.exp(np.mean([np.log(dose) for part in parts for dose in part.dose])))
        nodes[dose] = round(correlation(parts, np.array(prior)), 4)
    # Clients look up the dose that they measure, not the one stated.
    return Pooling(prior=prior, dose=tuple(sorted(nodes)), correlation=tuple(nodes[d] for d in sorted(nodes)), hop=HOP)


def fit_pooling(folder: Path, waves: ExitWaves, plan: Plan, progress: Callable[[int, int], None]) -> Manifest:
    """Fit prior and correlation of the calibrated model in `folder` on held-out movies, and write its manifest."""
    manifest = model.read(folder)
    predictor = Predictor.load(folder, device="cpu", engine="torch-fp32", evaluated=False)
    species = len(plan.recipe.crystal.elements)
    seen: dict[float, list[Watched]] = {dose: [] for dose in DOSES}
    total = min(len(waves), MOVIES * len(FAMILIES)) * len(DOSES)
    for number, (dose, frames) in enumerate(movies(waves, plan)):
        watched = watch(predictor, frames, species)
        if len(watched.true):
            seen[dose].append(watched)
        progress(number + 1, total)
    manifest = manifest.model_copy(update={"pooling": fitted(list(seen.values()), species)})
    model.write(folder, manifest)
    return manifest
