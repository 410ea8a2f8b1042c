"""Frames of the detector simulator on one core, beside numpy's own Poisson counts of the same images."""

import os
import time
from statistics import median

import numpy as np

from segdepth.camera import Camera

DOSES = (200, 2000)
SIZE_PX, FPS = 256, 1000.0
FRAMES, NUMPYS_FRAMES, ROUNDS = 2000, 200, 3


def measure() -> dict[str, float]:
    """camera_fps_DOSE at the default drift and hops, camera_numpy_fps_DOSE: numpy's counts of a fixed image."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        figures: dict[str, float] = {}
        for dose in DOSES:
            figures[f"camera_fps_{dose}"] = median(ours(dose) for _ in range(ROUNDS))
            figures[f"camera_numpy_fps_{dose}"] = median(numpys(dose) for _ in range(ROUNDS))
        return figures
    finally:
        os.sched_setaffinity(0, cores)


def ours(dose: float) -> float:
    """Frames per second of the whole camera, unpaced: what it sees moves as at FPS."""
    camera = Camera(dose=dose, size=SIZE_PX, fps=FPS, paced=False)
    begun = time.perf_counter()
    made = sum(1 for _ in camera.frames(FRAMES))
    return made / (time.perf_counter() - begun)


def numpys(dose: float) -> float:
    """Frames per second of numpy's counts, of an expected image that is there."""
    camera = Camera(dose=dose, size=SIZE_PX, paced=False)
    electrons = camera.field.expected(camera.scene.base, (0.0, 0.0)) * dose * camera.field.sampling_A**2
    numbers = np.random.Generator(np.random.SFC64(1))
    begun = time.perf_counter()
    for _ in range(NUMPYS_FRAMES):
        numbers.poisson(electrons)
    return NUMPYS_FRAMES / (time.perf_counter() - begun)
