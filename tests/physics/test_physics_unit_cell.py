"""Unit cells against abTEM's own multislice, and their images against a fine sum over the focal spread."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from segdepth_training.frames.imaging import Exposure, Optics
from segdepth_training.frames.unit_cell import UnitCell, potential
from segdepth_training.recipes.recipe import Recipe, load_recipe
from segdepth_training.specimens.projection import project
from tests.physics.abtem_reference import abtem

RECIPE = Path(__file__).parents[2] / "training" / "recipes" / "ceo2-110.toml"
PERIODS = 4


@pytest.fixture(scope="module")
def ceria() -> Recipe:
    recipe = load_recipe(RECIPE)
    thin = recipe.specimens.model_copy(update={"thick_atoms": 10, "displacement_A": (0.0, 0.06)})
    # In a cell as abTEM has it here every atom lies on a sample, and is not shared out.
    exact = recipe.multislice.model_copy(update={"placing": "exact"})
    return recipe.model_copy(update={"specimens": thin, "multislice": exact})


@pytest.fixture(scope="module")
def cell(ceria: Recipe) -> UnitCell:
    return UnitCell.of(ceria)


def test_an_exit_wave_is_abtems(cell: UnitCell, ceria: Recipe):
    projection = project(ceria.crystal)
    step_A = projection.period_A / 2
    sites = np.concatenate([projection.sites + np.array([0, 0, period, 0]) for period in range(PERIODS)])
    atoms = Atoms(
        [projection.elements[int(species)] for species in sites[:, 3]],
        positions=np.column_stack([sites[:, :2], sites[:, 2] * projection.period_A + step_A / 2]),
        cell=(*projection.cell_A, PERIODS * projection.period_A),
        pbc=True,
    )
    tem = abtem()
    potential = tem.Potential(
        atoms, gpts=(64, 48), slice_thickness=step_A, projection="infinite", parametrization="kirkland"
    )
    theirs = tem.PlaneWave(energy=300e3).multislice(potential, lazy=False).array.T
    # Theirs has gone on to the end of the last slice.
    ours = torch.fft.fft2(cell.waves[0, 0, 2 * PERIODS - 1]).numpy()
    height, width = ours.shape
    ky = np.fft.fftfreq(height, cell.cell_A[1] / height)[:, None]
    kx = np.fft.fftfreq(width, cell.cell_A[0] / width)[None]
    ours = ours * np.exp(-1j * math.pi * ceria.microscope.wavelength_A * step_A * (ky**2 + kx**2)) / ours.size
    index = [np.fft.fftfreq(points, 1 / points).astype(int) for points in (height, width)]
    theirs = (np.fft.fft2(theirs) / theirs.size)[np.ix_(*index)]
    seen = np.hypot(ky, kx) < 2.0
    scattered = np.abs(theirs[seen]) ** 2
    scattered[0] = 0
    assert (np.abs(ours - theirs)[seen] ** 2).sum() < 1e-3 * scattered.sum()


def test_an_image_is_the_sum_over_the_focal_spread(cell: UnitCell, ceria: Recipe):
    one = torch.ones(1)
    optics = Optics(50 * one, -9e4 * one, 5e7 * one, 35 * one, 3 * one, 0.4 * one, 200 * one, 1.0 * one)
    exposure = Exposure(500 * one, 0.5 * one, 0.2 * one, 0 * one, 0 * one, 0 * one, one > 0, 0 * one)
    found = cell.coefficients(cell.waves[1:2, 0, 9], optics, exposure, 0.1 * one)[0].numpy()

    wave = np.fft.fft2(cell.waves[1, 0, 9].numpy())
    height, width = wave.shape
    ky = np.fft.fftfreq(height, cell.cell_A[1] / height)[:, None]
    kx = np.fft.fftfreq(width, cell.cell_A[0] / width)[None]
    k, azimuth, wavelength_A = np.hypot(ky, kx), np.arctan2(ky, kx + 0 * ky), ceria.microscope.wavelength_A
    theta, image, total = wavelength_A * k, np.zeros(wave.shape), 0.0
    for t in np.linspace(-4, 4, 81):
        chi = theta**2 / 2 * (50 + 35 * t + 3 * np.cos(2 * (azimuth - 0.4)))
        chi = chi + theta**3 / 3 * 200 * np.cos(azimuth - 1.0) - theta**4 / 4 * 9e4 + theta**6 / 6 * 5e7
        weight = math.exp(-t * t / 2)
        there = np.fft.ifft2(wave * np.exp(-2j * math.pi / wavelength_A * chi) * (k <= 2))
        image, total = image + weight * np.abs(there) ** 2, total + weight
    image = 1 + 0.5 * (image / total - 1)
    spectrum = np.fft.fft2(image) / image.size
    expected = spectrum[cell.hk[:, 1], cell.hk[:, 0]] / spectrum[0, 0].real
    per_A = cell.per_A.numpy()
    expected = expected * np.exp(-2 * math.pi**2 * (0.2**2 + 0.1**2) * (per_A**2).sum(1))
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_sharing_atoms_out_among_samples_blurs_a_layer_and_keeps_its_whole(ceria: Recipe):
    projection = project(ceria.crystal)
    layer = projection.sites[projection.sites[:, 2] == projection.sites[0, 2]]
    ky, kx = (
        np.fft.fftfreq(points, side / points) for points, side in zip((48, 64), projection.cell_A[::-1], strict=True)
    )
    exact, shared = (
        potential(layer, projection, ceria.multislice.model_copy(update={"placing": placing}), ky, kx)
        for placing in ("exact", "bilinear")
    )
    assert shared.mean() == pytest.approx(exact.mean())
    assert 0.6 < shared.max() / exact.max() < 0.95
