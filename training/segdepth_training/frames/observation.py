"""Frames of specimens that training never saw, with the truth about each: what calibration and evaluation look at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segdepth_core.scoring import Truth
from segdepth_training.frames.batches import camera_frames, draw_view, frames_of_waves
from segdepth_training.frames.exit_waves import ExitWaves, Plan
from segdepth_training.frames.imaging import Exposure, Optics, draw_exposure, draw_optics, intensity
from segdepth_training.frames.labels import View
from segdepth_training.recipes.recipe import Set
from segdepth_training.recipes.seeds import generator
from segdepth_training.specimens.specimen import FAMILIES


@dataclass(frozen=True)
class Observation:
    """One frame and its truth.

    frame: [H, W] electrons per pixel (float32); columns: [n, 5] rows of x [px], y [px], atoms, species index, change
    against the specimen's surface, also of columns just outside the frame; dose: stated [e/Å²], infinite without noise.
    """

    frame: NDArray[np.float32]
    sampling_A: float
    dose: float
    columns: NDArray[np.float32]
    specimen: int
    family: str
    view: View

    @property
    def truth(self) -> Truth:
        """What the frame shows, for scoring."""
        height, width = self.frame.shape
        return Truth(self.columns, (height, width), self.sampling_A, self.dose, self.specimen, self.family)


def doses(settings: Set) -> list[float]:
    """The doses of a set as numbers; noise-free is infinite."""
    return [float("inf") if dose == "noise-free" else float(dose) for dose in settings.doses]


Alter = Callable[[Optics, Exposure], tuple[Optics, Exposure]]
"""Other conditions instead of the ones drawn."""


class Conditions(NamedTuple):
    """How one frame is taken; `numbers` goes on with its noise."""

    view: View
    optics: Optics
    exposure: Exposure
    numbers: torch.Generator


def conditions(plan: Plan, index: int, dose: float, repeat: int = 0) -> Conditions:
    """Of one frame of one specimen, from the specimen's own generator."""
    level = 0 if np.isinf(dose) else round(dose * 100)
    seed = int(generator(plan.purpose, plan.seed, index, 1, level, repeat).integers(2**62))
    numbers = torch.Generator().manual_seed(seed)
    view = draw_view(numbers, plan.recipe, plan.recipe.specimens.cell_A)
    optics = draw_optics(numbers, plan.recipe.microscope, 1)
    exposure = draw_exposure(numbers, plan.recipe.camera, 1, dose=torch.tensor([dose]))
    return Conditions(view, optics, exposure, numbers)


def observe(
    data: ExitWaves, plan: Plan, index: int, dose: float, repeat: int = 0, alter: Alter | None = None
) -> Observation:
    """One frame of one specimen."""
    view, optics, exposure, numbers = conditions(plan, index, dose, repeat)
    seen = (optics, exposure) if alter is None else alter(optics, exposure)
    row = index - data.first
    waves = data.waves[row : row + 1]
    frame = frames_of_waves(waves, data.side_A, seen, view, plan.recipe.microscope, numbers)[0]
    return _observation(data, index, dose, view, frame)


def _observation(data: ExitWaves, index: int, dose: float, view: View, frame: Tensor) -> Observation:
    """A frame [H, W] of a specimen with its truth."""
    row = index - data.first
    columns = seen_columns(data.columns[row], view)
    family = FAMILIES[int(data.family[row])]
    return Observation(frame.numpy(), view.pixel_A, dose, columns, index, family, view)


def seen_columns(columns_M5: Tensor, view: View) -> NDArray[np.float32]:
    """A specimen's columns (NaN-padded, in Å) in px of a view [n, 5]."""
    columns = columns_M5.numpy()
    columns = columns[np.isfinite(columns[:, 0])].copy()
    columns[:, 0] = columns[:, 0] / view.pixel_A - view.origin[1]
    columns[:, 1] = columns[:, 1] / view.pixel_A - view.origin[0]
    return np.asarray(columns)


def movie(data: ExitWaves, plan: Plan, index: int, dose: float, frames: int) -> list[Observation]:
    """Frames of one specimen under the same conditions; only their noise differs. The first is what `observe` gives."""
    view, optics, exposure, numbers = conditions(plan, index, dose)
    row = index - data.first
    # Once for all frames: the focal average costs more than a frame's noise.
    seen = intensity(data.waves[row : row + 1], data.side_A, optics, plan.recipe.microscope)
    each = (camera_frames(seen, data.side_A, exposure, view, numbers)[0] for _ in range(frames))
    return [_observation(data, index, dose, view, frame) for frame in each]


def observations(data: ExitWaves, plan: Plan, settings: Set) -> Iterator[Observation]:
    """Every specimen of a set at every dose, specimen by specimen."""
    for index in range(data.first, data.first + len(data)):
        for dose in doses(settings):
            for repeat in range(settings.frames_per_dose):
                yield observe(data, plan, index, dose, repeat)
