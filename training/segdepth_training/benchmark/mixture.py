"""Baseline: a Gaussian mixture on column intensities, as StatSTEM counts atoms in ADF-STEM images.

Van Aert et al., Phys. Rev. B 87, 064107 (2013), for the method. It is given the true positions and species of all
columns. What a component's mean intensity means in atoms a library of simulated columns says, seen under all conditions
that the recipe draws, since a frame does not tell its own.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from sklearn.mixture import GaussianMixture  # type: ignore[import-untyped]

from segdepth_core.prediction import Columns, Maps, Prediction, Verdict, Version
from segdepth_protos.contract import CLASSES
from segdepth_protos.count_interval import count_interval
from segdepth_training.frames.exit_waves import load
from segdepth_training.frames.observation import Observation, observe
from segdepth_training.machine.progress import bar, say
from segdepth_training.recipes.seeds import SeedRange
from segdepth_training.runs.workspace import Workspace

RADIUS_A = 0.6
"""Of the disk over which a column's intensity is summed [Å]."""

MOST = 10
"""Components, chosen by the integrated completed likelihood (Biernacki et al., IEEE PAMI 22, 719, 2000)."""

ABSTAIN_BELOW = 0.5
VERSION = Version("mixture", "1", "0" * 64, "scikit-learn")


KIND, LIBRARY = "mixture", "mixture.json"
BINS = 60
"""Of intensity, equally filled."""

VIEWS, FIRST = 2, 500
"""Frames of each specimen that a library is made of, and the number of the first: other ones than calibration's."""


class Library(BaseModel, frozen=True):
    """The most likely number of atoms of a column by its species and intensity.

    edges: inner edges of the bins, of each species; atoms: of each bin, one more than the edges.
    """

    edges: tuple[tuple[float, ...], ...]
    atoms: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, observations: Iterable[Observation], species: int) -> Self:
        """From frames without noise."""
        seen = [whole_columns(observation) for observation in observations]
        true = np.concatenate([columns for columns, _ in seen])
        value = np.concatenate([values for _, values in seen])
        edges, atoms = [], []
        for kind in range(species):
            some, ours = value[true[:, 3] == kind], true[true[:, 3] == kind, 2]
            inner = np.unique(np.round(np.quantile(some, np.arange(1, BINS) / BINS), 5))
            # Only edges with a column on either side: an empty bin says nothing.
            inner = inner[np.isin(np.arange(len(inner)), np.digitize(some, inner))]
            bin_of = np.digitize(some, inner)
            counts = np.zeros((len(inner) + 1, CLASSES), np.int64)
            np.add.at(counts, (bin_of, np.minimum(ours, CLASSES - 1).astype(int)), 1)
            edges.append(tuple(inner.tolist()))
            atoms.append(tuple(counts.argmax(1).tolist()))
        return cls(edges=tuple(edges), atoms=tuple(atoms))

    @classmethod
    def read(cls, path: Path) -> Self:
        """As it was written with `model_dump_json`. Raises OSError and pydantic's ValidationError."""
        return cls.model_validate_json(path.read_text())

    def count(self, species: int, intensity: NDArray[np.float64]) -> NDArray[np.int64]:
        """Most likely number of atoms at intensities [n]."""
        return np.array(self.atoms[species])[np.digitize(intensity, self.edges[species])]


def make_library(workspace: Workspace, folder: Path) -> None:
    """Write the library of a run's calibration specimens to `folder`, of VIEWS frames of each."""
    purpose = SeedRange.CALIBRATION
    plan = workspace.plan(purpose)
    waves = load(workspace.data(purpose), plan, torch.device("cpu"))

    def frames() -> Iterator[Observation]:
        with bar(KIND) as progress:
            for index in range(len(waves)):
                for view in range(VIEWS):
                    yield observe(waves, plan, index, math.inf, FIRST + view)
                progress(index + 1, len(waves))

    library = Library.of(frames(), len(workspace.recipe.crystal.elements))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LIBRARY).write_text(library.model_dump_json() + "\n")
    say(f"wrote {folder / LIBRARY}")


@dataclass(frozen=True)
class Mixture:
    """The contender."""

    library: Library

    def answer(self, observation: Observation) -> Prediction:
        """Counts of the true columns whose disk is inside the frame."""
        true, value = whole_columns(observation)
        posterior = np.zeros((len(true), CLASSES))
        for kind in np.unique(true[:, 3]).astype(int):
            some = true[:, 3] == kind
            posterior[some] = labelled(value[some], self.library, kind)
        return prediction(observation, true, posterior)


def whole_columns(observation: Observation) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The true columns whose disk is inside the frame [n, 5], and their intensities [n]."""
    height, width = observation.frame.shape
    radius_px = RADIUS_A / observation.sampling_A
    xy = observation.columns[:, :2]
    inside = ((xy >= radius_px) & (xy <= np.array([width, height]) - 1 - radius_px)).all(1)
    true = observation.columns[inside]
    return true, intensities(observation.frame, true[:, :2], radius_px)


def intensities(frame: NDArray[np.float32], xy_px: NDArray[np.floating], radius_px: float) -> NDArray[np.float64]:
    """Mean intensity over each column's disk, in units of the frame's mean."""
    reach = int(np.ceil(radius_px))
    offset = np.arange(-reach, reach + 1)
    centre = np.round(xy_px).astype(int)
    x = centre[:, 0, None, None] + offset[None, None, :]
    y = centre[:, 1, None, None] + offset[None, :, None]
    weight = np.hypot(x - xy_px[:, 0, None, None], y - xy_px[:, 1, None, None]) <= radius_px
    height, width = frame.shape
    seen = frame[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] * weight
    return np.asarray(seen.sum((1, 2)) / np.maximum(1, weight.sum((1, 2))) / frame.mean())


def labelled(values: NDArray[np.float64], library: Library, species: int) -> NDArray[np.float64]:
    """Posterior [n, CLASSES] of columns of one species: their components', summed by what the library says of each."""
    samples = values[:, None]
    fits = [
        GaussianMixture(number, random_state=0, reg_covar=1e-8).fit(samples)
        for number in range(1, min(MOST, len(values) // 3) + 1)
    ]
    result = np.zeros((len(values), CLASSES))
    if not fits:  # Too few columns for any fit.
        result[np.arange(len(values)), library.count(species, values)] = 1
        return result
    shares = [fit.predict_proba(samples) for fit in fits]
    uncertain = [-2 * (share * np.log(np.maximum(share, 1e-300))).sum() for share in shares]
    best = int(np.argmin([fit.bic(samples) + doubt for fit, doubt in zip(fits, uncertain, strict=True)]))
    labels = library.count(species, fits[best].means_[:, 0])
    for component, label in enumerate(labels):
        result[:, label] += shares[best][:, component]
    return result


def prediction(observation: Observation, true: NDArray[np.float32], posterior: NDArray[np.float64]) -> Prediction:
    """Posteriors of columns at known places as a Prediction."""
    height, width = observation.frame.shape
    low, high = count_interval(posterior)
    depth = np.zeros((height, width), np.uint8)
    count = posterior.argmax(1)
    x, y = np.round(true[:, :2]).astype(int).T
    depth[y, x] = count
    columns = Columns(
        x_px=true[:, 0],
        y_px=true[:, 1],
        species=(true[:, 3] + 1).astype(np.uint8),
        count=count.astype(np.uint8),
        lo90=low.astype(np.uint8),
        hi90=high.astype(np.uint8),
        abstained=posterior.max(1) < ABSTAIN_BELOW,
        probabilities=posterior.astype(np.float32),
    )
    maps = Maps(depth=depth)
    return Prediction(VERSION, height, width, observation.sampling_A, observation.dose, Verdict(()), columns, maps)
