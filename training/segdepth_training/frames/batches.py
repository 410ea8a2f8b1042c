"""Training batches: exit waves imaged anew at every step, seen by a camera drawn for the step, with their labels."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as geometry

from segdepth_core.prepare import normalise, resample
from segdepth_training.frames.exit_waves import ExitWaves
from segdepth_training.frames.imaging import Exposure, Optics, draw_exposure, draw_optics, expose, intensity, uniform
from segdepth_training.frames.labels import Labels, View, render
from segdepth_training.recipes.recipe import Microscope, Recipe

MARGIN_A = 1.6
"""A view keeps this far from the cell's edge, where the other side's waves wrap around."""


class Batch(NamedTuple):
    """Network input [B, H, W] at the canonical sampling, its labels, and which frames are shown inverted [B]."""

    frames: Tensor
    labels: Labels
    inverted: Tensor


def pick(number: int, size: int, generator: torch.Generator) -> Tensor:
    """Indices [size] below `number`."""
    return torch.randint(number, (size,), generator=generator, device=generator.device)


def draw_view(generator: torch.Generator, recipe: Recipe, side_A: float) -> View:
    """A camera sampling of the recipe and a random view of the training field's size inside the cell."""
    choices = recipe.camera.samplings_A
    points = round(side_A / choices[int(pick(len(choices), 1, generator))])
    points += points % 2
    pixel_A = side_A / points
    size = round(recipe.training.field_px * recipe.training.canonical_sampling_A / pixel_A)
    margin = min(int(MARGIN_A / pixel_A), (points - size) // 2)
    y, x = (margin + int(pick(points - size - 2 * margin + 1, 1, generator)) for _ in range(2))
    return View(pixel_A, (y, x), size, recipe.training.field_px)


def frames_of_waves(
    waves_BHW: Tensor,
    side_A: float,
    conditions: tuple[Optics, Exposure],
    view: View,
    microscope: Microscope,
    generator: torch.Generator,
) -> Tensor:
    """What a camera records of exit waves [B, H, W] in a view: [B, view.size, view.size] in electrons per pixel."""
    optics, exposure = conditions
    return camera_frames(intensity(waves_BHW, side_A, optics, microscope), side_A, exposure, view, generator)


def camera_frames(
    images_BHW: Tensor, side_A: float, exposure: Exposure, view: View, generator: torch.Generator
) -> Tensor:
    """What a camera records of noise-free intensities [B, H, W], of which one may serve many frames."""
    frames_BHW = expose(images_BHW, side_A, round(side_A / view.pixel_A), exposure, generator)
    y, x = view.origin
    return frames_BHW[:, y : y + view.size, x : x + view.size]


def draw_batch(data: ExitWaves, recipe: Recipe, generator: torch.Generator, *, easy: bool = False) -> Batch:
    """One batch of `recipe.training.frames` frames on the data's device; `easy` keeps to high doses."""
    training, size = recipe.training, recipe.training.frames
    index = pick(len(data), size, generator)
    view = draw_view(generator, recipe, data.side_A)
    optics = draw_optics(generator, recipe.microscope, size)
    exposure = draw_exposure(generator, recipe.camera, size, lowest_dose=training.easy_dose if easy else 0)
    raw_BHW = frames_of_waves(data.waves[index], data.side_A, (optics, exposure), view, recipe.microscope, generator)
    frames_BHW = normalise(resample(raw_BHW, (view.points, view.points)))
    inverted_B = uniform(generator, 0, 1, size) < training.inverted_share
    frames_BHW = torch.where(inverted_B[:, None, None], -frames_BHW, frames_BHW)
    labels = render(data.columns[index], view, training.disk_A, training.centre_A)
    turn, flip = int(pick(4, 1, generator)), bool(pick(2, 1, generator))
    frames_BHW = turned(frames_BHW, turn, flip).contiguous()
    return Batch(frames_BHW, Labels(*(turned(map_, turn, flip) for map_ in labels)), inverted_B)


def turned(maps_BHW: Tensor, quarters: int, flip: bool) -> Tensor:
    """Maps rotated by quarter turns and mirrored: the lattice knows neither left nor right."""
    return torch.rot90(geometry.horizontal_flip(maps_BHW) if flip else maps_BHW, quarters, (-2, -1))
