"""Units and the contrast transfer function, against textbook constants and against abTEM's."""

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from numpy.testing import assert_allclose

from segdepth_training.frames.imaging import intensity
from segdepth_training.frames.multislice import exit_wave
from segdepth_training.recipes.recipe import Microscope, Multislice
from segdepth_training.specimens.specimen import Specimen
from tests.physics.abtem_reference import abtem
from tests.physics.conditions import optics

MICROSCOPE = Microscope()
WAVELENGTH_A = MICROSCOPE.wavelength_A
SIDE_A = 12.8
POINTS = 128


@pytest.mark.parametrize(
    # De Broglie with the relativistic momentum; Williams & Carter, Transmission Electron Microscopy, table 1.2.
    "energy_keV, wavelength_A",
    [(80, 0.041757), (100, 0.037014), (200, 0.025079), (300, 0.019687)],
)
def test_electron_wavelength(energy_keV: float, wavelength_A: float):
    assert Microscope(energy_keV=energy_keV).wavelength_A == pytest.approx(wavelength_A, abs=1e-6)


def wave(seed: int = 1) -> np.ndarray:
    """A random wave of spatial frequencies below 1.2 /Å, as a strong object might give."""
    rng = np.random.default_rng(seed)
    k = np.fft.fftfreq(POINTS, SIDE_A / POINTS)
    low = np.hypot(k[:, None], k[None]) < 1.2
    spectrum = (rng.normal(size=low.shape) + 1j * rng.normal(size=low.shape)) * low
    psi = np.fft.ifft2(spectrum)
    return (1 + 0.4 * psi / np.abs(psi).std()).astype(np.complex64)


@pytest.mark.parametrize(
    "ours, theirs",
    [
        ({"c10_A": 60.0}, {"C10": 60.0}),
        ({"c10_A": 60.0}, {"defocus": -60.0}),
        ({"c30_A": -9e4, "c10_A": 40.0}, {"C30": -9e4, "C10": 40.0}),
        ({"c50_A": 5e7}, {"C50": 5e7}),
        ({"c12_A": 25.0, "c12_rad": 0.7}, {"C12": 25.0, "phi12": 0.7}),
        ({"c21_A": 900.0, "c21_rad": 2.1}, {"C21": 900.0, "phi21": 2.1}),
        (
            {"c10_A": 55.0, "c30_A": -9e4, "c50_A": 5e7, "c12_A": 6.0, "c12_rad": 1.9, "c21_A": 300.0, "c21_rad": 5.0},
            {"C10": 55.0, "C30": -9e4, "C50": 5e7, "C12": 6.0, "phi12": 1.9, "C21": 300.0, "phi21": 5.0},
        ),
    ],
)
def test_image_is_that_of_abtems_transfer_function(ours: dict[str, float], theirs: dict[str, float]):
    tem = abtem()
    psi = wave()
    # abTEM's arrays run along x first, ours along y.
    waves = tem.Waves(psi.T.copy(), energy=300e3, sampling=SIDE_A / POINTS)
    image = waves.apply_ctf(tem.CTF(energy=300e3, **theirs)).intensity().compute().array.T
    seen = intensity(torch.from_numpy(psi)[None], SIDE_A, optics(**ours), MICROSCOPE)[0].numpy()
    assert np.ptp(image) > 0.5
    assert_allclose(seen, image, atol=2e-3 * np.ptp(image))


def test_sign_of_defocus_matters_to_that_comparison():
    psi = torch.from_numpy(wave())[None]
    over, under = (intensity(psi, SIDE_A, optics(c10_A=c), MICROSCOPE)[0] for c in (60.0, -60.0))
    assert float((over - under).abs().max()) > 0.3


def column(element: str, atoms: int) -> Specimen:
    """One column along the beam with the period of CeO2 [110]."""
    z = 2.0 + 3.8264 * np.arange(atoms)
    middle = SIDE_A / 2
    structure = Atoms(
        [element] * atoms,
        [(middle, middle, height) for height in z],
        cell=[SIDE_A, SIDE_A, z[-1] + 2],
        pbc=True,
    )
    columns = np.array([[middle, middle, atoms, 0]], np.float32)
    return Specimen(structure, columns, "flat", "paper", float(z[-1]))


@pytest.mark.parametrize("defocus_A, bright", [(50.0, True), (-50.0, False)])
def test_cerium_is_bright_in_overfocus_alone(defocus_A: float, bright: bool):
    settings = Multislice(stored_sampling_A=0.1)
    psi = torch.from_numpy(exit_wave(column("Ce", 5), settings, Microscope()))[None]
    imaging = optics(c10_A=defocus_A, c30_A=-9e4, c50_A=5e7, focal_spread_A=30.0)
    image = intensity(psi, SIDE_A, imaging, MICROSCOPE)[0]
    middle = POINTS // 2
    assert (float(image[middle, middle]) > 1.5) == bright


@pytest.mark.parametrize("spread_A", [20.0, 30.0, 40.0])
def test_focal_spread_damps_as_its_envelope(spread_A: float):
    """Linear contrast of a weak phase grating falls as exp(-(pi lambda k² spread)² / 2) (Reimer & Kohl, TEM, §6.4)."""
    x = torch.arange(POINTS) * SIDE_A / POINTS
    defocus_A = 50.0
    # Up to the aperture of 2 /Å, far beyond the information limit.
    for cycles in (4, 8, 11, 16, 20, 25):
        k = cycles / SIDE_A
        grating = torch.exp(0.01j * torch.cos(2 * math.pi * k * x)).expand(1, POINTS, POINTS)
        image = intensity(grating, SIDE_A, optics(c10_A=defocus_A, focal_spread_A=spread_A), MICROSCOPE)[0, 0]
        amplitude = 2 * float((image * torch.cos(2 * math.pi * k * x)).mean())
        phase = math.pi * WAVELENGTH_A * k**2
        expected = 0.02 * math.sin(phase * defocus_A) * math.exp(-((phase * spread_A) ** 2) / 2)
        assert amplitude == pytest.approx(expected, abs=2e-4)


def test_the_aperture_stops_what_lies_beyond():
    x = torch.arange(POINTS) * SIDE_A / POINTS
    for cycles, seen in ((24, True), (27, False)):
        grating = torch.exp(0.1j * torch.cos(2 * math.pi * cycles / SIDE_A * x)).expand(1, POINTS, POINTS)
        image = intensity(grating, SIDE_A, optics(c10_A=40.0), MICROSCOPE)[0]
        assert (float(image.std()) > 1e-3) == seen


def test_vacuum_is_one():
    vacuum = torch.ones(2, 32, 32, dtype=torch.complex64)
    image = intensity(vacuum, 6.4, optics(2, c10_A=70.0, c30_A=-9e4, focal_spread_A=30.0, c12_A=5.0), MICROSCOPE)
    assert_allclose(image.numpy(), 1, atol=1e-5)
