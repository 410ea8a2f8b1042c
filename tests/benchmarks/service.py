"""What the service costs on top of the Predictor: latency of one station, throughput of a movie; interleaved runs."""

import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

import segdepth
from segdepth_core.predictor import Predictor
from segdepth_stack.settings import StackSettings
from segdepth_stack.stack import Stack
from tests.benchmarks.predictor import SAMPLING_A
from tests.models import released_model

BLOCKS = 10
BLOCK_FRAMES = 20
"""The bare call's threads go on spinning for some milliseconds; in turns of a frame each they would slow the other."""

RUNS = 5
MOVIE_FRAMES = 400


def measure(frames: list[NDArray[np.uint16]], store: Path, threads: int) -> dict[str, float]:
    """added_latency_ms_p50 and served_over_bare, with the figures they come from."""
    torch.set_num_threads(threads)
    predictor = Predictor.load(released_model())
    settings = StackSettings(store=str(store), port=0, http_port=0, metrics_port=0)
    with Stack(settings) as stack, segdepth.connect(stack.address) as client:
        for frame in frames[:16]:
            client.estimate(frame, SAMPLING_A)
            predictor.predict([frame], [SAMPLING_A])
        return latency(predictor, client, frames) | throughput(predictor, client, frames)


def latency(predictor: Predictor, client: segdepth.Client, frames: list[NDArray[np.uint16]]) -> dict[str, float]:
    """One frame at a time, blocks of bare calls and of served ones in turn."""

    def block(call: Callable[[NDArray[np.uint16]], object]) -> float:
        times = []
        for frame in islice(cycle(frames), BLOCK_FRAMES):
            started = time.perf_counter()
            call(frame)
            times.append((time.perf_counter() - started) * 1e3)
        return median(times)

    bare, served = [], []
    for _ in range(BLOCKS):
        bare.append(block(lambda frame: predictor.predict([frame], [SAMPLING_A])))
        served.append(block(lambda frame: client.estimate(frame, SAMPLING_A)))
    return {
        "bare_latency_ms_p50": median(bare),
        "served_latency_ms_p50": median(served),
        "added_latency_ms_p50": median(b - a for a, b in zip(bare, served, strict=True)),
    }


def throughput(predictor: Predictor, client: segdepth.Client, frames: list[NDArray[np.uint16]]) -> dict[str, float]:
    """A movie through the bare Predictor at its best batch, and through the service, in turn."""
    movie = list(islice(cycle(frames), MOVIE_FRAMES))
    size = predictor.best_batch
    bare, served = [], []
    for _ in range(RUNS):
        started = time.perf_counter()
        for first in range(0, len(movie), size):
            some = movie[first : first + size]
            predictor.predict(some, [SAMPLING_A] * len(some))
        bare.append(len(movie) / (time.perf_counter() - started))
        started = time.perf_counter()
        answers = sum(isinstance(answer, segdepth.FrameResult) for answer in client.stream(movie, SAMPLING_A))
        assert answers == len(movie), f"{answers} of {len(movie)} frames were answered"
        served.append(len(movie) / (time.perf_counter() - started))
    return {
        "bare_fps_256": median(bare),
        "served_fps_256": median(served),
        "served_over_bare": median(b / a for a, b in zip(bare, served, strict=True)),
    }
