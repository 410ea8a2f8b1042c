"""Scenes of the detector simulator: noise-free images of specimens that training never saw, and of columns that hop.

A scene is the image of a specimen (`base`) and, of each column that may hop, the difference that its hop makes
(`patches`). The columns are so far apart that no hop changes another's image: base plus the patches of those that have
hopped is the image of the specimen with just these columns changed. All differences come from one simulation, of the
specimen with all of them changed, cut into a disk round each column.

The client images scenes without torch: it reads them from one small file, float16, sampled as coarsely as vibration
and the microscope's information limit allow.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from segdepth_training.frames.imaging import Optics, draw_optics, fourier_resampled, frequencies, intensity
from segdepth_training.frames.multislice import exit_wave
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.recipes.seeds import SeedRange, generator
from segdepth_training.specimens.changes import far_apart, lengthened, with_room
from segdepth_training.specimens.families import FEWEST, MOST, draw_for_benchmark
from segdepth_training.specimens.projection import project
from segdepth_training.specimens.specimen import Specimen

SEED = 271
"""Of the specimens: no benchmark has it."""

CELL_A = 64.0
"""Side of the cell: a field of 51.2 Å may drift by 4.8 Å to each side."""

SAMPLING_A = 0.2
"""Of the images kept."""

VIBRATION_A = 0.15
"""Blur of the specimen's image, standard deviation. It leaves little beyond SAMPLING_A's reach."""

MIDDLE_A = 22.0
"""Side of the field in which as many columns as possible hop: that of 256 px of 0.1 Å, less its border."""

ATTEMPTS = 300
"""Choices of columns, of which the one with most columns in the middle is taken."""

FULL_A, NONE_A = 4.0, 4.9
"""Radii within which a difference counts fully, and beyond which not at all; half of APART_A lies between."""

BY = ((2, 1, 2), (1, 2))
"""By how many atoms columns of each species hop, in turn."""

RANK = (0.35, 1.0)
"""Columns are chosen by a random number times this of their species: the lower, the sooner. Cerium's hops are seen."""


@dataclass(frozen=True)
class Subject:
    """What a scene shows."""

    family: str
    kind: str
    index: int


SUBJECTS = {
    "terraces": Subject("paper", "stepped", 3),
    "particle": Subject("particle", "particle", 0),
    "islands": Subject("particle", "islands", 3),
}
"""Scenes by name."""


class Scene(NamedTuple):
    """base: [n, n], vacuum = 1; patches: [hops, p, p], each with its first row and column in `corners` [hops, 2];
    columns: [n, 4] rows of x [Å], y [Å], atoms, species index; hops: [hops, 2] rows of column and by how many atoms."""

    base: NDArray[np.float32]
    patches: NDArray[np.float32]
    corners: NDArray[np.int64]
    columns: NDArray[np.float32]
    hops: NDArray[np.int64]
    optics: Optics


def write_scenes(recipe: Recipe, path: Path, names: tuple[str, ...] = tuple(SUBJECTS)) -> Path:
    """Simulate the scenes and keep them in one file; returns its path."""
    parts: dict[str, Any] = {}
    about: dict[str, Any] = {
        "side_A": CELL_A,
        "elements": list(recipe.crystal.elements),
        "crystal": recipe.family,
        "energy_keV": recipe.microscope.energy_keV,
        "vibration_A": VIBRATION_A,
        "scenes": {},
    }
    for name in names:
        scene = simulated(of_camera(recipe), SUBJECTS[name])
        parts[f"{name}.base"] = (scene.base - 1).astype(np.float16)
        parts[f"{name}.patches"] = scene.patches.astype(np.float16)
        parts[f"{name}.corners"] = scene.corners.astype(np.int16)
        parts[f"{name}.columns"] = scene.columns
        parts[f"{name}.hops"] = scene.hops.astype(np.int16)
        optics = {term: float(value) for term, value in vars(scene.optics).items()}
        about["scenes"][name] = {"kind": SUBJECTS[name].kind, "optics": optics}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, about=np.array(json.dumps(about)), **parts)
    return path


def of_camera(recipe: Recipe) -> Recipe:
    """The recipe with the scenes' own cell, and the middle of its domain as the microscope's state."""
    limits = recipe.specimens.model_copy(update={"cell_A": CELL_A})
    microscope = recipe.microscope.model_copy(update={"defocus_A": (40.0, 60.0), "focal_spread_A": (30.0, 30.0)})
    return recipe.model_copy(update={"specimens": limits, "microscope": microscope})


def simulated(recipe: Recipe, subject: Subject) -> Scene:
    """One scene of a recipe `of_camera`, from nothing."""
    specimen = drawn(recipe, subject)
    change = hops_of(np.random.default_rng([SEED, subject.index]), specimen)
    optics = draw_optics(torch.Generator().manual_seed(SEED + subject.index), recipe.microscope, 1)
    base = imaged(specimen, np.zeros_like(change), recipe, optics)
    difference = imaged(specimen, change, recipe, optics) - base
    hopping = np.flatnonzero(change)
    cut = [patch(difference, specimen.columns[column, :2]) for column in hopping]
    return Scene(
        base,
        np.stack([piece for piece, _ in cut]),
        np.array([corner for _, corner in cut]),
        specimen.columns[:, :4],
        np.stack([hopping, change[hopping]], axis=1),
        optics,
    )


def drawn(recipe: Recipe, subject: Subject) -> Specimen:
    """The specimen, of the benchmark's range and not tilted."""
    numbers = generator(SeedRange.BENCHMARK, SEED, subject.index)
    projection = project(recipe.crystal)
    return draw_for_benchmark(numbers, projection, recipe.specimens, subject.family, kind=subject.kind, tilt_deg=0.0)


def hops_of(rng: np.random.Generator, specimen: Specimen) -> NDArray[np.int64]:
    """By how many atoms each column hops; 0 for most."""
    side_A, columns = float(specimen.atoms.cell[0, 0]), specimen.columns
    middle = np.abs(columns[:, :2] - side_A / 2).max(axis=1) < MIDDLE_A / 2
    rank = np.array(RANK)[columns[:, 3].astype(int)]
    choices = []
    for _ in range(ATTEMPTS):
        order = np.argsort(rng.random(len(columns)) * rank)
        choices.append(far_apart(specimen, np.concatenate([order[middle[order]], order[~middle[order]]]), side_A))
    chosen = max(choices, key=lambda some: (middle[some].sum(), len(some)))
    change = np.zeros(len(columns), np.int64)
    turn = [list(sizes) for sizes in BY]
    for column in chosen:
        atoms, species = columns[column, 2:4].astype(int)
        by = turn[species][0] if rng.random() < 0.5 else -turn[species][0]
        by = by if FEWEST <= atoms + by <= MOST else -by
        if FEWEST <= atoms + by <= MOST:
            change[column] = by
            turn[species].append(turn[species].pop(0))
    return change


def imaged(
    specimen: Specimen, change: NDArray[np.int64], recipe: Recipe, optics: Optics, sampling_A: float = SAMPLING_A
) -> NDArray[np.float32]:
    """Image [n, n] of the specimen with each column change[i] atoms longer; vacuum is 1."""
    projection, microscope = project(recipe.crystal), recipe.microscope
    # Always the same room: in another cell the multislice method would cut the specimen into other slices.
    roomy = with_room(specimen, 2, projection.period_A)
    wave = exit_wave(lengthened(roomy, change, projection.period_A), recipe.multislice, microscope)
    seen = intensity(torch.from_numpy(np.asarray(wave))[None], CELL_A, optics, microscope)
    ky, kx = frequencies(seen.shape[-1], CELL_A, seen.device)
    vibration = torch.exp(-2 * (math.pi * VIBRATION_A) ** 2 * (kx**2 + ky**2))
    return fourier_resampled(torch.fft.fft2(seen) * vibration, round(CELL_A / sampling_A))[0].numpy()


def patch(
    difference: NDArray[np.float32], xy_A: NDArray[np.float32], side_A: float = CELL_A
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What a difference [n, n] of a cell is round a column, in a square, and the square's first row and column."""
    sampling_A = side_A / len(difference)
    reach = math.ceil(NONE_A / sampling_A)
    x, y = np.round(xy_A / sampling_A).astype(int)
    row, column = np.arange(y - reach, y + reach + 1), np.arange(x - reach, x + reach + 1)
    away_A = np.hypot(row[:, None] * sampling_A - xy_A[1], column[None, :] * sampling_A - xy_A[0])
    counts = np.clip((NONE_A - away_A) / (NONE_A - FULL_A), 0, 1)
    return (difference[np.ix_(row, column)] * counts).astype(np.float32), np.array([row[0], column[0]])
