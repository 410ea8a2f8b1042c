"""What a frame's power spectrum tells: how many electrons it holds, whatever its units."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segdepth_core.prepare import frame_mean

NOISE_BAND_PER_A = (1.3, 1.9)
"""Spatial frequencies [1/Å] beyond the information limit (focal spread 30 Å at 300 kV): only noise is there."""

BLUR_FROM_PER_A = 1.4
"""Spatial frequency [1/Å] from which even coarse pixels at high dose show noise alone."""

SEGMENT_PX = 256
"""Larger frames are searched by the mean spectrum of segments of this size."""

MOST_SEGMENTS = 7
"""Along each axis."""

HIGHEST_DOSE = 1e6
"""A frame without noise has no measurable dose; it counts as this [e/Å²]."""

MOST_FINEST = 1e9
"""Dose [e/Å²] at the finest detail beyond which numbers say nothing any more."""


def power_spectrum(contrast_BHW: Tensor, sampling_A: float) -> Tensor:
    """Power spectral density [Å²] of contrast (mean 0, dimensionless), [B, H, W // 2 + 1], as rfft2 has it.

    A Hann window keeps the frame's edges out of the noise band.
    """
    height, width = contrast_BHW.shape[-2:]
    window_HW = torch.outer(
        torch.hann_window(height, device=contrast_BHW.device), torch.hann_window(width, device=contrast_BHW.device)
    )
    spectrum = torch.fft.rfft2(contrast_BHW * window_HW)
    density: Tensor = spectrum.abs().square() * sampling_A**2 / window_HW.square().sum()
    return density


@dataclass(frozen=True)
class NoiseBands:
    """Where a power spectrum, flattened, shows noise."""

    dose: Tensor
    """Between NOISE_BAND_PER_A, or up to what the pixels allow."""
    inner: Tensor
    outer: Tensor
    """Two bands beyond the signal, the outer one up to the spectrum's corners."""
    reach: float
    """Of the mean square of the frequency [1/px²] from the inner to the outer band."""
    reach_of_dose: float
    """The same from the band of the dose."""

    def mean(self, density_BHW: Tensor, band: Tensor) -> Tensor:
        """Mean density [B] in one of the bands, float64."""
        return density_BHW.flatten(1).index_select(1, band).mean(1, dtype=torch.float64)


@lru_cache(maxsize=4)
def noise_bands(shape: tuple[int, int], sampling_A: float, device: torch.device) -> NoiseBands:
    """Of frames of `shape`: the frames of a movie have them in common."""
    # Kept, so it must be of use outside of inference mode as well.
    with torch.inference_mode(mode=False):
        fy = torch.fft.fftfreq(shape[0], sampling_A, device=device)
        fx = torch.fft.rfftfreq(shape[1], sampling_A, device=device)
        per_A = torch.hypot(fy[:, None], fx[None, :]).flatten()
        low, high = NOISE_BAND_PER_A
        dose = (per_A >= low) & (per_A <= min(high, 0.475 / sampling_A))
        cycles_px = per_A * sampling_A
        lowest = max(BLUR_FROM_PER_A * sampling_A, 0.25)
        middle = math.sqrt((lowest**2 + 0.5) / 2)
        inner, outer = (cycles_px >= lowest) & (cycles_px < middle), cycles_px >= middle
        squares = [float(cycles_px[band].square().mean()) for band in (dose, inner, outer)]
        dose, inner, outer = (band.nonzero()[:, 0].to(torch.int32) for band in (dose, inner, outer))
        return NoiseBands(dose, inner, outer, squares[2] - squares[1], squares[2] - squares[0])


class FrameNoise(NamedTuple):
    """The noise of one frame; see Noise."""

    dose: float
    finest: float
    blur_px: float
    spread_px: float


@dataclass(frozen=True)
class Noise:
    """The noise of each frame of a batch, [B] each."""

    dose: Tensor
    """Electrons per Å² that make as much of it between NOISE_BAND_PER_A."""
    finest: Tensor
    """Electrons per Å² that make as much as there is of it at the finest detail, where pixels have no signal."""
    blur_px: Tensor
    """Standard deviation [px] of the Gaussian that has spread it, by its fall at the finest detail; 0 where it is
    white."""
    spread_px: Tensor
    """The same by its whole fall from `dose` to `finest`, if that is more: rounding to few bits leaves white noise that
    hides the rest."""

    def each(self) -> list[FrameNoise]:
        """Frame by frame."""
        figures = (self.dose, self.finest, self.blur_px, self.spread_px)
        return [FrameNoise(*one) for one in zip(*(figure.tolist() for figure in figures), strict=True)]


def measured_noise(frames_BHW: Tensor, sampling_A: float) -> Noise:
    """Of camera frames [B, H, W] (any unit of intensity), from their noise floor.

    Shot noise of mean intensity I and dose D has the spectral density 1/D in (I / mean - 1), at any pixel size; a
    detector that adds noise or correlates it has a smaller (or larger) effective dose, which is what the network sees.
    """
    contrast_BHW = frames_BHW / frame_mean(frames_BHW) - 1
    density = power_spectrum(contrast_BHW, sampling_A)
    bands = noise_bands((frames_BHW.shape[-2], frames_BHW.shape[-1]), sampling_A, frames_BHW.device)
    noise_B = bands.mean(density, bands.dose)
    dose_B = (1 / noise_B.clamp(min=1e-12)).clamp(max=HIGHEST_DOSE).to(density.dtype)
    inner_B, outer_B = bands.mean(density, bands.inner), bands.mean(density, bands.outer)
    finest_B = 1 / outer_B.clamp(min=1 / MOST_FINEST)
    blur_B = _spread_px(inner_B.clamp(min=1e-30) / outer_B.clamp(min=1e-30), bands.reach)
    spread_B = torch.maximum(blur_B, _spread_px(finest_B / dose_B, bands.reach_of_dose))
    return Noise(dose_B, finest_B, blur_B, spread_B)


def measured_dose(frames_BHW: Tensor, sampling_A: float) -> Tensor:
    """The dose of `measured_noise`."""
    return measured_noise(frames_BHW, sampling_A).dose


def _spread_px(fall_B: Tensor, reach: float) -> Tensor:
    """Standard deviation [px] of the Gaussian by which noise is `fall_B` times less dense, `reach` [1/px²] farther out.

    That of s px falls by exp(-4 pi² s² f²).
    """
    return (fall_B.log() / (4 * math.pi**2 * reach)).clamp(min=0).sqrt()


@dataclass(frozen=True)
class Spectrum:
    """Power spectrum of frames, padded with as many zeros as pixels."""

    power: Tensor
    """[B, n, n // 2 + 1], the zero frequency in row n // 2, column 0; any unit."""
    points: int
    sampling_A: tuple[float, float]
    """Of y and x [Å/px]."""
    field_A: float
    """The shorter side of what was transformed."""
    segments: int

    @classmethod
    def of(cls, x_Bhw: Tensor, sampling_A: tuple[float, float]) -> "Spectrum":
        """Of frames at `sampling_A` (y, x); large ones by segments that overlap, averaged."""
        height, width = (min(side, SEGMENT_PX) for side in x_Bhw.shape[-2:])
        rows, columns = _origins(x_Bhw.shape[-2], height), _origins(x_Bhw.shape[-1], width)
        points = 2 * max(height, width)
        window = torch.outer(
            torch.hann_window(height, device=x_Bhw.device), torch.hann_window(width, device=x_Bhw.device)
        )
        power = x_Bhw.new_zeros(len(x_Bhw), points, points // 2 + 1)
        for y in rows:
            for x in columns:
                part = x_Bhw[:, y : y + height, x : x + width]
                part = (part - frame_mean(part)) * window
                power += torch.fft.rfft2(part, s=(points, points)).abs().square()
        segments = len(rows) * len(columns)
        density = torch.fft.fftshift(power, dim=1) * (sampling_A[0] * sampling_A[1] / window.square().sum() / segments)
        return cls(density, points, sampling_A, min(height * sampling_A[0], width * sampling_A[1]), segments)

    def at(self, k_BM: Tensor) -> Tensor:
        """Power at complex spatial frequencies kx + i ky [1/Å], read between its points; the same shape."""
        # The spectrum of a real frame is the same at -k; half of it is kept.
        k_BM = torch.where(k_BM.real < 0, -k_BM, k_BM)
        x = 2 * k_BM.real * (self.sampling_A[1] * self.points) / (self.power.shape[2] - 1) - 1
        y = 2 * (k_BM.imag * (self.sampling_A[0] * self.points) + self.points // 2) / (self.power.shape[1] - 1) - 1
        grid = torch.stack([x, y], dim=-1)[:, :, None]
        return F.grid_sample(self.power[:, None], grid, padding_mode="border", align_corners=True)[:, 0, :, 0]

    def band(self, low: float, high: float) -> Tensor:
        """Variance of each frame that lies between two spatial frequencies [1/Å]; [B]."""
        device = self.power.device
        step_y, step_x = (1 / (self.points * sampling_A) for sampling_A in self.sampling_A)
        y = (torch.arange(self.points, device=device) - self.points // 2) * step_y
        x = torch.arange(self.power.shape[2], device=device) * step_x
        k = torch.hypot(y[:, None], x[None, :])
        inside = (k >= low) & (k < high)
        # Twice, for the half that is not kept.
        return (2 * self.power[:, inside].sum(1, dtype=torch.float64) * step_y * step_x).to(self.power.dtype)

    def only(self, keep_B: Tensor) -> "Spectrum":
        """Of some of the frames."""
        return Spectrum(self.power[keep_B], self.points, self.sampling_A, self.field_A, self.segments)


def _origins(length: int, segment: int) -> list[int]:
    """Starts of segments that overlap by half, or that are spread evenly where there would be too many."""
    count = min(MOST_SEGMENTS, math.ceil((length - segment) / (segment / 2)) + 1)
    return [0] if count == 1 else [round(i * (length - segment) / (count - 1)) for i in range(count)]
