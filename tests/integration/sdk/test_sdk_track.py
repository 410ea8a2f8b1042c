"""`client.track` in process and over the wire: the server is the real one, with the same small model."""

import asyncio
import threading

import numpy as np
import pytest

import segdepth
from segdepth.client import Client
from segdepth.errors import NotSupported, Unavailable
from segdepth.tracks import kept
from segdepth_artefacts import Manifest, open_store
from tests.models import lattice_frame, point, tiny_model

SAMPLING_A, SHAPE = 0.1, (224, 240)
STILL = segdepth.Tracking(hop_rate=0, summed_frames=3)


def movie(count: int) -> list[np.ndarray]:
    """Frames of one specimen."""
    return [lattice_frame(3, SHAPE, SAMPLING_A, 300.0, noise=number) for number in range(count)]


def assert_the_same(ours, theirs, atol=0.0):
    assert [frame.sequence for frame in ours] == [frame.sequence for frame in theirs]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.columns.track, other.columns.track)
        np.testing.assert_allclose(one.columns.probabilities, other.columns.probabilities, rtol=0, atol=atol)


def test_a_movie_that_stands_still_counts_one_specimen(local):
    frames = list(local.track(movie(6), SAMPLING_A, tracking=STILL))
    first, last = frames[0].columns, frames[-1].columns
    assert len(first) > 20
    both = np.isin(first.track, last.track), np.isin(last.track, first.track)
    np.testing.assert_array_equal(first.probabilities[both[0]], last.probabilities[both[1]])
    assert not any(frame.changes for frame in frames)


class Interrupted:
    """The transport of a client whose service is away for the next `times` single frames: streams are not struck."""

    def __init__(self, client, times):
        self._transport, self.times = client._transport, times

    def __getattr__(self, name):
        return getattr(self._transport, name)

    async def estimate(self, request, timeout_s):
        if self.times:
            self.times -= 1
            raise Unavailable("restarting")
        return await self._transport.estimate(request, timeout_s)


def test_a_sum_waits_for_a_service_that_comes_back(local):
    away = Interrupted(local, 2)
    assert_the_same(
        list(Client(away).track(movie(6), SAMPLING_A, tracking=STILL)),
        list(local.track(movie(6), SAMPLING_A, tracking=STILL)),
    )
    assert away.times == 0


def test_a_live_view_goes_on_without_a_sum(local):
    away = Interrupted(local, 100)
    frames = list(Client(away).track(movie(6), SAMPLING_A, tracking=STILL, policy="drop_oldest"))
    assert [frame.state.value for frame in frames] == ["tracked"] * 6
    # The second one, too, unless the first was still being asked about.
    assert away.times in (98, 99)


class Held(Interrupted):
    """The transport of a client whose service answers no single frame until `held` is set: streams are not struck."""

    def __init__(self, client):
        super().__init__(client, 0)
        self.held, self.asked, self.cancelled = threading.Event(), 0, threading.Event()

    async def estimate(self, request, timeout_s):
        self.asked += 1
        try:
            while not self.held.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return await super().estimate(request, timeout_s)


def numbers(tracked, count):
    return [next(tracked).sequence for _ in range(count)]


@pytest.mark.timeout(60)
def test_no_frame_of_a_camera_waits_for_what_is_said_of_a_sum(local):
    slow = Held(local)
    tracking = segdepth.Tracking(hop_rate=0, lag_frames=0, summed_frames=3)
    tracked = Client(slow).track(movie(12), SAMPLING_A, tracking=tracking, policy="drop_oldest")
    assert numbers(tracked, 11) == list(range(11))
    assert slow.asked == 1, "one at a time; others are left out"
    slow.held.set()
    assert numbers(tracked, 1) == [11]


@pytest.mark.timeout(60)
def test_what_is_said_of_a_sum_counts_from_a_certain_frame_on_where_frames_wait(local):
    tracking = segdepth.Tracking(hop_rate=0, lag_frames=0, summed_frames=6)
    slow, away = Held(local), Interrupted(local, 2)
    tracked = Client(slow).track(movie(14), SAMPLING_A, tracking=tracking)
    ours = [next(tracked) for _ in range(10)]
    assert slow.asked == 1
    slow.held.set()
    ours += tracked
    assert slow.asked == 2
    assert_the_same(ours, list(local.track(movie(14), SAMPLING_A, tracking=tracking)))
    assert_the_same(ours, list(Client(away).track(movie(14), SAMPLING_A, tracking=tracking)))
    without = segdepth.Tracking(hop_rate=0, lag_frames=0, summed_frames=0)
    bare = list(local.track(movie(14), SAMPLING_A, tracking=without))
    assert_the_same(ours[:10], bare[:10])
    assert (ours[10].columns.probabilities != bare[10].columns.probabilities).any()


@pytest.mark.timeout(60)
def test_who_leaves_asks_no_more(local):
    slow = Held(local)
    tracking = segdepth.Tracking(hop_rate=0, lag_frames=0, summed_frames=3)
    tracked = Client(slow).track(movie(8), SAMPLING_A, tracking=tracking, policy="drop_oldest")
    numbers(tracked, 4)
    tracked.close()
    assert slow.cancelled.wait(20)


def test_no_frame_of_a_file_is_forgotten_before_its_answer(local, monkeypatch):
    monkeypatch.setattr(kept, "KEPT_BYTES", 1)
    frames = list(local.track(movie(8), SAMPLING_A, tracking=STILL))
    assert [frame.state.value for frame in frames] == ["tracked"] * 8


def test_the_numbers_of_a_model_that_is_not_there_say_what_to_do(local):
    with pytest.raises(NotSupported, match="calibrate and release it anew"):
        segdepth.numbers_of(local.models(), segdepth.ModelVersion("tiny", "99", "", ""))


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """A store whose model was released without the numbers that tracking needs."""
    folder = tmp_path_factory.mktemp("older")
    manifest = tiny_model(folder / "staging")
    text = manifest.model_dump_json(exclude={"pooling"})
    assert "pooling" not in text
    known = open_store(str(folder / "store"))
    known.register(Manifest.model_validate_json(text), {name: folder / "staging" / name for name in manifest.files})
    point(folder / "store", "1")
    return folder / "store"


def test_an_older_model_is_refused_by_name(older):
    with segdepth.connect("local", store=str(older)) as client:
        assert client.models()[0].pooling is None
        with pytest.raises(NotSupported, match=r"tiny 1 .*calibrate and release it anew"):
            next(client.track(movie(3), SAMPLING_A))


async def test_the_async_client_tracks_the_same(store, local):
    async with segdepth.connect_async("local", store=str(store)) as client:
        ours = [frame async for frame in client.track(movie(4), SAMPLING_A, tracking=STILL)]
    assert_the_same(ours, list(local.track(movie(4), SAMPLING_A, tracking=STILL)))


@pytest.mark.slow
def test_the_same_in_process_and_over_the_wire(address, local):
    with segdepth.connect(address) as remote:
        ours, theirs = (list(client.track(movie(4), SAMPLING_A, tracking=STILL)) for client in (local, remote))
    assert_the_same(ours, theirs, atol=1e-5)
