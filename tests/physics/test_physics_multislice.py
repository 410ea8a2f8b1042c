"""Exit waves against a slice loop written here, a published extinction distance, and free space."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms as Structure
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from segdepth_training.frames.multislice import exit_wave, exit_waves
from segdepth_training.frames.potential import Atoms, Grid, slice_A, slices
from segdepth_training.recipes.recipe import Microscope, Multislice
from segdepth_training.specimens.specimen import Specimen
from tests.physics.abtem_reference import propagated

ROOT = Path(__file__).parents[2]
MICROSCOPE = Microscope()
SETTINGS = Multislice(stored_sampling_A=0.1)
SIDE_A = 12.8
POINTS = 128


def slice_loop(
    phases: NDArray[np.float64], dz_A: float, side_A: float, microscope: Microscope, tilt: tuple[float, float]
) -> list[NDArray[np.complex128]]:
    """Waves behind each slice [rad]; `tilt` is the incident wave's transverse spatial frequency [1/Å]."""
    points = phases.shape[-1]
    k = np.fft.fftfreq(points, side_A / points)
    ky, kx = k[:, None], k[None, :]
    kept = np.hypot(ky, kx) < 2 / 3 * np.abs(k).max()
    square = (ky + tilt[0]) ** 2 + (kx + tilt[1]) ** 2
    way = np.exp(-1j * np.pi * microscope.wavelength_A * dz_A * square) * kept
    wave = np.ones((points, points), complex)
    waves = []
    for phase in phases:
        transmission = np.fft.ifft2(np.fft.fft2(np.exp(1j * phase)) * kept)
        wave = np.fft.ifft2(np.fft.fft2(wave * transmission) * way)
        waves.append(wave)
    return waves


def specimen(vacuum_A: float = 2.0, seed: int = 4) -> Specimen:
    """A few dozen cerium and oxygen atoms at random, none in the middle of another."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid([2.0, 5.0, 8.0, 11.0], [2.0, 5.0, 8.0, 11.0], [2.0, 5.8, 9.6]), -1).reshape(-1, 3)
    positions = grid + rng.normal(0, 0.2, grid.shape)
    positions[:, 2] += 2.0 - positions[:, 2].min()
    return cell(positions, rng.choice(["Ce", "O"], len(grid)), SIDE_A, vacuum_A)


def cell(positions: NDArray[np.float64], symbols: NDArray[np.str_], side_A: float, vacuum_A: float) -> Specimen:
    """Atoms in a periodic cell that ends `vacuum_A` below the lowest."""
    lowest_A = float(positions[:, 2].max())
    atoms = Structure(symbols, positions, cell=[side_A, side_A, lowest_A + vacuum_A], pbc=True)
    return Specimen(atoms, np.zeros((0, 5), np.float32), "flat", "paper", lowest_A)


def phases_of(thing: Specimen, points: int, microscope: Microscope = MICROSCOPE) -> tuple[NDArray[np.float64], float]:
    """Phase of every slice, empty ones too, and their thickness."""
    atoms = Atoms.of([thing])
    dz_A = float(slice_A(atoms, SETTINGS))
    phases = np.zeros((round(float(atoms.depth_A) / dz_A), points, points))
    for phase, behind in slices(atoms, SETTINGS, microscope, Grid(points, atoms.side_A)):
        phases[len(phases) - 1 - behind] = phase[0]
    return phases, dz_A


def test_exit_wave_is_that_of_an_independent_slice_loop():
    thing = specimen()
    phases, dz_A = phases_of(thing, POINTS)
    assert dz_A <= SETTINGS.slice_A
    last = slice_loop(phases, dz_A, SIDE_A, MICROSCOPE, (0.0, 0.0))[-1]
    back_A = thing.lowest_A - float(thing.atoms.cell[2, 2])
    expected = propagated(last.astype(np.complex64), Grid(64, SIDE_A), back_A, MICROSCOPE)
    wave = exit_wave(thing, Multislice(stored_sampling_A=0.2), MICROSCOPE)
    assert np.abs(expected - 1).max() > 1  # far from vacuum
    assert_allclose(wave, expected, atol=0.02)
    assert np.sqrt((np.abs(wave - expected) ** 2).mean()) < 4e-3


@pytest.mark.parametrize("placing, off", [("bilinear", 0.15), ("exact", 3e-3)])
def test_phase_is_that_of_structure_factors(placing: str, off: float):
    """Summed over atoms frequency by frequency, instead of through samples: below half of the largest frequency."""
    thing = specimen()
    settings = SETTINGS.model_copy(update={"slice_A": 100.0, "placing": placing})
    ((phase, _),) = slices(Atoms.of([thing]), settings, MICROSCOPE, Grid(POINTS, SIDE_A))
    one = cell(np.zeros((1, 3)), np.array(["O"]), SIDE_A, 2.0), cell(np.zeros((1, 3)), np.array(["Ce"]), SIDE_A, 2.0)
    factors = [
        next(iter(slices(Atoms.of([atom]), settings, MICROSCOPE, Grid(POINTS, SIDE_A)))).phase[0] for atom in one
    ]
    k = np.fft.fftfreq(POINTS, SIDE_A / POINTS)
    expected = np.zeros((POINTS, POINTS), complex)
    for symbol, factor in zip(("O", "Ce"), factors, strict=True):
        x, y = thing.atoms.positions[np.array(thing.atoms.get_chemical_symbols()) == symbol, :2].T
        structure = np.exp(-2j * np.pi * np.outer(k, y)) @ np.exp(-2j * np.pi * np.outer(x, k))
        expected += structure * np.fft.fft2(factor.numpy())
    low = np.hypot(k[:, None], k[None, :]) < 2.5
    found = np.fft.fft2(phase[0].numpy())
    distance = np.linalg.norm((found - expected)[low]) / np.linalg.norm(expected[low])
    assert distance < off
    assert placing == "exact" or distance > 0.02


def test_defocus_is_zero_at_the_lowest_atom_whatever_the_cell():
    near, far = (exit_wave(specimen(vacuum_A), SETTINGS, MICROSCOPE) for vacuum_A in (2.0, 6.0))
    assert np.sqrt((np.abs(near - far) ** 2).mean()) < 0.02


def test_vacuum_is_one():
    nothing = cell(np.zeros((1, 3)), np.array(["Ce"]), SIDE_A, 5.0)
    atoms = Atoms.of([nothing])
    assert_allclose(exit_waves(replace(atoms, occupancy=torch.zeros(1)), SETTINGS, MICROSCOPE)[0].numpy(), 1, atol=1e-5)
    beside = Specimen(nothing.atoms[:0], nothing.columns, "flat", "paper", 2.0)
    with_nothing = exit_waves(Atoms.of([specimen(), beside]), SETTINGS, MICROSCOPE)
    assert_allclose(with_nothing[1].numpy(), 1, atol=1e-5)


def test_specimens_of_a_batch_do_not_know_of_each_other():
    things = [specimen(2.0, seed=1), specimen(7.0, seed=2), specimen(3.1, seed=3)]
    together = exit_waves(Atoms.of(things), SETTINGS, MICROSCOPE).numpy()
    for wave, thing in zip(together, things, strict=True):
        assert_allclose(wave, exit_wave(thing, SETTINGS, MICROSCOPE), atol=1e-5)
    with pytest.raises(ValueError, match="share one"):
        Atoms.of([things[0], cell(np.ones((1, 3)), np.array(["O"]), 6.4, 2.0)])


@pytest.mark.parametrize("placing", ["bilinear", "exact"])
def test_gradients_are_differences(placing: str):
    """Of an image's misfit, by an atom's position in the image and by its occupancy."""
    settings = SETTINGS.model_copy(update={"placing": placing})
    atoms = Atoms.of([specimen()])
    aim = exit_waves(Atoms.of([specimen(seed=5)]), settings, MICROSCOPE).abs().square().double()

    def misfit(positions_A: torch.Tensor, occupancy: torch.Tensor) -> torch.Tensor:
        moved = replace(atoms, positions_A=positions_A, occupancy=occupancy)
        return (exit_waves(moved, settings, MICROSCOPE).abs().square().double() - aim).square().sum()

    at = [atoms.positions_A.clone().requires_grad_(), atoms.occupancy.clone().requires_grad_()]
    by_position, by_occupancy = torch.autograd.grad(misfit(at[0], at[1]), at)
    step = 2e-3
    for axis in (0, 1):
        by = torch.zeros_like(at[0])
        by[7, axis] = step
        difference = (misfit(at[0] + by, at[1]) - misfit(at[0] - by, at[1])) / (2 * step)
        assert float(by_position[7, axis]) == pytest.approx(difference.item(), rel=0.02, abs=2.0)
    by = torch.zeros_like(at[1])
    by[7] = step
    difference = (misfit(at[0], at[1] + by) - misfit(at[0], at[1] - by)) / (2 * step)
    assert float(by_occupancy[7]) == pytest.approx(difference.item(), rel=0.02, abs=1.0)


FRESH = """
import sys
from segdepth_training.frames.multislice import exit_wave
from tests.physics.test_physics_multislice import MICROSCOPE, SETTINGS, specimen
sys.stdout.buffer.write(exit_wave(specimen(), SETTINGS, MICROSCOPE).tobytes())
"""


@pytest.mark.slow
def test_exit_wave_is_the_same_to_the_last_bit_in_every_process():
    """Whatever was computed there before, and with however many threads."""
    fresh = subprocess.run([sys.executable, "-c", FRESH], cwd=ROOT, capture_output=True, check=True).stdout
    threads, seen = torch.get_num_threads(), {fresh}
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            exit_wave(specimen(5.0 + number), SETTINGS, MICROSCOPE)
            seen.add(exit_wave(specimen(), SETTINGS, MICROSCOPE).tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(seen) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_computes_the_same():
    things = [specimen(2.0, seed=1), specimen(7.0, seed=2)]
    waves = exit_waves(Atoms.of(things, "cuda"), SETTINGS, MICROSCOPE).cpu().numpy()
    assert_allclose(waves, [exit_wave(thing, SETTINGS, MICROSCOPE) for thing in things], atol=1e-4)


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
    lattice_A, points, microscope = 4.0496, 48, Microscope(energy_keV=100)
    side_A, cells = side * lattice_A, int(1.1 * published_A / lattice_A)
    where = np.array(positions) * [side_A, side_A, lattice_A] + [0, 0, 1e-3]
    lowest_A = float(where[:, 2].max())
    phases, dz_A = phases_of(
        cell(where, np.array(["Al"] * len(where)), side_A, lattice_A - lowest_A), points, microscope
    )
    # -g/2, and a tilt along the planes to which no reflection off the row answers.
    tilt = (-1 / side_A, 2.61)
    waves = slice_loop(np.tile(phases, (cells, 1, 1)), dz_A, side_A, microscope, tilt)
    beams = np.array([np.fft.fft2(wave) / points**2 for wave in waves[len(phases) - 1 :: len(phases)]])
    diffracted = np.abs(beams[:, 2, 0]) ** 2
    half = int(diffracted.argmax())
    depth_A = (np.arange(cells) + 1) * lattice_A
    around = slice(half - 8, half + 9)
    curve = np.polyfit(depth_A[around], diffracted[around], 2)
    assert diffracted.max() > 0.85
    assert -curve[1] / curve[0] == pytest.approx(published_A, rel=tolerance)


def test_propagation_is_free_space():
    """A Gaussian beam widens as 1 + (lambda z / pi w²)² (Saleh & Teich, Fundamentals of Photonics, §3.1)."""
    grid, waist_A, distance_A = Grid(128, 25.6), 1.5, 300.0
    x = (np.arange(grid.points) - grid.points // 2) * grid.sampling_A
    square = x[:, None] ** 2 + x[None, :] ** 2
    beam = np.exp(-square / waist_A**2).astype(np.complex64)
    seen = np.abs(propagated(beam, grid, distance_A, MICROSCOPE)) ** 2
    width = waist_A**2 * (1 + (MICROSCOPE.wavelength_A * distance_A / (np.pi * waist_A**2)) ** 2)
    assert width > 1.5 * waist_A**2
    assert_allclose(seen, np.exp(-2 * square / width) * waist_A**2 / width, atol=1e-3)
    back = propagated(propagated(beam, grid, distance_A, MICROSCOPE), grid, -distance_A, MICROSCOPE)
    assert_allclose(back, beam, atol=1e-5)


def test_cropping_keeps_positions_and_level():
    points, side_A = 128, 25.6
    x = np.arange(points) * side_A / points
    wave = (1 + 0.3 * np.exp(2j * np.pi * 5 * (x[None, :] + 2 * x[:, None]) / side_A)).astype(np.complex64)
    half = propagated(wave, Grid(points // 2, side_A), 0.0, MICROSCOPE)
    assert_allclose(half, wave[::2, ::2], atol=1e-5)
