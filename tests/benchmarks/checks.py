"""What the checks of a frame as cameras record it cost, before the network: of a clean frame, and of one with repairs.

Of the pixels (segdepth_core.exposure, Gate.pixels) and of the noise (Gate.noise with the black level, and what
measured_noise does for it). The dose and the contrast, which the network is given, are left out.
"""

import time
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from segdepth_artefacts.manifest import Manifest
from segdepth_core.domain import Gate
from segdepth_core.exposure import Exposure
from segdepth_core.prediction import Detector
from segdepth_core.spectrum import measured_noise, noise_bands, power_spectrum
from tests.benchmarks.predictor import SAMPLING_A
from tests.models import lattice_frame, released_model

SIDES = (256, 512)
ROUNDS, FRAMES = 15, 10
DOSE_PER_A2 = 500.0
HOT, PADDING_PX = 60, 12


def measure(threads: int) -> dict[str, float]:
    """checks_ms_SIDE of clean frames and its parts, checks_repaired_ms_SIDE of frames with hot pixels and padding."""
    torch.set_num_threads(threads)
    manifest = Manifest.model_validate_json((released_model() / "manifest.json").read_text())
    gate = Gate(manifest.domain, manifest.canonical_sampling_A)
    figures: dict[str, float] = {}
    for side in SIDES:
        clean = [lattice_frame(seed, (side, side), SAMPLING_A, DOSE_PER_A2) for seed in range(FRAMES)]
        parts = timed(gate, clean)
        figures[f"checks_ms_{side}"] = sum(parts.values())
        figures |= {f"checks_{name}_ms_{side}": value for name, value in parts.items()}
        figures[f"checks_repaired_ms_{side}"] = sum(timed(gate, [damaged(frame) for frame in clean]).values())
    return figures


def damaged(frame: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The frame with hot pixels, and padding at two sides."""
    frame = frame.copy()
    y, x = np.random.default_rng(1).integers(PADDING_PX, min(frame.shape), (2, HOT))
    frame[y, x] = 60_000
    frame[:PADDING_PX] = frame[:, :PADDING_PX] = 0
    return frame


@torch.inference_mode()
def timed(gate: Gate, frames: list[NDArray[np.uint16]]) -> dict[str, float]:
    """Medians over frames and rounds of what a frame takes [ms]: reading it, its spectrum's bands, the gate."""
    times: dict[str, list[float]] = {"exposure": [], "spectrum": [], "gate": []}
    for frame in frames * ROUNDS:
        begun = time.perf_counter()
        exposure = Exposure.of(frame)
        read = time.perf_counter()
        assert exposure.intensity is not None
        image = torch.from_numpy(exposure.intensity)[None]
        noise = measured_noise(image, SAMPLING_A)
        density = power_spectrum(image - 1, SAMPLING_A)
        before = time.perf_counter()
        bands = noise_bands(exposure.shape, SAMPLING_A, image.device)
        for band in (bands.inner, bands.outer):
            bands.mean(density, band)
        after = time.perf_counter()
        gate.pixels(exposure, SAMPLING_A)
        gate.noise(exposure, float(noise.finest), float(noise.blur_px), SAMPLING_A, Detector())
        ended = time.perf_counter()
        for name, seconds in (("exposure", read - begun), ("spectrum", after - before), ("gate", ended - after)):
            times[name].append(seconds * 1e3)
    return {name: median(some) for name, some in times.items()}
