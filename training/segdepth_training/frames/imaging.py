"""From exit waves to camera frames: aberrations, focal spread, then the noise chain at the camera's own pixels.

Everything is vectorised over a batch on the device of the waves. Shape suffixes: B frames, H, W samples of the wave or
pixels of the camera.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segdepth_training.recipes.recipe import Camera, Microscope

FOCAL_NODES = 13
"""Evenly spaced defoci of the focal average, over FOCAL_REACH standard deviations to either side. Within an aperture of
2 /Å and up to 40 Å of spread, images are right to 0.3 % of their contrast. As many Gauss-Hermite nodes leave 40 %: they
hardly damp what lies beyond the information limit."""

FOCAL_REACH = 3.0


@dataclass(frozen=True)
class Optics:
    """Imaging conditions, each a tensor [B]; convention exp(-i chi), lengths in Å, C10 > 0 is overfocus."""

    c10_A: Tensor
    c30_A: Tensor
    c50_A: Tensor
    focal_spread_A: Tensor
    c12_A: Tensor
    c12_rad: Tensor
    c21_A: Tensor
    c21_rad: Tensor


@dataclass(frozen=True)
class Exposure:
    """The noise chain's conditions, each a tensor [B]. dose: e/Å² in vacuum, infinite = without noise."""

    dose: Tensor
    contrast: Tensor
    vibration_A: Tensor
    drift_A: Tensor
    drift_rad: Tensor
    mtf_px: Tensor
    correlated: Tensor
    read_noise: Tensor


def uniform(generator: torch.Generator, low: float, high: float, size: int) -> Tensor:
    """[size] numbers between low and high, on the generator's device."""
    return low + (high - low) * torch.rand(size, generator=generator, device=generator.device)


def draw_optics(generator: torch.Generator, microscope: Microscope, size: int) -> Optics:
    """Random conditions of a microscope for `size` frames."""
    c30_A = microscope.c30_um * 1e4
    spread_A = microscope.c30_spread_um * 1e4
    return Optics(
        c10_A=uniform(generator, *microscope.defocus_A, size),
        c30_A=uniform(generator, c30_A - spread_A, c30_A + spread_A, size),
        c50_A=torch.full((size,), microscope.c50_mm * 1e7, device=generator.device),
        focal_spread_A=uniform(generator, *microscope.focal_spread_A, size),
        c12_A=uniform(generator, 0, microscope.astigmatism_A, size),
        c12_rad=uniform(generator, 0, math.pi, size),
        c21_A=uniform(generator, 0, microscope.coma_A, size),
        c21_rad=uniform(generator, 0, 2 * math.pi, size),
    )


def draw_exposure(
    generator: torch.Generator, camera: Camera, size: int, dose: Tensor | None = None, lowest_dose: float = 0
) -> Exposure:
    """Random noise-chain conditions for `size` frames; `dose` [B] (e/Å²) instead of drawn ones where given."""
    if dose is None:
        low = max(camera.dose[0], lowest_dose)
        dose = torch.exp(uniform(generator, math.log(low), math.log(camera.dose[1]), size))
        dose = torch.where(uniform(generator, 0, 1, size) < camera.noise_free_share, torch.inf, dose)
    return Exposure(
        dose=dose,
        contrast=uniform(generator, *camera.contrast, size),
        vibration_A=uniform(generator, *camera.vibration_A, size),
        drift_A=uniform(generator, 0, camera.drift_A, size),
        drift_rad=uniform(generator, 0, math.pi, size),
        mtf_px=uniform(generator, *camera.mtf_px, size),
        correlated=uniform(generator, 0, 1, size) < camera.correlated_share,
        read_noise=uniform(generator, *camera.read_noise, size),
    )


def frequencies(points: int, side_A: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Spatial frequencies ky [points, 1] and kx [1, points] [1/Å] of a periodic field."""
    k = torch.fft.fftfreq(points, side_A / points, device=device)
    return k[:, None], k[None, :]


def aberration_phase(optics: Optics, ky: Tensor, kx: Tensor, wavelength_A: float) -> Tensor:
    """chi(k) [B, H, W] in rad, Krivanek's C_nm (Kirkland, Advanced Computing in Electron Microscopy, 3rd ed., §2)."""
    theta = wavelength_A * torch.hypot(ky, kx)
    phi = torch.atan2(ky, kx)

    def each(value: Tensor) -> Tensor:
        return value[:, None, None]

    terms = (
        theta**2 / 2 * (each(optics.c10_A) + each(optics.c12_A) * torch.cos(2 * (phi - each(optics.c12_rad))))
        + theta**3 / 3 * each(optics.c21_A) * torch.cos(phi - each(optics.c21_rad))
        + theta**4 / 4 * each(optics.c30_A)
        + theta**6 / 6 * each(optics.c50_A)
    )
    return 2 * math.pi / wavelength_A * terms


def intensity(waves_BHW: Tensor, side_A: float, optics: Optics, microscope: Microscope) -> Tensor:
    """Image intensity [B, H, W] of exit waves (vacuum = 1), averaged incoherently over the focal spread."""
    ky, kx = frequencies(waves_BHW.shape[-1], side_A, waves_BHW.device)
    phase_BHW = aberration_phase(optics, ky, kx, microscope.wavelength_A)
    passes_HW = torch.hypot(ky, kx) <= microscope.aperture_per_A
    spectrum = torch.fft.fft2(waves_BHW) * torch.exp(-1j * phase_BHW) * passes_HW
    nodes = np.linspace(-FOCAL_REACH, FOCAL_REACH, FOCAL_NODES)
    weights = np.exp(-(nodes**2) / 2)
    defocus_phase = (math.pi * microscope.wavelength_A * (ky**2 + kx**2)) * optics.focal_spread_A[:, None, None]
    step = torch.exp(-1j * defocus_phase * float(nodes[1] - nodes[0]))
    spectrum = spectrum * torch.exp(-1j * defocus_phase * float(nodes[0]))
    total = torch.zeros(waves_BHW.shape, device=waves_BHW.device)
    for weight in weights / weights.sum():
        wave = torch.view_as_real(torch.fft.ifft2(spectrum))
        total += float(weight) * wave.square().sum(-1)
        spectrum = spectrum * step  # From one node to the next: an exponential costs more than a transform.
    return total


def fourier_resampled(spectrum_BHW: Tensor, points: int) -> Tensor:
    """The periodic image of an fft2 spectrum, sampled by points x points (band-limited interpolation)."""
    here = spectrum_BHW.shape[-1]
    keep = min(here, points)
    index = torch.fft.fftfreq(keep, 1 / keep, device=spectrum_BHW.device).round().long()
    out = spectrum_BHW.new_zeros((*spectrum_BHW.shape[:-2], points, points))
    out[..., (index % points)[:, None], (index % points)[None, :]] = spectrum_BHW[
        ..., (index % here)[:, None], (index % here)[None, :]
    ]
    resampled: Tensor = torch.fft.ifft2(out).real * (points / here) ** 2
    return resampled


def expected(intensity_BHW: Tensor, side_A: float, points: int, exposure: Exposure) -> Tensor:
    """Electrons per pixel [B, points, points] that a camera counts on average (vacuum = 1 without noise).

    Drift and vibration blur the specimen's image; pixels integrate; the sensor spreads each electron over its
    neighbours, unless it does so after counting (correlated noise).
    """
    ky, kx = frequencies(intensity_BHW.shape[-1], side_A, intensity_BHW.device)
    pixel_A = side_A / points

    def each(value: Tensor) -> Tensor:
        return value[:, None, None]

    along = kx * torch.cos(each(exposure.drift_rad)) + ky * torch.sin(each(exposure.drift_rad))
    transfer = torch.exp(-2 * (math.pi * each(exposure.vibration_A)) ** 2 * (kx**2 + ky**2))
    transfer = (
        transfer * torch.sinc(along * each(exposure.drift_A)) * torch.sinc(kx * pixel_A) * torch.sinc(ky * pixel_A)
    )
    spread = torch.exp(-2 * (math.pi * each(exposure.mtf_px) * pixel_A) ** 2 * (kx**2 + ky**2))
    transfer = transfer * torch.where(each(exposure.correlated), 1.0, spread)
    spectrum = torch.fft.fft2(intensity_BHW - 1) * transfer * each(exposure.contrast)
    clean_BHW = (1 + fourier_resampled(spectrum, points)).clamp(min=0)
    return clean_BHW * vacuum_electrons(exposure, pixel_A)[:, None, None]


def vacuum_electrons(exposure: Exposure, pixel_A: float) -> Tensor:
    """Mean electrons per pixel in vacuum [B]; 1 without noise."""
    return torch.where(exposure.dose.isinf(), 1.0, exposure.dose * pixel_A**2)


def expose(intensity_BHW: Tensor, side_A: float, points: int, exposure: Exposure, generator: torch.Generator) -> Tensor:
    """Camera frames [B, points, points] in electrons per pixel (in units of the vacuum level without noise).

    What is `expected`, counted; then read noise, and the sensor's spread where noise is correlated.
    """
    expected_BHW = expected(intensity_BHW, side_A, points, exposure)
    noisy_BHW = torch.poisson(expected_BHW, generator=generator)
    read = torch.randn(expected_BHW.shape, generator=generator, device=expected_BHW.device)
    electrons_B = vacuum_electrons(exposure, side_A / points)
    noisy_BHW = noisy_BHW + read * (exposure.read_noise * electrons_B.sqrt())[:, None, None]
    counted_BHW = torch.where(exposure.dose.isinf()[:, None, None], expected_BHW, noisy_BHW)
    return torch.where(exposure.correlated[:, None, None], blurred(counted_BHW, exposure.mtf_px), counted_BHW)


def blurred(frames_BHW: Tensor, sigma_px: Tensor) -> Tensor:
    """Frames convolved with a Gaussian of `sigma_px` [B] pixels (periodic)."""
    ky = torch.fft.fftfreq(frames_BHW.shape[-2], device=frames_BHW.device)[:, None]
    kx = torch.fft.rfftfreq(frames_BHW.shape[-1], device=frames_BHW.device)[None, :]
    transfer = torch.exp(-2 * (math.pi * sigma_px[:, None, None]) ** 2 * (kx**2 + ky**2))
    convolved: Tensor = torch.fft.irfft2(torch.fft.rfft2(frames_BHW) * transfer, s=frames_BHW.shape[-2:])
    return convolved
