"""The Predictor by itself: time and work of a frame of 256² at 0.1 Å/px, resampling and columns included."""

import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from segdepth_core.network import build
from segdepth_core.predictor import Predictor
from segdepth_training.frames.demo_movie import make_movie
from tests.models import released_model

SAMPLING_A = 0.1
BATCH = 8
RUNS = 30


def crystal_frames(folder: Path, number: int, side: int = 256) -> list[NDArray[np.uint16]]:
    """Frames cut from the demo's movie: what a microscope would send."""
    import mrcfile

    with mrcfile.open(make_movie(folder, 0)) as movie:
        frames = np.array(movie.data[:, 128 : 128 + side, 128 : 128 + side])
    return [frames[i % len(frames)] for i in range(number)]


def measure(frames: list[NDArray[np.uint16]], threads: int) -> dict[str, float]:
    """model_ms_per_frame_256 (median of RUNS batches of BATCH) and model_gflop_per_frame_256."""
    torch.set_num_threads(threads)
    predictor = Predictor.load(released_model())
    batch = frames[:BATCH]
    for _ in range(3):
        predictor.predict(batch, [SAMPLING_A] * BATCH)
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        predictor.predict(batch, [SAMPLING_A] * BATCH)
        times.append((time.perf_counter() - started) / BATCH * 1e3)
    network = build(predictor.manifest.network.kind, dict(predictor.manifest.network.arguments)).eval()
    side = round(256 * SAMPLING_A / predictor.manifest.canonical_sampling_A)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, side, side))
    return {"model_ms_per_frame_256": median(times), "model_gflop_per_frame_256": counter.get_total_flops() / 1e9}
