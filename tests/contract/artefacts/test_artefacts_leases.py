"""Leases: one holder at a time, a dead one is followed, a displaced one notices. Objects are looked at and removed."""

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from threading import Barrier, Event

import pytest

from segdepth_artefacts import errors
from segdepth_artefacts.lease import Lease
from segdepth_artefacts.open_objects import open_objects
from tests.contract.artefacts import workers
from tests.contract.artefacts.endpoints import line_to
from tests.contract.artefacts.places import Bucket, Place
from tests.s3 import BUCKETS

SPAWN = get_context("spawn")
NAME = "training-ceo2-110"
KEY = f"leases/{NAME}.json"


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def lease(place: Place, holder: str, *, ttl_s: float = 60, ahead_s: float = 0) -> Lease:
    """A lease whose wall clock is ahead."""
    return Lease(open_objects(place.url, place.settings), NAME, holder, ttl_s=ttl_s, clock=lambda: later(ahead_s))


def test_a_second_holder_is_told_who_and_until_when(place: Place) -> None:
    with place.open().lease(NAME, "ann", ttl_s=60):
        with pytest.raises(errors.LeaseHeld, match=r"held by ann until 2\d\d\d-.*if it died") as caught:
            place.open().lease(NAME, "bob", ttl_s=60).acquire()
        assert caught.value.holder == "ann"
        assert later(30) < caught.value.expires < later(61)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (again.holder, again.expires, str(again)) == ("ann", caught.value.expires, str(caught.value))
    with place.open().lease(NAME, "bob", ttl_s=60) as second:
        second.confirm()


def test_leases_of_other_names_are_free(place: Place) -> None:
    with place.open().lease(NAME, "ann", ttl_s=60), place.open().lease("training-pt", "bob", ttl_s=60) as other:
        other.confirm()


def test_an_expired_lease_is_taken_over_and_its_old_holder_notices(place: Place) -> None:
    first = lease(place, "ann")
    first.acquire()
    with lease(place, "bob", ahead_s=61) as second:
        with pytest.raises(errors.LeaseLost, match="another may work in its place"):
            first.confirm()
        assert first.lost
        first.release()
        second.confirm()
        assert b'"bob"' in place.get(KEY)


def test_it_is_renewed_while_it_is_held(place: Place) -> None:
    with lease(place, "ann", ttl_s=1.5) as held:
        time.sleep(2.5)
        assert not held.lost
        with pytest.raises(errors.LeaseHeld):
            lease(place, "bob").acquire()


def test_a_displaced_holder_is_called(place: Place) -> None:
    called = Event()
    with place.open().lease(NAME, "ann", ttl_s=4, on_lost=called.set) as first:
        with lease(place, "bob", ahead_s=5):
            assert called.wait(30)
        assert first.lost


def test_the_lease_of_a_killed_process_is_taken_over(place: Place) -> None:
    ready = SPAWN.Event()
    process = SPAWN.Process(target=workers.hold_for_ever, args=(place, NAME, 3.0, ready))
    process.start()
    assert ready.wait(60)
    with pytest.raises(errors.LeaseHeld, match="the killed one"):
        lease(place, "ann").acquire()
    process.kill()
    process.join(60)
    end = time.monotonic() + 30
    while True:
        try:
            with lease(place, "ann") as held:
                held.confirm()
                return
        except errors.LeaseHeld:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_of_many_takers_one_wins(place: Place) -> None:
    takers = 6
    start = Barrier(takers)

    def take(number: int) -> Lease | None:
        mine = lease(place, f"taker {number}")
        start.wait(30)
        try:
            mine.acquire()
        except errors.LeaseHeld:
            return None
        return mine

    with ThreadPoolExecutor(takers) as threads:
        (winner,) = [taken for taken in threads.map(take, range(takers)) if taken]
    winner.release()


@pytest.mark.parametrize("place", BUCKETS, indirect=True)
def test_a_renewal_whose_answer_was_lost_is_recognised(place: Bucket) -> None:
    cut, lost = Event(), Event()

    def lose(piece: bytes) -> bool:
        if cut.is_set() and piece.startswith(b"PUT"):
            lost.set()
            return True
        return False

    with line_to(place.server.endpoint, lose_answers=lose) as endpoint:
        settings = place.server.settings(endpoint=endpoint, timeout_s=5, attempts=1)
        with Place(place.url, settings).open().lease(NAME, "ann", ttl_s=60) as held:
            cut.set()
            with pytest.raises(errors.StoreUnavailable):
                held.confirm()
            assert lost.is_set()
            cut.clear()
            held.confirm()
            assert not held.lost


@pytest.mark.parametrize("place", BUCKETS, indirect=True)
def test_a_store_that_is_silent_loses_the_lease_in_time(place: Bucket) -> None:
    cut, called = Event(), Event()
    with line_to(place.server.endpoint, lose_answers=lambda _: cut.is_set()) as endpoint:
        settings = place.server.settings(endpoint=endpoint, timeout_s=1, attempts=1)
        held = Place(place.url, settings).open().lease(NAME, "ann", ttl_s=2, on_lost=called.set)
        held.acquire()
        cut.set()
        assert called.wait(30)
        with pytest.raises(errors.LeaseLost):
            held.confirm()


def test_what_is_no_lease_is_named(place: Place) -> None:
    place.put(KEY, b"{}")
    with pytest.raises(errors.CorruptArtefact, match=rf"(?s){KEY}.*is no lease.*remove it"):
        lease(place, "ann").acquire()
    with pytest.raises(errors.InvalidName):
        place.open().lease("../stable", "ann", ttl_s=60)


def test_objects_can_be_looked_at_and_removed(place: Place) -> None:
    objects = open_objects(place.url, place.settings)
    assert objects.etag("runs/a/report.json") is None
    etag = objects.write("runs/a/report.json", b"{}", replaces=None)
    stored = objects.read("runs/a/report.json")
    assert stored is not None
    assert objects.etag("runs/a/report.json") == etag == stored.etag
    objects.remove("runs/a/report.json")
    objects.remove("runs/a/report.json")
    assert objects.etag("runs/a/report.json") is None
    assert objects.children("runs/a") == []
