"""Exit waves against a slice loop written here, a published extinction distance, and free space."""

import numpy as np
import pyfftw
import pytest
from ase import Atoms
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from segdepth_training.frames.multislice import abtem, exit_wave, propagated
from segdepth_training.recipes.recipe import Microscope, Multislice
from segdepth_training.specimens.specimen import Specimen

REST_eV = 510998.95
SETTINGS = Multislice(stored_sampling_A=0.1)


def interaction(energy_eV: float, wavelength_A: float) -> float:
    """Phase per projected potential [rad/(V Å)] (Kirkland, Advanced Computing in Electron Microscopy, eq. 5.6)."""
    return 2 * np.pi / (wavelength_A * energy_eV) * (REST_eV + energy_eV) / (2 * REST_eV + energy_eV)


def slice_loop(
    slices: NDArray[np.float64], dz_A: NDArray[np.float64], side_A: float, energy_eV: float, tilt: tuple[float, float]
) -> list[NDArray[np.complex128]]:
    """Waves behind each slice [V Å]; `tilt` is the incident wave's transverse spatial frequency [1/Å]."""
    wavelength_A = Microscope(energy_keV=energy_eV / 1e3).wavelength_A
    points = slices.shape[-1]
    k = np.fft.fftfreq(points, side_A / points)
    kx, ky = k[:, None], k[None, :]
    kept = np.hypot(kx, ky) < 2 / 3 * np.abs(k).max()
    square = (kx + tilt[0]) ** 2 + (ky + tilt[1]) ** 2
    wave = np.ones((points, points), complex)
    waves = []
    for potential, thickness_A in zip(slices, dz_A, strict=True):
        transmitted = wave * np.exp(1j * interaction(energy_eV, wavelength_A) * potential)
        wave = np.fft.ifft2(np.fft.fft2(transmitted) * np.exp(-1j * np.pi * wavelength_A * thickness_A * square) * kept)
        waves.append(wave)
    return waves


def potential_slices(
    atoms: Atoms, points: int, settings: Multislice
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Projected potentials with the pipeline's settings, and the slices' thicknesses."""
    potential = abtem().Potential(
        atoms, gpts=points, slice_thickness=settings.slice_A, projection="infinite", parametrization="kirkland"
    )
    return np.asarray(potential.build(lazy=False).array, float), np.asarray(potential.slice_thickness, float)


def specimen(vacuum_A: float = 2.0) -> Specimen:
    """A few dozen cerium and oxygen atoms at random, none in the middle of another."""
    rng = np.random.default_rng(4)
    side_A = 12.8
    grid = np.stack(np.meshgrid([2.0, 5.0, 8.0, 11.0], [2.0, 5.0, 8.0, 11.0], [2.0, 5.8, 9.6]), -1).reshape(-1, 3)
    positions = grid + rng.normal(0, 0.2, grid.shape)
    positions[:, 2] += 2.0 - positions[:, 2].min()
    lowest_A = float(positions[:, 2].max())
    symbols = rng.choice(["Ce", "O"], len(grid))
    atoms = Atoms(symbols, positions, cell=[side_A, side_A, lowest_A + vacuum_A], pbc=True)
    return Specimen(atoms, np.zeros((0, 4), np.float32), "flat", "paper", lowest_A)


def test_exit_wave_is_that_of_an_independent_slice_loop():
    thing, microscope = specimen(), Microscope()
    slices, dz_A = potential_slices(thing.atoms, 128, SETTINGS)
    assert float(dz_A.sum()) == pytest.approx(float(thing.atoms.cell[2, 2]))
    last = slice_loop(slices, dz_A, 12.8, 300e3, (0.0, 0.0))[-1]
    back_A = thing.lowest_A - float(thing.atoms.cell[2, 2])
    expected = propagated(last.T.astype(np.complex64), 12.8, back_A, microscope.wavelength_A, 64)
    wave = exit_wave(thing, Multislice(stored_sampling_A=0.2), microscope)
    assert np.abs(expected - 1).max() > 1  # far from vacuum
    assert_allclose(wave, expected, atol=0.02)
    assert np.sqrt((np.abs(wave - expected) ** 2).mean()) < 4e-3


def test_defocus_is_zero_at_the_lowest_atom_whatever_the_cell():
    near, far = (exit_wave(specimen(vacuum_A), SETTINGS, Microscope()) for vacuum_A in (2.0, 6.0))
    assert np.sqrt((np.abs(near - far) ** 2).mean()) < 0.02


def test_exit_wave_is_the_same_to_the_last_bit_whatever_plans_fftw_makes():
    """A new process knows no plan of FFTW, so forgetting them is as good as starting one."""
    waves = []
    for _ in range(6):
        pyfftw.forget_wisdom()
        waves.append(exit_wave(specimen(), SETTINGS, Microscope()).tobytes())
    assert len(set(waves)) == 1


@pytest.mark.parametrize(
    # Hirsch, Howie, Nicholson, Pashley & Whelan, Electron Microscopy of Thin Crystals (1965): two-beam extinction
    # distances of aluminium at 100 kV. The rest of the systematic row shortens that of 200 by a few per cent.
    "side, positions, published_A, tolerance",
    [
        (1.0, [(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)], 673.0, 0.07),
        (0.5**0.5, [(0, 0, 0), (0.5, 0.5, 0.5)], 1057.0, 0.02),
    ],
    ids=["200", "220"],
)
def test_pendelloesung_of_aluminium(
    side: float, positions: list[tuple[float, float, float]], published_A: float, tolerance: float
):
    """At the Bragg angle, far off the zone axis, the two beams swing with the period of the extinction distance.

    The reflection is (2, 0) of a square cell, seen along [001]: of the cubic one (200), of the one turned by 45° (220).
    """
    lattice_A, points = 4.0496, 48
    side_A, cells = side * lattice_A, int(1.1 * published_A / lattice_A)
    where = np.array(positions) * [side_A, side_A, lattice_A] + [0, 0, 1e-3]
    atoms = Atoms(["Al"] * len(where), where, cell=[side_A, side_A, lattice_A], pbc=True)
    slices, dz_A = potential_slices(atoms, points, SETTINGS)
    # -g/2, and a tilt along the planes to which no reflection off the row answers.
    tilt = (-1 / side_A, 2.61)
    waves = slice_loop(np.tile(slices, (cells, 1, 1)), np.tile(dz_A, cells), side_A, 100e3, tilt)
    beams = np.array([np.fft.fft2(wave) / points**2 for wave in waves[len(dz_A) - 1 :: len(dz_A)]])
    diffracted = np.abs(beams[:, 2, 0]) ** 2
    half = int(diffracted.argmax())
    depth_A = (np.arange(cells) + 1) * lattice_A
    around = slice(half - 8, half + 9)
    curve = np.polyfit(depth_A[around], diffracted[around], 2)
    assert diffracted.max() > 0.85
    assert -curve[1] / curve[0] == pytest.approx(published_A, rel=tolerance)


def test_propagation_is_free_space():
    """A Gaussian beam widens as 1 + (lambda z / pi w²)² (Saleh & Teich, Fundamentals of Photonics, §3.1)."""
    points, side_A, waist_A, wavelength_A = 128, 25.6, 1.5, 0.05
    x = (np.arange(points) - points // 2) * side_A / points
    beam = np.exp(-(x[:, None] ** 2 + x[None, :] ** 2) / waist_A**2).astype(np.complex64)
    distance_A = 120.0
    seen = np.abs(propagated(beam, side_A, distance_A, wavelength_A, points)) ** 2
    width = waist_A**2 * (1 + (wavelength_A * distance_A / (np.pi * waist_A**2)) ** 2)
    expected = np.exp(-2 * (x[:, None] ** 2 + x[None, :] ** 2) / width) * waist_A**2 / width
    assert_allclose(seen, expected, atol=1e-3)
    back = propagated(
        propagated(beam, side_A, distance_A, wavelength_A, points), side_A, -distance_A, wavelength_A, 128
    )
    assert_allclose(back, beam, atol=1e-5)


def test_cropping_keeps_positions_and_level():
    points, side_A = 128, 25.6
    x = np.arange(points) * side_A / points
    wave = (1 + 0.3 * np.exp(2j * np.pi * 5 * (x[None, :] + 2 * x[:, None]) / side_A)).astype(np.complex64)
    half = propagated(wave, side_A, 0.0, 0.02, points // 2)
    assert_allclose(half, wave[::2, ::2], atol=1e-5)
