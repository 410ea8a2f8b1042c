"""What the second stage learns from: frames of specimens that the first stage never saw, and what it said of them."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segdepth_artefacts.manifest import Cell, Known
from segdepth_core.columns import Reading, to_frame
from segdepth_core.predictor import Predictor
from segdepth_core.prepare import prepare
from segdepth_core.second_stage import Evidence, gather
from segdepth_core.spectrum import measured_dose
from segdepth_training.fitting.calibrate import truth_of
from segdepth_training.frames.batches import camera_frames, draw_view
from segdepth_training.frames.exit_waves import ExitWaves, Plan, load
from segdepth_training.frames.imaging import Exposure, Optics, draw_exposure, draw_optics, intensity, uniform
from segdepth_training.frames.observation import Alter, seen_columns
from segdepth_training.machine.processes import in_processes
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.recipes.second_stage import SecondStage
from segdepth_training.recipes.seeds import generator
from segdepth_training.specimens.projection import project

SHARD = 10
"""Specimens whose examples lie in one file."""

FILE = "examples.pt"

EXPOSURES = 3
"""Frames under the same optics: the focal average costs more than a frame's noise."""


class Example(NamedTuple):
    """One frame: evidence of its columns on the lattice, their true class [N] (0 = none), and how it was taken."""

    evidence: Evidence
    true_N: Tensor
    conditions: Known
    """Each a range of one value."""
    specimen: int
    family: int


def cell_of(recipe: Recipe) -> Cell:
    """The rectangle of columns that the recipe's projection repeats."""
    projection = project(recipe.crystal)
    width_A, height_A = projection.cell_A
    sites = tuple((round(x / width_A, 6), round(y / height_A, 6), int(s)) for x, y, _, s in projection.sites)
    return Cell(sides_A=projection.cell_A, sites=sites)


class Look(NamedTuple):
    """A frame as the first stage sees it."""

    reading: Reading
    xy_px: NDArray[np.float64]
    """Of each found column in the frame."""
    dose: float
    """Measured, e/Å²."""
    true_N: Tensor
    """Class of the true column at each found one; 0 where there is none."""
    evidence: Evidence | None
    on_lattice_N: Tensor
    """Which of the found columns the evidence is about."""


def look(
    predictor: Predictor, cell: Cell, frame_HW: NDArray[np.float32], sampling_A: float, columns: NDArray[np.float32]
) -> Look:
    """What there is to say of a frame whose true columns are [n, 5], as `Observation.columns`."""
    frames_BHW, canonical_A = torch.from_numpy(frame_HW)[None], predictor.manifest.canonical_sampling_A
    dose_B = measured_dose(frames_BHW, sampling_A)
    heads = predictor.heads(frames_BHW, sampling_A)
    reading = predictor.reading(heads, dose_B)
    x_hw = prepare(frames_BHW, sampling_A, canonical_A)[0]
    xy_N2, species_N = reading.found.xy_N2, reading.species_N
    xy_px = to_frame(xy_N2, (x_hw.shape[0], x_hw.shape[1]), (frame_HW.shape[0], frame_HW.shape[1])).numpy()
    true_N = torch.from_numpy(truth_of(columns, xy_px, sampling_A)[0])
    seen = gather(x_hw, xy_N2, reading.posterior_NK, species_N, float(dose_B[0]), cell, canonical_A)
    if seen is None:
        return Look(reading, xy_px, float(dose_B[0]), true_N, None, torch.zeros(len(true_N), dtype=torch.bool))
    return Look(reading, xy_px, float(dose_B[0]), true_N, *seen)


def widened(exposure: Exposure, settings: SecondStage, numbers: torch.Generator) -> Exposure:
    """The exposure, by chance that of an instrument that differs from the recipe's."""
    if float(uniform(numbers, 0, 1, 1)) >= settings.widened_share:
        return exposure
    return dataclasses.replace(
        exposure,
        contrast=uniform(numbers, *settings.contrast, 1),
        vibration_A=uniform(numbers, *settings.vibration_A, 1),
    )


def widening(settings: SecondStage, numbers: torch.Generator, first: Alter | None = None) -> Alter:
    """The same as an alteration of a frame's conditions, after another one."""

    def alter(optics: Optics, exposure: Exposure) -> tuple[Optics, Exposure]:
        if first is not None:
            optics, exposure = first(optics, exposure)
        return optics, widened(exposure, settings, numbers)

    return alter


def examples(predictor: Predictor, waves: ExitWaves, plan: Plan, index: int) -> Iterator[Example]:
    """Those of one specimen, from its own generator; a frame without a lattice makes none."""
    recipe, cell = plan.recipe, cell_of(plan.recipe)
    numbers = torch.Generator().manual_seed(int(generator(plan.purpose, plan.seed, index, 2).integers(2**62)))
    row = index - waves.first
    for _ in range(recipe.second_stage.frames // EXPOSURES):
        optics = draw_optics(numbers, recipe.microscope, 1)
        image = intensity(waves.waves[row : row + 1], waves.side_A, optics, recipe.microscope)
        for _ in range(EXPOSURES):
            view = draw_view(numbers, recipe, waves.side_A)
            exposure = widened(draw_exposure(numbers, recipe.camera, 1), recipe.second_stage, numbers)
            frame_HW = camera_frames(image, waves.side_A, exposure, view, numbers)[0].numpy()
            seen = look(predictor, cell, frame_HW, view.pixel_A, seen_columns(waves.columns[row], view))
            if seen.evidence is not None:
                conditions = conditions_of(optics, exposure)
                true_N = seen.true_N[seen.on_lattice_N]
                yield Example(seen.evidence, true_N, conditions, index, int(waves.family[row]))


def conditions_of(optics: Optics, exposure: Exposure) -> Known:
    """What could be known of one frame's instrument, were it measured."""
    return Known(
        contrast=(float(exposure.contrast),) * 2,
        vibration_A=(float(exposure.vibration_A),) * 2,
        defocus_A=(float(optics.c10_A),) * 2,
    )


def make_shard(model: Path, data: Storage, plan: Plan, into: Storage, shard: int) -> int:
    """Make and keep the examples of one shard's specimens; returns how many specimens."""
    torch.set_num_threads(1)
    span = range(shard * SHARD, min(plan.specimens, (shard + 1) * SHARD))
    predictor = Predictor.load(model, device="cpu", engine="torch-fp32", evaluated=False)
    waves = load(data, plan, torch.device("cpu"), span)
    with torch.inference_mode():
        made = [one for index in span for one in examples(predictor, waves, plan, index)]
    with (into / f"{shard:04d}").files() as folder:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / (FILE + ".partial")
        torch.save([_packed(one) for one in made], partial)
        partial.replace(folder / FILE)
    return len(span)


def _packed(one: Example) -> dict[str, object]:
    return {**one._asdict(), "evidence": vars(one.evidence), "conditions": one.conditions.model_dump()}


def make_examples(
    model: Path,
    data: Storage,
    plan: Plan,
    into: Storage,
    progress: Callable[[int, int], None],
    processes: int,
) -> None:
    """Make the examples that are not there yet, in `processes` processes. A killed run goes on where it stopped."""
    shards = range((plan.specimens + SHARD - 1) // SHARD)
    there = {int(name.split("/")[0]) for name in into.sizes() if name.endswith(f"/{FILE}")}
    todo = [shard for shard in shards if shard not in there]
    done = plan.specimens - sum(min(SHARD, plan.specimens - shard * SHARD) for shard in todo)
    progress(done, plan.specimens)
    for _, made in in_processes(make_shard, [(model, data, plan, into, shard) for shard in todo], processes):
        done += made
        progress(done, plan.specimens)


def load_examples(into: Storage, plan: Plan) -> list[Example]:
    """All of them, in order."""
    loaded: list[Example] = []
    for shard in range((plan.specimens + SHARD - 1) // SHARD):
        with (into / f"{shard:04d}").files() as folder:
            parts = torch.load(folder / FILE, weights_only=True)
        loaded += [
            Example(Evidence(**part.pop("evidence")), conditions=Known(**part.pop("conditions")), **part)
            for part in parts
        ]
    return loaded
