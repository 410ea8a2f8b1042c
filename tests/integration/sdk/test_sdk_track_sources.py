"""`client.track` of sources that fail, repeat, end early or write over their frames; and of a camera with its truth."""

import threading

import numpy as np
import pytest

import segdepth
from segdepth import Frame, Tracking, TrackState
from segdepth.camera import Camera
from segdepth.errors import InvalidFrame
from tests.models import lattice_frame

SAMPLING_A, SHAPE = 0.1, (224, 240)
LIVE = Tracking(lag_frames=0)

pytestmark = pytest.mark.timeout(300)


def movie(count):
    """Frames of one specimen."""
    return [lattice_frame(3, SHAPE, SAMPLING_A, 300.0, noise=number) for number in range(count)]


class CableOut(Exception):
    """What a camera's own library raises."""


def breaking(count):
    yield from movie(count)
    raise CableOut


async def breaking_later(count):
    for frame in movie(count):
        yield frame
    raise CableOut


@pytest.mark.parametrize("settings", [LIVE, Tracking()], ids=["live", "lag"])
def test_what_came_before_a_source_fails_is_told_first(local, settings):
    told = []
    with pytest.raises(CableOut):
        told.extend((one.sequence, one.state) for one in local.track(breaking(6), SAMPLING_A, tracking=settings))
    assert told == [(number, TrackState.TRACKED) for number in range(6)]


async def test_with_asyncio_too(store):
    told = []

    async def tell(client):
        async for frame in client.track(breaking_later(4), SAMPLING_A):
            told.append(frame.sequence)  # noqa: PERF401 - those before the error count

    async with segdepth.connect_async("local", store=str(store)) as client:
        with pytest.raises(CableOut):
            await tell(client)
    assert told == list(range(4))


@pytest.mark.parametrize("numbers", [(0, 1, 1, 2), (0, 3, 2)], ids=["repeated", "reordered"])
def test_numbers_that_do_not_go_up_are_the_streams_error(local, numbers):
    """Before tracking sees them: sources of live frames drop and count them."""
    frames = [Frame(image, number) for image, number in zip(movie(4), numbers, strict=False)]
    told = []
    with pytest.raises(InvalidFrame, match="sequence"):
        told.extend(frame.sequence for frame in local.track(frames, SAMPLING_A, tracking=LIVE))
    assert told == list(range(numbers[1] + 1))


def sources():
    return [thread for thread in threading.enumerate() if thread.name == "segdepth-source" and thread.is_alive()]


def test_who_stops_early_leaves_nothing_behind(local):
    before, ended = set(sources()), threading.Event()

    def endless():
        try:
            number = 0
            while True:
                yield lattice_frame(3, SHAPE, SAMPLING_A, 300.0, noise=number % 5)
                number += 1
        finally:
            ended.set()

    tracked = local.track(endless(), SAMPLING_A, tracking=LIVE)
    assert [next(tracked).sequence for _ in range(3)] == [0, 1, 2]
    tracked.close()
    assert ended.wait(30)
    for thread in set(sources()) - before:
        thread.join(30)
        assert not thread.is_alive()


def test_a_camera_may_write_over_its_frame_once_it_is_sent(local):
    frames, buffer = movie(6), np.empty(SHAPE, np.uint16)

    def written_over():
        for frame in frames:
            buffer[:] = frame
            yield buffer

    settings = Tracking(summed_frames=3)
    ours, theirs = (list(local.track(source, SAMPLING_A, tracking=settings)) for source in (written_over(), frames))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.columns.track, other.columns.track)
        np.testing.assert_array_equal(one.columns.probabilities, other.columns.probabilities)


def test_what_is_no_frame_is_missing_in_its_place(local):
    frames = movie(5)
    frames[2] = np.zeros((4, 4), np.complex64)
    told = list(local.track(frames, SAMPLING_A, tracking=LIVE))
    assert [frame.state for frame in told] == [TrackState.TRACKED] * 2 + [TrackState.MISSING] + [TrackState.TRACKED] * 2
    assert "invalid" in told[2].why
    numbers = [Frame(frames[0], 0), Frame(frames[1], 5000), Frame(frames[3], 5001)]
    told = list(local.track(numbers, SAMPLING_A, tracking=LIVE))
    assert [frame.sequence for frame in told] == list(range(5002))
    assert {frame.state for frame in told[1:5000]} == {TrackState.MISSING}


@pytest.mark.slow
def test_live_a_camera_is_tracked_as_its_film_is_only_later():
    """By the released model: drift to 0.1 Å, columns that keep their tracks, changes told after they happened."""
    camera = Camera("islands", dose=500, fps=5, drift_A_per_s=0.3, hop_every_s=1.5, seed=2, paced=False)
    shots = list(camera.shots(45))
    with segdepth.connect("local") as client:
        live, film = (
            list(client.track([shot.frame for shot in shots], camera.calibration, tracking=settings))
            for settings in (LIVE, Tracking())
        )
    for told in (live, film):
        assert [frame.sequence for frame in told] == list(range(45))
        drift_A = np.array([frame.drift_A for frame in told]) - [shot.drift_A for shot in shots]
        assert np.abs(drift_A - drift_A.mean(axis=0)).max() < 0.1
        assert linked(camera, shots, told) >= 0.99
    for frame in live:
        assert all(change.frame <= frame.sequence for change in frame.changes)
    late = [frame.sequence - change.frame for frame in live for change in frame.changes]
    assert late
    assert min(late) >= 1


def linked(camera, shots, told):
    """Share of the true columns' frames that have the track that most of the column's frames have."""
    tracks = {}
    for shot, frame in zip(shots, told, strict=True):
        columns = frame.columns
        if not len(columns):
            continue
        xy_A = camera.field.positions_A(shot.drift_A)
        away_A = np.hypot(columns.x_A[:, None] - xy_A[:, 0], columns.y_A[:, None] - xy_A[:, 1])
        for track, column, apart_A in zip(columns.track, away_A.argmin(axis=1), away_A.min(axis=1), strict=True):
            if apart_A < 0.5:
                tracks.setdefault(int(column), []).append(int(track))
    same = sum(int(np.unique(of, return_counts=True)[1].max()) for of in tracks.values())
    return same / sum(map(len, tracks.values()))
