"""From a camera's pixels to what the network sees: contrast at the canonical sampling. Training uses the same code."""

import torch
from torch import Tensor
from torch.nn import functional as F

CONTRAST_GAIN = 4.0
"""The network sees contrast times this: unit variance at medium dose."""


def canonical_shape(height: int, width: int, sampling_A: float, canonical_A: float) -> tuple[int, int]:
    """Shape [px] at the canonical sampling of a frame of height x width at `sampling_A` [Å/px]."""
    return max(1, round(height * sampling_A / canonical_A)), max(1, round(width * sampling_A / canonical_A))


def resample(frames_BHW: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resample frames to `shape`, centre-aligned and anti-aliased: the field's edges stay where they are.

    Pixel (i, j) of the result lies at ((i + 0.5) * H / h - 0.5, (j + 0.5) * W / w - 0.5) of the input.
    """
    if tuple(frames_BHW.shape[-2:]) == shape:
        return frames_BHW
    # What torchvision's resize calls; its import would cost every process four seconds.
    return F.interpolate(frames_BHW[:, None], shape, mode="bicubic", antialias=True, align_corners=False)[:, 0]


def frame_mean(frames_BHW: Tensor) -> Tensor:
    """Mean of each frame, [B, 1, 1].

    Summed in float64, which rounds to the same float32 in whatever order a batch's size has the pixels added.
    """
    return frames_BHW.mean((-2, -1), keepdim=True, dtype=torch.float64).to(frames_BHW.dtype)


def normalise(frames_BHW: Tensor) -> Tensor:
    """Contrast (I / mean - 1) times CONTRAST_GAIN.

    Elastic scattering only moves electrons about, so the mean over a field is the vacuum level but for what leaves the
    aperture: it needs neither the dose nor a piece of vacuum in the frame. Means must be positive.
    """
    return (frames_BHW / frame_mean(frames_BHW) - 1) * CONTRAST_GAIN


def prepare(frames_BHW: Tensor, sampling_A: float, canonical_A: float) -> Tensor:
    """Network input [B, h, w] of camera frames [B, H, W] (float32, any unit) at `sampling_A` [Å/px]."""
    shape = canonical_shape(frames_BHW.shape[-2], frames_BHW.shape[-1], sampling_A, canonical_A)
    return normalise(resample(frames_BHW.to(torch.float32), shape))
