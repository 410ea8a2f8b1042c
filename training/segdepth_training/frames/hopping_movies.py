"""Movies of drifting specimens whose atoms hop at known frames: what tracking is measured with.

Specimens are the benchmark's, imaging conditions the recipe's. Before and after are two simulations, of the specimen
and of the one with all of its hops; columns that hop are so far apart that each frame is the first image with the
second's round those columns that have hopped.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from segdepth_training.frames.camera_scenes import patch
from segdepth_training.frames.imaging import draw_exposure, draw_optics, expose, frequencies, intensity
from segdepth_training.frames.multislice import exit_wave
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.recipes.seeds import SeedRange, generator
from segdepth_training.specimens.changes import far_apart, lengthened, with_room
from segdepth_training.specimens.families import MOST, draw_for_benchmark
from segdepth_training.specimens.projection import project
from segdepth_training.specimens.specimen import FAMILIES, Specimen

CELL_A, FIELD_A = 46.0, 30.0
"""Sides of the periodic cell, and of the field in its middle; between them the specimen drifts."""

MARGIN_A = 1.6
"""The field keeps this far from the cell's edge, where the other side's waves wrap around."""

SAMPLINGS_A = (0.08, 0.1, 0.12, 0.15)

JITTER_A = 0.05
"""Standard deviation of the drift's random part from frame to frame, in x and in y."""

EARLIEST = 8
"""Frames before a hop, and after it."""


@dataclass(frozen=True, eq=False)
class HoppingMovie:
    """A movie and its truth.

    frames: [F, H, W] electrons per pixel; drift_A: [F, 2] displacement (x, y) of the specimen in each, of the columns
    from `xy_A` [n, 2], where (0, 0) is the centre of the top-left pixel; atoms [n] and species [n] of each column at
    first; change [n] by how many atoms it hops, 0 for most, and moment [n], the first frame that shows it, or -1.
    """

    frames: NDArray[np.float32]
    sampling_A: float
    dose: float
    family: str
    drift_A: NDArray[np.float64]
    xy_A: NDArray[np.float64]
    atoms: NDArray[np.int64]
    species: NDArray[np.int64]
    change: NDArray[np.int64]
    moment: NDArray[np.int64]

    def counts(self, frame: int) -> NDArray[np.int64]:
        """Atoms of each column in a frame [n]."""
        return np.where((self.moment >= 0) & (frame >= self.moment), self.atoms + self.change, self.atoms)


def hopping_movie(
    recipe: Recipe, seed: int, index: int, dose: float, frames: int = 60, largest_drift_A: float = 10.0
) -> HoppingMovie:
    """One movie; the same numbers give the same one. dose: e/Å² of a frame; it drifts by 0 to `largest_drift_A`."""
    recipe = recipe.model_copy(update={"specimens": recipe.specimens.model_copy(update={"cell_A": CELL_A})})
    rng = generator(SeedRange.BENCHMARK, seed, index)
    family = FAMILIES[index % len(FAMILIES)]
    specimen = draw_for_benchmark(rng, project(recipe.crystal), recipe.specimens, family)
    points = round(CELL_A / float(rng.choice(SAMPLINGS_A)))
    drift_A = drift(rng, frames, largest_drift_A)
    change, moment = hops(rng, specimen, frames)
    images = _Images(recipe, specimen, change, moment, int(rng.integers(2**62)), dose)
    sampling_A = CELL_A / points
    size = round(FIELD_A / sampling_A)
    origin = (points - size) // 2
    window = slice(origin, origin + size)
    return HoppingMovie(
        frames=np.stack([images.frame(i, points, drift_A[i])[window, window] for i in range(frames)]),
        sampling_A=sampling_A,
        dose=dose,
        family=family,
        drift_A=drift_A,
        xy_A=specimen.columns[:, :2].astype(np.float64) - origin * sampling_A,
        atoms=specimen.columns[:, 2].astype(np.int64),
        species=specimen.columns[:, 3].astype(np.int64),
        change=change,
        moment=moment,
    )


def drift(rng: np.random.Generator, frames: int, largest_A: float) -> NDArray[np.float64]:
    """Displacement in each frame [F, 2]: a line of random length and direction, and a random walk about it."""
    length_A, angle = rng.uniform(0, largest_A), rng.uniform(0, 2 * math.pi)
    line = np.linspace(-0.5, 0.5, frames)[:, None] * length_A * np.array([math.cos(angle), math.sin(angle)])
    walk = np.cumsum(rng.normal(0, JITTER_A, (frames, 2)), axis=0)
    bound = (CELL_A - FIELD_A) / 2 - MARGIN_A
    return np.asarray(np.clip(line + walk - walk.mean(axis=0), -bound, bound))


def hops(rng: np.random.Generator, specimen: Specimen, frames: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """By how many atoms each column changes, one or two, and the first frame that shows it; 0 and -1 for most."""
    columns = specimen.columns
    count = columns[:, 2].astype(np.int64)
    middle = np.abs(columns[:, :2] - CELL_A / 2).max(axis=1) < FIELD_A / 2 - 2
    order = rng.permutation(len(columns))
    order = order[middle[order] & (count[order] <= MOST)]
    change, moment = np.zeros(len(columns), np.int64), np.full(len(columns), -1)
    for column in far_apart(specimen, order, CELL_A):
        by = int(rng.choice((-2, -1, 1, 2)))
        by = by if 0 <= count[column] + by <= MOST else -by
        if 0 <= count[column] + by <= MOST:
            change[column], moment[column] = by, rng.integers(EARLIEST, max(frames - EARLIEST, EARLIEST + 1))
    return change, moment


class _Images:
    """Noise-free images of the specimen as it hops, and the frames that a camera makes of them."""

    def __init__(
        self,
        recipe: Recipe,
        specimen: Specimen,
        change: NDArray[np.int64],
        moment: NDArray[np.int64],
        seed: int,
        dose: float,
    ):
        self._numbers = torch.Generator().manual_seed(seed)
        optics = draw_optics(self._numbers, recipe.microscope, 1)
        self._exposure = draw_exposure(self._numbers, recipe.camera, 1, dose=torch.tensor([dose]))
        period_A = project(recipe.crystal).period_A
        roomy = with_room(specimen, 4, period_A)
        before, after = (
            intensity(
                torch.from_numpy(np.asarray(exit_wave(each, recipe.multislice, recipe.microscope)))[None],
                CELL_A,
                optics,
                recipe.microscope,
            )[0].numpy()
            for each in (roomy, lengthened(roomy, change, period_A))
        )
        self._image, self._difference = before.copy(), after - before
        self._hops = [(int(moment[i]), specimen.columns[i, :2]) for i in np.flatnonzero(change)]
        self._spectrum = torch.fft.fft2(torch.from_numpy(self._image))
        self._k = frequencies(len(self._image), CELL_A, torch.device("cpu"))

    def frame(self, number: int, points: int, drift_A: NDArray[np.float64]) -> NDArray[np.float32]:
        """The next frame of the whole cell [points, points]; numbers go up by one."""
        due = [xy_A for moment, xy_A in self._hops if moment == number]
        for xy_A in due:
            piece, (row, column) = patch(self._difference, xy_A, CELL_A)
            self._image[row : row + len(piece), column : column + len(piece)] += piece
        if due:
            self._spectrum = torch.fft.fft2(torch.from_numpy(self._image))
        ky, kx = self._k
        moved = torch.exp(-2j * math.pi * (kx * float(drift_A[0]) + ky * float(drift_A[1])))
        image = torch.fft.ifft2(self._spectrum * moved).real[None]
        counted: NDArray[np.float32] = expose(image, CELL_A, points, self._exposure, self._numbers)[0].numpy()
        return counted
