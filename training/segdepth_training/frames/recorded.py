"""What a recorded frame tells by itself: electrons, black level, the spread of its noise, and its motif."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from segdepth_core.exposure import Exposure
from segdepth_core.photon_transfer import black_level
from segdepth_core.predictor import Predictor
from segdepth_core.spectrum import NOISE_BAND_PER_A, FrameNoise, measured_noise
from segdepth_training.frames.motif import Motif, motif
from segdepth_training.specimens.projection import Projection

WHITE_PX = 0.3
"""Noise that is spread by less than this is white, as far as a frame tells [px]."""


@dataclass(frozen=True)
class Recorded:
    """One frame: dose [e/Å²]; counts of one electron; black: counts without electrons, and its error; spread_px of the
    noise, 0 where it is white; motif: None where `problem` says why."""

    dose: float
    counts_per_electron: float
    black: float
    black_error: float
    spread_px: float
    motif: Motif | None
    problem: str = ""


class Reader:
    """Looks at frames with the columns that a model finds, whatever its gate says: the instrument is not its own."""

    def __init__(self, predictor: Predictor, projection: Projection, hk: NDArray[np.int64]):
        self._predictor, self._projection, self._hk = predictor, projection, hk

    def read(self, frame: NDArray[np.generic], sampling_A: float, black: float = 0.0) -> Recorded:
        """One frame [H, W] of counts, of which `black` are no electrons'."""
        exposure = Exposure.of(frame, black)
        if exposure.intensity is None:
            return Recorded(math.nan, math.nan, math.nan, math.inf, 0.0, None, exposure.problem)
        image = torch.from_numpy(exposure.intensity)[None]
        (noise,) = measured_noise(image, sampling_A).each()
        spread_px, dose = _electrons(noise, sampling_A)
        assert exposure.around is not None
        level = black_level(exposure.around, exposure.sound, noise.blur_px, sampling_A)
        mean = float(np.nanmean(frame.astype(np.float64))) - black
        found = self._motif(image, exposure.intensity, sampling_A, dose, noise.dose, spread_px)
        problem = "" if found else "its columns lie on no lattice of this crystal, or cover too little of the frame"
        per_electron = mean / (dose * sampling_A**2)
        return Recorded(dose, per_electron, level.value * mean + black, level.error * mean, spread_px, found, problem)

    @torch.inference_mode()
    def _motif(
        self,
        image: torch.Tensor,
        intensity: NDArray[np.float32],
        sampling_A: float,
        dose: float,
        seen_dose: float,
        spread_px: float,
    ) -> Motif | None:
        heads = self._predictor.heads(image, sampling_A)
        found = self._predictor.reading(heads, torch.tensor([seen_dose], device=self._predictor.device))
        (columns,) = self._predictor.tables(found, heads, (intensity.shape[0], intensity.shape[1]))
        xy_A, species = np.asarray(columns.xy_px, np.float64) * sampling_A, columns.species.astype(int) - 1
        return motif(intensity, sampling_A, xy_A, species, dose, self._projection, self._hk, spread_px)


def _electrons(noise: FrameNoise, sampling_A: float) -> tuple[float, float]:
    """Spread of the noise [px], 0 where it is white, and the dose [e/Å²] that it had before it was spread."""
    spread_px = noise.spread_px if noise.spread_px >= WHITE_PX else 0.0
    low, high = NOISE_BAND_PER_A
    band_px = math.sqrt((low**2 + min(high, 0.475 / sampling_A) ** 2) / 2) * sampling_A
    return spread_px, noise.dose * math.exp(-4 * (math.pi * spread_px * band_px) ** 2)
