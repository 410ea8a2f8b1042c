"""Tracking: frames per second of the tracker on one core, its memory over a long time, and how soon a frame is tracked.

    python -m tests.benchmarks.tracking [--frames 100000]

The tracker is given answers made up from a specimen of some 500 columns that drifts to and fro and turns, in frames of
512² with shot noise; a movie of MOVIE_FRAMES, over and over. How soon is measured with the simulated camera, the
released model and a whole stack on this machine.
"""

import argparse
import math
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from numpy.typing import NDArray

import segdepth
from segdepth.calibration import Frame
from segdepth.camera import Camera
from segdepth.results import Answer, FrameResult
from segdepth.tracks import Tracking
from segdepth_core.released import released_store
from segdepth_stack.settings import StackSettings
from segdepth_stack.stack import Stack
from tests.specimen import Specimen, tracker

MOVIE_FRAMES = 400
ROUNDS = 3
WARM_FRAMES = 2000
"""After these, memory must not grow."""

LIVE = Tracking(lag_frames=0)
FPS, CAMERA_FRAMES, SETTLED_FRAMES = 20.0, 400, 40

Shots = list[tuple[FrameResult, NDArray[np.uint16]]]


def measure(store: Path, frames: int) -> dict[str, float]:
    """tracks_fps_500_columns and tracks_live_fps_500_columns, with CPU time a frame; tracks_live_memory_growth_mb over
    so many frames, with the speed at their end; camera_to_track_over_model_ms_p50."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        shots = movie()
        figures = {"tracks_columns": float(np.median([len(answer.columns) for answer, _ in shots]))}
        for name, settings in (("tracks", Tracking()), ("tracks_live", LIVE)):
            timed = [speed(shots, settings) for _ in range(ROUNDS)]
            figures[f"{name}_fps_500_columns"] = median(fps for fps, _ in timed)
            figures[f"{name}_cpu_ms_500_columns"] = median(cpu_ms for _, cpu_ms in timed)
        figures |= memory(shots, frames)
    finally:
        os.sched_setaffinity(0, cores)
    return figures | latency(store)


def movie() -> Shots:
    """Frames and answers whose drift closes, so that the movie goes on where it began."""
    specimen = Specimen(side_A=60, size_px=512, sampling_A=0.1, spacing_A=2.2, dose=500, missed=0.01)
    phase = 2 * np.pi * np.arange(MOVIE_FRAMES) / MOVIE_FRAMES
    drift_A, turn_deg = np.column_stack([3 * np.sin(phase), 2 * np.sin(2 * phase)]), 0.5 * np.sin(phase)
    return [specimen.shot(i, tuple(drift_A[i]), float(turn_deg[i])) for i in range(MOVIE_FRAMES)]


def repeated(shots: Shots, frames: int) -> Iterator[tuple[FrameResult, NDArray[np.uint16]]]:
    """So many frames, with numbers that go on; each answer is read anew."""
    for sequence in range(frames):
        answer, image = shots[sequence % len(shots)]
        answer.message.sequence = sequence
        yield FrameResult(answer.message), image


def speed(shots: Shots, settings: Tracking) -> tuple[float, float]:
    """Frames per second, and CPU time a frame [ms]. Sums are made, and not asked about."""
    tracking, told = tracker(settings), 0
    begun, used = time.perf_counter(), time.process_time()
    for answer, image in repeated(shots, len(shots)):
        told += len(tracking.add(answer, image))
        tracking.take_sum()
    told += len(tracking.finish())
    assert told == len(shots), f"{told} of {len(shots)} frames came back"
    return told / (time.perf_counter() - begun), (time.process_time() - used) / told * 1e3


def memory(shots: Shots, frames: int) -> dict[str, float]:
    """How much the process grew from frame WARM_FRAMES on [MB], and CPU time a frame of the last WARM_FRAMES [ms]."""
    tracking, first, most, used = tracker(LIVE), 0.0, 0.0, 0.0
    for number, (answer, image) in enumerate(repeated(shots, frames)):
        tracking.add(answer, image)
        tracking.take_sum()
        if number == min(WARM_FRAMES, frames // 2):
            first = resident_mb()
        if number == frames - min(WARM_FRAMES, frames // 2):
            used = time.process_time()
        if number % 1000 == 999:
            most = max(most, resident_mb())
    late_ms = (time.process_time() - used) / min(WARM_FRAMES, frames // 2) * 1e3
    grown_mb = max(most, resident_mb()) - first
    return {"tracks_live_memory_growth_mb": grown_mb, "tracks_live_late_cpu_ms": late_ms}


def resident_mb() -> float:
    """Memory of this process [MB]."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def latency(store: Path) -> dict[str, float]:
    """From a frame's capture to its tracked columns, and the same less what the model took of it; medians [ms].

    Model, gateway, camera and tracking nearly fill two cores: what else runs on the machine, and is said too, makes
    frames queue up.
    """
    settings = StackSettings(store=str(store), port=0, http_port=0, metrics_port=0)
    captured: dict[int, datetime] = {}
    model_ms: dict[int, float] = {}

    def frames(camera: Camera) -> Iterator[Frame]:
        for frame in camera.frames(CAMERA_FRAMES):
            assert frame.sequence is not None
            assert frame.capture_time is not None
            captured[frame.sequence] = frame.capture_time
            yield frame

    def answered(answer: Answer) -> None:
        if isinstance(answer, FrameResult):
            timings = answer.timings
            model_ms[answer.sequence] = timings.prepare_ms + timings.network_ms + timings.columns_ms

    late_ms, over_ms = [], []
    with Stack(settings) as stack, segdepth.connect(stack.address) as client:
        for frame in Camera(dose=500, paced=False).frames(16):
            client.estimate(frame.image, 0.1)
        camera = Camera(dose=500, fps=FPS)
        # As `segdepth track pva://...` does: a camera does not wait.
        tracking = client.track(
            frames(camera), camera.calibration, tracking=LIVE, policy="drop_oldest", answered=answered
        )
        begun, machine_s, own_s = time.perf_counter(), *cpu_s()
        for tracked in tracking:
            if tracked.sequence >= SETTLED_FRAMES and tracked.columns is not None:
                late_ms.append((datetime.now(UTC) - captured[tracked.sequence]).total_seconds() * 1e3)
                over_ms.append(late_ms[-1] - model_ms[tracked.sequence])
        lasted_s, (all_s, ours_s) = time.perf_counter() - begun, cpu_s()
    own, others = (ours_s - own_s) / lasted_s, (all_s - machine_s - ours_s + own_s) / lasted_s
    return {
        "camera_to_track_ms_p50": median(late_ms) if late_ms else math.nan,
        "camera_to_track_over_model_ms_p50": median(over_ms) if over_ms else math.nan,
        "camera_to_track_over_model_ms_p95": float(np.percentile(over_ms, 95)) if over_ms else math.nan,
        "camera_to_track_tracked": len(over_ms) / (CAMERA_FRAMES - SETTLED_FRAMES),
        "camera_to_track_cores": own,
        "camera_to_track_cores_of_others": others,
    }


def cpu_s() -> tuple[float, float]:
    """CPU time that this machine has used, and that of this process and those that it started [s]."""
    machine, me = psutil.cpu_times(), psutil.Process()
    own = sum(sum(process.cpu_times()[:2]) for process in (me, *me.children(recursive=True)))
    return machine.user + machine.system + machine.nice, own


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    for name, value in measure(released_store(), parser.parse_args().frames).items():
        print(f"{name:40} {value:.4g}")


if __name__ == "__main__":
    main()
