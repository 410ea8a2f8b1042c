"""The noise chain: what a camera makes of a known image, and the statistics of its counts."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from segdepth_core.spectrum import measured_dose
from segdepth_training.frames.imaging import blurred, expose
from tests.physics.conditions import exposure, numbers

SIDE_A = 25.6
POINTS = 128


def cosine(cycles: int, axis: int = 1, frames: int = 1) -> Tensor:
    """An image 1 + cos / 2 with so many cycles over the side, along x (axis 1) or y (axis 0)."""
    x = torch.arange(POINTS) * 2 * math.pi * cycles / POINTS
    wave = 1 + 0.5 * torch.cos(x)
    return (wave[None, :] if axis == 1 else wave[:, None]).expand(POINTS, POINTS).expand(frames, POINTS, POINTS)


def transferred(cycles: int, points: int, axis: int = 1, **conditions: float) -> float:
    """The share of a cosine's amplitude that a camera of so many pixels records without noise."""
    frame = expose(cosine(cycles, axis), SIDE_A, points, exposure(**conditions), numbers())[0]
    x = torch.arange(points) * 2 * math.pi * cycles / points
    carrier = torch.cos(x)[None, :] if axis == 1 else torch.cos(x)[:, None]
    return 2 * float((frame * carrier).mean()) / 0.5


def integration(cycles: int, points: int) -> float:
    """What the pixels' own width leaves of a frequency."""
    return float(np.sinc(cycles / points))


@pytest.mark.parametrize("points", [102, 128, 214, 426])
def test_pixels_integrate_and_stay_in_place(points: int):
    assert transferred(12, points) == pytest.approx(integration(12, points), abs=1e-3)
    assert transferred(12, points, axis=0) == pytest.approx(integration(12, points), abs=1e-3)


def test_vibration_blurs_as_a_gaussian():
    k = 12 / SIDE_A
    expected = math.exp(-2 * (math.pi * 0.2 * k) ** 2) * integration(12, POINTS)
    assert transferred(12, POINTS, vibration_A=0.2) == pytest.approx(expected, abs=1e-3)


def test_drift_blurs_along_its_direction_alone():
    expected = float(np.sinc(12 / SIDE_A * 0.8)) * integration(12, POINTS)
    assert transferred(12, POINTS, drift_A=0.8) == pytest.approx(expected, abs=1e-3)
    assert transferred(12, POINTS, axis=0, drift_A=0.8) == pytest.approx(integration(12, POINTS), abs=1e-3)
    turned = transferred(12, POINTS, axis=0, drift_A=0.8, drift_rad=math.pi / 2)
    assert turned == pytest.approx(expected, abs=1e-3)


def test_point_spread_is_in_pixels():
    for points in (102, 214):
        expected = math.exp(-2 * (math.pi * 0.6 * 12 / points) ** 2) * integration(12, points)
        assert transferred(12, points, mtf_px=0.6) == pytest.approx(expected, abs=1e-3)


def test_point_spread_of_correlated_noise_acts_on_the_image_too():
    frame = expose(cosine(12), SIDE_A, POINTS, exposure(mtf_px=0.6, correlated=True), numbers())
    plain = expose(cosine(12), SIDE_A, POINTS, exposure(mtf_px=0.6), numbers())
    assert_allclose(frame.numpy(), plain.numpy(), atol=1e-4)


def test_contrast_scales_about_the_vacuum_level():
    assert transferred(12, POINTS, contrast=0.9) == pytest.approx(0.9 * integration(12, POINTS), abs=1e-3)
    frame = expose(cosine(12), SIDE_A, POINTS, exposure(contrast=0.9), numbers())
    assert float(frame.mean()) == pytest.approx(1, abs=1e-4)


def vacuum(points: int, frames: int = 12, seed: int = 1, **conditions: float | bool) -> Tensor:
    """Frames of nothing but the beam."""
    flat = torch.ones(frames, POINTS, POINTS)
    return expose(flat, SIDE_A, points, exposure(frames, **conditions), numbers(seed))  # type: ignore[arg-type]


@pytest.mark.parametrize("points", [128, 256])
def test_counts_are_poisson_with_the_dose_per_area(points: int):
    dose = 300.0
    electrons = dose * (SIDE_A / points) ** 2
    frames = vacuum(points, dose=dose)
    assert torch.equal(frames, frames.round())
    assert float(frames.mean()) == pytest.approx(electrons, rel=0.01)
    assert float(frames.var()) == pytest.approx(electrons, rel=0.02)
    third = float(((frames - frames.mean()) ** 3).mean())
    assert third == pytest.approx(electrons, rel=0.25)  # a Poisson distribution's is its mean, a Gaussian's is 0


@pytest.mark.parametrize("points", [102, 128, 160, 256, 426])
@pytest.mark.parametrize("dose", [50.0, 1000.0])
def test_measured_dose_is_the_stated_one_at_any_sampling(points: int, dose: float):
    frames = vacuum(points, dose=dose)
    measured = measured_dose(frames, SIDE_A / points)
    assert float(measured.mean()) == pytest.approx(dose, rel=0.06)


def test_read_noise_adds_its_share_of_the_shot_noise():
    electrons = 400 * (SIDE_A / POINTS) ** 2
    frames = vacuum(POINTS, dose=400.0, read_noise=0.5)
    assert float(frames.mean()) == pytest.approx(electrons, rel=0.01)
    assert float(frames.var()) == pytest.approx(1.25 * electrons, rel=0.02)
    measured = float(measured_dose(frames, SIDE_A / POINTS).mean())
    assert measured == pytest.approx(400 / 1.25, rel=0.06)


def spectrum(frames: Tensor, electrons: float) -> tuple[Tensor, Tensor]:
    """Noise power in units of shot noise at spatial frequencies [1/px]."""
    power = torch.fft.fft2(frames - frames.mean()).abs().square().mean(0) / frames[0].numel() / electrons
    k = torch.fft.fftfreq(frames.shape[-1])
    return power, torch.hypot(k[:, None], k[None, :])


@pytest.mark.parametrize("correlated", [False, True])
def test_noise_spectrum_before_and_after_the_point_spread(correlated: bool):
    electrons, sigma_px = 400 * (SIDE_A / POINTS) ** 2, 0.5
    power, k = spectrum(vacuum(POINTS, dose=400.0, mtf_px=sigma_px, correlated=correlated), electrons)
    for low, high in ((0.02, 0.1), (0.2, 0.25), (0.4, 0.45)):
        ring = (k > low) & (k < high)
        expected = torch.exp(-((2 * math.pi * sigma_px * k[ring]) ** 2)).mean() if correlated else torch.tensor(1.0)
        assert float(power[ring].mean()) == pytest.approx(float(expected), rel=0.08)


def test_signal_survives_noise_at_the_right_level():
    frames = expose(cosine(8, frames=60), SIDE_A, POINTS, exposure(60, dose=500.0), numbers())
    electrons = 500 * (SIDE_A / POINTS) ** 2
    mean = frames.mean((0, 1)) / electrons
    x = torch.arange(POINTS) * 2 * math.pi * 8 / POINTS
    assert_allclose(mean.numpy(), (1 + 0.5 * integration(8, POINTS) * torch.cos(x)).numpy(), atol=0.02)


def test_exposures_are_seeded():
    assert torch.equal(vacuum(POINTS, 2, seed=3, dose=100.0), vacuum(POINTS, 2, seed=3, dose=100.0))
    assert not torch.equal(vacuum(POINTS, 2, seed=3, dose=100.0), vacuum(POINTS, 2, seed=4, dose=100.0))


def test_blur_keeps_every_electron():
    frames = vacuum(POINTS, 2, dose=50.0)
    assert_allclose(blurred(frames, torch.tensor([0.3, 1.2])).sum((1, 2)), frames.sum((1, 2)), rtol=1e-5)
