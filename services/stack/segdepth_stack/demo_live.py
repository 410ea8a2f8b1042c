"""The demo's live part: a simulated camera on the gateway, its columns tracked as they come, and what hopped."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mrcfile  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import segdepth
from segdepth.calibration import Frame
from segdepth.camera import Camera, CameraTruth, TrueChange, TruthFile, read_truth
from segdepth.export.tracks import TracksExport
from segdepth.files import open_movie
from segdepth.tracks import Change, TrackedFrame, Tracking, TrackState
from segdepth.tracks.results import LIKELY

SECONDS, FPS, DOSE = 20.0, 20.0, 500.0
"""Of the camera; e/Å² of a frame."""

SCENE, DRIFT_A_PER_S, HOP_EVERY_S = "islands", 0.2, 1.0

LIVE = Tracking(lag_frames=0)
NEAR_A, NEAR_FRAMES = 0.6, 3
"""A change that is announced is a true one if it is of that column, and said to be so near to its moment."""

BORDER_A = 2.5
"""Columns that are nearer to the edge of the field are not asked for."""


@dataclass(frozen=True)
class LiveScore:
    """How well that went.

    frames: of the camera, and of these `tracked`; hops: in sight, and of these `found`; wrong: announced changes that
    are none; drift_error_A: the largest; latency: from a frame's hand-over to its columns tracked [ms].
    """

    frames: int
    tracked: int
    hops: int
    found: int
    wrong: int
    drift_error_A: float
    latency_ms_p50: float
    latency_ms_p99: float


def watched(client: segdepth.Client, out: Path, console: Console, seed: int) -> LiveScore:
    """Point a camera at the service for SECONDS, and track it; write its results to `out`, as live.*."""
    camera = Camera(SCENE, dose=DOSE, fps=FPS, drift_A_per_s=DRIFT_A_PER_S, hop_every_s=HOP_EVERY_S, seed=seed)
    images: dict[int, NDArray[Any]] = {}
    begun_s: dict[int, float] = {}
    latencies_ms: list[float] = []
    tracked: list[TrackedFrame] = []
    with TruthFile(out / "live.truth.json", camera) as truth, progress(console) as bar:

        def frames() -> Iterator[Frame]:
            for shot in camera.shots(round(SECONDS * FPS)):
                truth.add(shot)
                sequence = int(shot.frame.sequence or 0)
                images[sequence], begun_s[sequence] = shot.frame.image, time.perf_counter()
                yield shot.frame

        task = bar.add_task("tracking a camera", total=round(SECONDS * FPS))
        for frame in client.track(frames(), camera.calibration, tracking=LIVE, policy="drop_oldest", name="camera"):
            if frame.sequence in begun_s:
                latencies_ms.append((time.perf_counter() - begun_s[frame.sequence]) * 1e3)
            tracked.append(frame)
            bar.advance(task)
    said = read_truth(out / "live.truth.json")
    _export(out, images, camera, tracked, console)
    found, wrong = compared(said, tracked, camera.field.size, camera.field.sampling_A)
    _print(console, said, found, wrong)
    p50, p99 = np.percentile(latencies_ms, (50, 99)) if latencies_ms else (np.nan, np.nan)
    score = LiveScore(
        frames=len(images),
        tracked=sum(frame.state is TrackState.TRACKED for frame in tracked),
        hops=len(found),
        found=sum(change is not None for _, change in found),
        wrong=len(wrong),
        drift_error_A=_drift_error_A(said, tracked),
        latency_ms_p50=float(p50),
        latency_ms_p99=float(p99),
    )
    likely = sum(change.p_changed >= LIKELY for change in wrong)
    console.print(
        f"[bold]{score.found} of {score.hops} hops found[/] within ±{NEAR_FRAMES} frames, {score.wrong} announced that"
        f" are none, {likely} of them with p ≥ {LIKELY:g}; {score.tracked} of {score.frames} frames tracked, drift"
        f" right to {score.drift_error_A:.2f} Å;"
        f" from a frame to its tracks p50 {score.latency_ms_p50:.0f} ms, p99 {score.latency_ms_p99:.0f} ms"
    )
    (out / "live.scores.json").write_text(json.dumps(asdict(score), indent=2) + "\n")
    return score


def compared(
    said: CameraTruth, tracked: list[TrackedFrame], size: int, sampling_A: float
) -> tuple[list[tuple[TrueChange, Change | None]], list[Change]]:
    """Each true change in sight with the one announced for it, None where it was missed; and what is none."""
    announced = [change for frame in tracked for change in frame.changes]
    frames = {int(number): drift_A for number, drift_A in zip(said.sequence, said.drift_A, strict=True)}
    side_A = (size - 1) * sampling_A
    left = list(announced)
    found: list[tuple[TrueChange, Change | None]] = []
    for true in said.changes:
        at_A = np.array([true.x_A, true.y_A]) + frames.get(true.frame, np.zeros(2))
        if not ((at_A > BORDER_A) & (at_A < side_A - BORDER_A)).all():
            continue
        own = [change for change in left if _is_of(change, true, frames, sampling_A)]
        nearest = min(own, key=lambda change: abs(change.frame - true.frame), default=None)
        if nearest is not None and _is_then(nearest, true):
            left.remove(nearest)
            found.append((true, nearest))
        else:
            found.append((true, None))
    return found, left


def _is_of(change: Change, true: TrueChange, frames: dict[int, NDArray[np.float64]], sampling_A: float) -> bool:
    drift_A = frames.get(change.frame)
    if drift_A is None:
        return False
    at_A = np.array([change.x_px, change.y_px]) * sampling_A - drift_A
    return bool(np.hypot(at_A[0] - true.x_A, at_A[1] - true.y_A) < NEAR_A)


def _is_then(change: Change, true: TrueChange) -> bool:
    """Said to be near its moment; of frames that were dropped nobody knows which it was."""
    return change.first_frame <= true.frame <= change.last_frame or abs(change.frame - true.frame) <= NEAR_FRAMES


def _drift_error_A(said: CameraTruth, tracked: list[TrackedFrame]) -> float:
    """The largest; a segment's drift is against its own first frame."""
    true = {int(number): drift_A for number, drift_A in zip(said.sequence, said.drift_A, strict=True)}
    apart: dict[int, list[NDArray[np.float64]]] = {}
    for frame in tracked:
        if frame.state is TrackState.TRACKED:
            apart.setdefault(frame.segment, []).append(np.array(frame.drift_A) - true[frame.sequence])
    return max((float(np.ptp(one, axis=0).max()) / 2 for one in apart.values()), default=float("nan"))


def _export(
    out: Path, images: dict[int, NDArray[Any]], camera: Camera, tracked: list[TrackedFrame], console: Console
) -> None:
    """The camera's movie as live.mrc, and what `segdepth track --out` writes of it."""
    if not images:
        return
    empty = np.zeros_like(next(iter(images.values())))
    path = out / "live.mrc"
    with mrcfile.new(path, overwrite=True) as movie:
        movie.set_data(np.stack([images.get(number, empty) for number in range(max(images) + 1)]))
        movie.set_image_stack()
        movie.voxel_size = camera.field.sampling_A
    with (
        console.status("drawing what changed"),
        open_movie(path) as frames,
        TracksExport(out, frames, ("csv", "json", "png", "gif"), settings=LIVE, interval_s=1 / FPS) as files,
    ):
        for frame in tracked:
            files.add(frame)
        files.draw()


def _print(
    console: Console, said: CameraTruth, found: list[tuple[TrueChange, Change | None]], wrong: list[Change]
) -> None:
    table = Table(
        title=f"what hopped before the camera ({said.about['scene']}, {DOSE:g} e/Å² a frame)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    for name in ("frame", "column", "atoms", "told as", "in frame", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for true, change in found:
        told = ("[yellow]missed[/]", "", "") if change is None else _told(change)
        table.add_row(f"{true.frame}", true.species, f"{true.before} → {true.after}", *told)
    for change in wrong:
        if change.p_changed < LIKELY:
            continue
        table.add_row("", change.species, "[yellow]none[/]", *_told(change))
    console.print(table)


def _told(change: Change) -> tuple[str, str, str]:
    return f"{change.before} → {change.after}", f"{change.frame}", f"{change.p_changed:.2f}"


def progress(console: Console) -> Progress:
    """A bar with a count and a clock."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
