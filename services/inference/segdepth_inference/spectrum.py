"""What a frame's power spectrum tells: how many electrons it holds, whatever its units."""

import torch
from torch import Tensor

NOISE_BAND_PER_A = (1.3, 1.9)
"""Spatial frequencies [1/Å] beyond the information limit (focal spread 30 Å at 300 kV): only noise is there."""

HIGHEST_DOSE = 1e6
"""A frame without noise has no measurable dose; it counts as this [e/Å²]."""


def power_spectrum(contrast_BHW: Tensor, sampling_A: float) -> tuple[Tensor, Tensor]:
    """Power spectral density [Å²] of contrast (mean 0, dimensionless) and spatial frequency [1/Å], as rfft2 has them.

    Returns [B, H, W // 2 + 1] and [H, W // 2 + 1]. A Hann window keeps the frame's edges out of the noise band.
    """
    height, width = contrast_BHW.shape[-2:]
    window_HW = torch.outer(
        torch.hann_window(height, device=contrast_BHW.device), torch.hann_window(width, device=contrast_BHW.device)
    )
    spectrum = torch.fft.rfft2(contrast_BHW * window_HW)
    density = spectrum.abs().square() * sampling_A**2 / window_HW.square().sum()
    fy = torch.fft.fftfreq(height, sampling_A, device=contrast_BHW.device)
    fx = torch.fft.rfftfreq(width, sampling_A, device=contrast_BHW.device)
    return density, torch.hypot(fy[:, None], fx[None, :])


def measured_dose(frames_BHW: Tensor, sampling_A: float) -> Tensor:
    """Effective dose [e/Å²] of camera frames [B, H, W] (any unit of intensity), from their noise floor; [B].

    Shot noise of mean intensity I and dose D has the spectral density 1/D in (I / mean - 1), at any pixel size; a
    detector that adds noise or correlates it has a smaller (or larger) effective dose, which is what the network sees.
    """
    contrast_BHW = frames_BHW / frames_BHW.mean((-2, -1), keepdim=True) - 1
    density, frequency = power_spectrum(contrast_BHW, sampling_A)
    low, high = NOISE_BAND_PER_A
    band = (frequency >= low) & (frequency <= min(high, 0.475 / sampling_A))
    return (1 / density[:, band].mean(1).clamp(min=1e-12)).clamp(max=HIGHEST_DOSE)
