"""A frame smoothed for the eye. Nothing is counted in it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.results import FrameResult

SIGMA_A = 0.4
"""Of the Gaussian [Å]: a quarter of the distance between columns, which stay apart."""

NOISY_DOSE = 1500.0
"""Dose [e/Å²] below which shot noise hides the columns of a single frame from the eye."""


def is_noisy(result: FrameResult) -> bool:
    """Whether the dose measured in the frame is so low that the eye needs help. False where none was measured."""
    return any(check.name == "snr" and check.value < NOISY_DOSE for check in result.domain.checks)


def smoothed(image: NDArray[Any], sampling_A: float) -> NDArray[np.float64]:
    """The frame [height, width] under a Gaussian of SIGMA_A, mirrored at its edges; NaN and infinity are its mean."""
    image = np.asarray(image, np.float64)
    finite = np.isfinite(image)
    if not finite.all():
        image = np.where(finite, image, image[finite].mean() if finite.any() else 0.0)
    sigma_px = SIGMA_A / sampling_A
    margin = min(int(np.ceil(4 * sigma_px)), *image.shape)
    padded = np.pad(image, margin, "symmetric")
    fy, fx = np.fft.fftfreq(padded.shape[0]), np.fft.rfftfreq(padded.shape[1])
    passed = np.exp(-2 * (np.pi * sigma_px) ** 2 * (fy[:, None] ** 2 + fx**2))
    blurred = np.fft.irfft2(np.fft.rfft2(padded) * passed, s=padded.shape)
    return np.asarray(blurred[margin : margin + image.shape[0], margin : margin + image.shape[1]])
