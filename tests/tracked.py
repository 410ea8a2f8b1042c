"""Tracked movies as tracking would yield them, made up: for tests of what is made of them."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segdepth.files import Movie, open_movie
from segdepth.models import ModelVersion
from segdepth.tracks.results import Change, TrackedColumns, TrackedFrame, TrackState

SAMPLING_A = 0.2
SHAPE = (120, 150)
FRAMES = 40
"""Of a movie."""

MODEL = ModelVersion("f", "7", "cd" * 32, "torch-fp32")
PITCH_A, ACROSS = 3.2, 7
"""The grid of columns: their distance, and how many are in a row."""


def columns(
    frame: int = 0,
    tracks: int = 30,
    drift_A: tuple[float, float] = (0.0, 0.0),
    atoms: NDArray[np.int64] | None = None,
    spread: float = 0.6,
) -> TrackedColumns:
    """Ce and O in turn, on a grid; the posterior is a Gaussian of `spread` atoms about `atoms`, 2-8 by default."""
    rng = np.random.default_rng((7, frame))
    number = np.arange(tracks)
    xy_A = np.column_stack([number % ACROSS, number // ACROSS]) * PITCH_A + 2.0 + drift_A
    atoms = 2 + number % 7 if atoms is None else atoms
    exponent = (np.arange(11) - atoms[:, None] - rng.normal(0, 0.1, (tracks, 1))) ** 2 / (2 * spread**2)
    probabilities = np.exp(-exponent)
    return TrackedColumns(
        track=number.astype(np.int64),
        x_px=xy_A[:, 0] / SAMPLING_A + rng.normal(0, 0.05, tracks),
        y_px=xy_A[:, 1] / SAMPLING_A + rng.normal(0, 0.05, tracks),
        found=rng.random(tracks) < 0.9,
        species=(1 + number % 2).astype(np.uint8),
        probabilities=probabilities / probabilities.sum(axis=1, keepdims=True),
        p_changed=np.full(tracks, 0.0005),
        sampling_A=SAMPLING_A,
    )


def tracked(sequence: int = 0, tracks: int = 30, changes: tuple[Change, ...] = (), **given: object) -> TrackedFrame:
    """One frame that is tracked, displaced by a hundredth of an Å a frame."""
    drift_A = (0.01 * sequence, -0.02 * sequence)
    found = columns(sequence, tracks, drift_A, **given)  # type: ignore[arg-type]
    return TrackedFrame(sequence, TrackState.TRACKED, "", 0, drift_A, 0.02, 0.1, found, changes, MODEL)


def without(sequence: int, state: TrackState, why: str, segment: int = 0) -> TrackedFrame:
    """One frame that is not."""
    return TrackedFrame(sequence, state, why, segment)


def change(track: int, frame: int, before: int, after: int, p_changed: float = 0.97) -> Change:
    """A change of a column of `columns`."""
    at = columns(frame, track + 1)
    return Change(
        *(track, frame, frame - 1, frame + 2, ("Ce", "O")[track % 2], before, after, p_changed),
        *(float(at.x_px[track]), float(at.y_px[track])),
    )


def movie(frames: int = FRAMES, tracks: int = 30) -> Iterator[TrackedFrame]:
    """A movie with all that can be: a refused stretch, a gap, a lost frame, a second segment, two changes.

    Track 3 goes from 5 to 3 atoms at a quarter, track 8 from 3 to 4 at a half; what is known of it comes later.
    """
    first, second = frames // 4, frames // 2
    hops = {first + 2: change(3, first, 5, 3), second + 3: change(8, second, 3, 4, 0.6)}
    for sequence in range(frames):
        atoms = 2 + np.arange(tracks) % 7
        atoms[3] = 5 if sequence < first else 3
        atoms[8] = 3 if sequence < second else 4
        changes = (hops[sequence],) if sequence in hops else ()
        if sequence in (frames // 8, frames // 8 + 1):
            yield without(sequence, TrackState.REFUSED, 'dose 9 e/Å², "too low", permitted from 10')
        elif sequence == frames // 3:
            yield without(sequence, TrackState.MISSING, "deadline")
        elif sequence == 3 * frames // 4:
            yield without(sequence, TrackState.LOST, "turned by 31 degrees", 1)
        else:
            frame = tracked(sequence, tracks, changes, atoms=atoms)
            yield replace(frame, segment=int(sequence > 3 * frames // 4))


def picture(sequence: int, frames: int = FRAMES, tracks: int = 30, dose: float = 60.0) -> NDArray[np.uint16]:
    """What a camera might have recorded of that: a bright blob a column, by its atoms, with counting noise."""
    atoms = 2 + np.arange(tracks) % 7
    atoms[3] = 5 if sequence < frames // 4 else 3
    atoms[8] = 3 if sequence < frames // 2 else 4
    at = columns(sequence, tracks, (0.01 * sequence, -0.02 * sequence))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    bright = np.full(SHAPE, 0.6)
    for cx, cy, number in zip(at.x_px, at.y_px, atoms, strict=True):
        bright += 0.2 * number * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * (0.55 / SAMPLING_A) ** 2))
    rng = np.random.default_rng((8, sequence))
    return rng.poisson(bright * dose * SAMPLING_A**2 * 4).astype(np.uint16)


def write_movie(folder: Path, frames: int = FRAMES) -> Movie:
    """m.npy of it, opened."""
    np.save(folder / "m.npy", np.stack([picture(frame, FRAMES) for frame in range(frames)]))
    return open_movie(folder / "m.npy", SAMPLING_A)


@contextmanager
def at_most(length: int) -> Iterator[None]:
    """No file may grow beyond `length` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
