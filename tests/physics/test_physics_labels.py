"""Labels lie where the camera sees the columns, to 0.02 Å."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from segdepth_core.prepare import resample
from segdepth_training.frames.batches import MARGIN_A, draw_view, turned
from segdepth_training.frames.imaging import expose
from segdepth_training.frames.labels import View, render
from segdepth_training.recipes.recipe import load_recipe
from segdepth_training.recipes.seeds import SeedRange, generator
from segdepth_training.specimens.projection import project
from segdepth_training.specimens.specimen import draw
from tests.physics.conditions import exposure, numbers

RECIPE = load_recipe(Path(__file__).parents[2] / "training" / "recipes" / "ceo2-110.toml")
SIDE_A = RECIPE.specimens.cell_A
DISK_A, CENTRE_A = RECIPE.training.disk_A, RECIPE.training.centre_A


def view_at(sampling_A: float, origin_A: tuple[float, float] = (2.0, 3.1)) -> View:
    """A view of the training field's size through a camera of a sampling, as training draws it."""
    points = round(SIDE_A / sampling_A)
    points += points % 2
    pixel_A = SIDE_A / points
    size = round(RECIPE.training.field_px * RECIPE.training.canonical_sampling_A / pixel_A)
    return View(pixel_A, (round(origin_A[0] / pixel_A), round(origin_A[1] / pixel_A)), size, RECIPE.training.field_px)


@pytest.mark.parametrize("sampling_A", RECIPE.camera.samplings_A)
def test_a_spot_is_seen_where_its_label_is(sampling_A: float):
    """A bright spot goes through the camera, the view and the Predictor's resampling to where to_points says."""
    view = view_at(sampling_A)
    at_A = torch.tensor([[20.03, 31.47], [40.2, 12.9], [30.77, 24.01]])
    fine = round(SIDE_A / 0.1)
    grid = torch.arange(fine) * 0.1
    image = torch.ones(fine, fine)
    for x, y in at_A:
        image += torch.exp(-((grid[None, :] - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * 0.4**2))
    frame = expose(image[None], SIDE_A, round(SIDE_A / view.pixel_A), exposure(), numbers())
    y, x = view.origin
    seen = resample(frame[:, y : y + view.size, x : x + view.size], (view.points, view.points))[0] - 1
    for position in at_A:
        px, py = (float(view.to_points(position[i], 1 - i)) for i in (0, 1))
        i, j = round(py), round(px)
        rows, columns = torch.arange(i - 8, i + 9), torch.arange(j - 8, j + 9)
        patch = seen[i - 8 : i + 9, j - 8 : j + 9]
        found = (float((patch.sum(0) * columns).sum()), float((patch.sum(1) * rows).sum()))
        total = float(patch.sum())
        assert abs(found[0] / total - px) * view.sampling_A < 0.02
        assert abs(found[1] / total - py) * view.sampling_A < 0.02


@pytest.mark.parametrize("sampling_A", RECIPE.camera.samplings_A)
def test_canonical_sampling_is_kept(sampling_A: float):
    assert view_at(sampling_A).sampling_A == pytest.approx(0.2, rel=0.005)


def test_labels_of_one_column():
    view = View(0.2, (0, 0), 64, 64)
    columns = torch.tensor([[[6.43, 5.16, 7.0, 1.0], [math.nan] * 4]])
    labels = render(columns, view, DISK_A, CENTRE_A)
    y, x = torch.meshgrid(torch.arange(64) * 0.2, torch.arange(64) * 0.2, indexing="ij")
    distance_A = torch.hypot(x - 6.43, y - 5.16)
    on_disk = distance_A <= DISK_A
    assert torch.equal(labels.depth[0] == 7, on_disk)
    assert torch.equal(labels.depth[0] == 0, ~on_disk)
    assert torch.equal(labels.species[0] == 1, on_disk)
    assert torch.equal(labels.species[0] == -1, ~on_disk)
    near = distance_A < 3 * CENTRE_A
    expected = torch.exp(-(distance_A**2) / (2 * CENTRE_A**2))
    assert torch.allclose(labels.centre[0][near], expected[near], atol=1e-4)
    assert float(labels.centre[0][distance_A > 5 * CENTRE_A].max()) == 0


def test_ten_or_more_is_one_class_and_columns_outside_are_cut():
    view = View(0.2, (0, 0), 64, 64)
    columns = torch.tensor(
        [[[4.0, 4.0, 14.0, 0.0], [-0.3, 6.0, 5.0, 0.0], [12.9, 6.0, 4.0, 1.0], [30.0, 6.0, 3.0, 1.0]]]
    )
    labels = render(columns, view, DISK_A, CENTRE_A)
    assert set(labels.depth.unique().tolist()) == {0, 4, 5, 10}
    assert (labels.depth[0, :, 0] == 5).any()
    assert not (labels.depth == 3).any()


def test_disks_of_a_real_specimen_never_overlap():
    """Every pixel within a disk carries the count and species of its own nearest column, and of no other."""
    ceria = project(RECIPE.crystal)
    for index in range(3):
        thing = draw(generator(SeedRange.VALIDATION, 11, index), ceria, RECIPE.specimens)
        view = view_at(0.1)
        labels = render(torch.from_numpy(thing.columns)[None], view, DISK_A, CENTRE_A)
        px = np.arange(view.points)
        in_cell = [(((px + 0.5) * view.size / view.points - 0.5) + view.origin[axis]) * view.pixel_A for axis in (0, 1)]
        y, x = np.meshgrid(*in_cell, indexing="ij")
        distance_A = np.hypot(x[..., None] - thing.columns[:, 0], y[..., None] - thing.columns[:, 1])
        within = distance_A <= DISK_A
        assert within.sum(-1).max() == 1
        clear = (np.abs(distance_A - DISK_A) > 1e-3).all(-1)
        nearest = distance_A.argmin(-1)
        count = np.where(within.any(-1), np.minimum(thing.columns[nearest, 2], 10), 0)
        kind = np.where(within.any(-1), thing.columns[nearest, 3], -1)
        assert (labels.depth[0].numpy() == count)[clear].all()
        assert (labels.species[0].numpy() == kind)[clear].all()


def test_views_keep_their_margin():
    draws = numbers(5)
    for _ in range(200):
        view = draw_view(draws, RECIPE, SIDE_A)
        last = [(origin + view.size - 1) * view.pixel_A for origin in view.origin]
        assert min(view.origin) * view.pixel_A >= MARGIN_A - 2 * view.pixel_A
        assert max(last) <= SIDE_A - MARGIN_A + 2 * view.pixel_A
        assert view.points == RECIPE.training.field_px


def test_frames_and_labels_turn_together():
    maps = torch.arange(32.0).reshape(2, 4, 4)
    for quarters in range(4):
        for flip in (False, True):
            there = turned(maps, quarters, flip)
            assert torch.equal(there, turned(maps.clone(), quarters, flip))
            assert sorted(there.flatten().tolist()) == sorted(maps.flatten().tolist())
    assert torch.equal(turned(maps, 1, False), torch.rot90(maps, 1, (-2, -1)))
    assert torch.equal(turned(maps, 0, True), maps.flip(-1))
