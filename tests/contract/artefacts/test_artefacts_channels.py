"""Channels change by compare-and-swap: of concurrent promoters one wins, and no change is lost."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier

import pytest

from segdepth_artefacts import ArtefactStore, Channel, errors
from tests.contract.artefacts import workers
from tests.contract.artefacts.places import FAMILY, Place, make_version


@pytest.fixture(autouse=True)
def two_versions(store: ArtefactStore, tmp_path: Path) -> None:
    for day, version in enumerate(["1.0", "2.0"]):
        made = make_version(tmp_path, version, day=day)
        store.register(made.manifest, made.files)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(3, get_context("spawn")) as executor:
        yield executor


def assert_unbroken(channel: Channel | None, changes: int) -> Channel:
    """Every change follows on the one before it."""
    assert channel is not None
    history = channel.history
    assert len(history) == changes
    assert channel.version == history[0].to_version
    assert [change.from_version for change in history] == [*(change.to_version for change in history[1:]), None]
    assert len({change.id for change in history}) == changes
    return channel


def test_a_channel_points_nowhere_until_it_is_pointed(store: ArtefactStore) -> None:
    assert store.channel(FAMILY, "stable") is None
    assert store.channel("pt-111", "stable") is None


def test_the_history_says_who_when_and_why(place: Place, store: ArtefactStore) -> None:
    first = store.point(FAMILY, "stable", "1.0", principal="ann", reason="first", expected=None)
    second = store.point(FAMILY, "stable", "2.0", principal="bob", reason="bättre", forced=True, expected=first)

    read = place.open().channel(FAMILY, "stable")
    assert read == second
    now, before = assert_unbroken(read, 2).history
    assert (now.from_version, now.to_version, now.principal, now.reason, now.forced) == (
        "1.0",
        "2.0",
        "bob",
        "bättre",
        True,
    )
    assert (before.from_version, before.to_version, before.principal, before.forced) == (None, "1.0", "ann", False)
    assert timedelta(0) <= datetime.now(UTC) - now.time < timedelta(minutes=3)


def test_channels_are_independent(store: ArtefactStore) -> None:
    store.point(FAMILY, "stable", "1.0", principal="me", reason="", expected=None)
    store.point(FAMILY, "candidate", "2.0", principal="me", reason="", expected=None)
    stable, candidate = store.channel(FAMILY, "stable"), store.channel(FAMILY, "candidate")
    assert (stable and stable.version, candidate and candidate.version) == ("1.0", "2.0")


def test_a_stale_promoter_is_told_who_was_faster(store: ArtefactStore) -> None:
    first = store.point(FAMILY, "stable", "1.0", principal="ann", reason="first", expected=None)
    second = store.point(FAMILY, "stable", "2.0", principal="bob", reason="better", expected=first)

    for stale in (None, first):
        with pytest.raises(errors.ChannelConflict, match=r"2\.0 by bob.*better.*read the channel again"):
            store.point(FAMILY, "stable", "1.0", principal="cy", reason="late", expected=stale)
    assert store.channel(FAMILY, "stable") == second


def test_pointing_back_does_not_let_a_stale_promoter_through(store: ArtefactStore) -> None:
    """A, B, A: the channel reads as before, but it is not the one that was expected."""
    first = store.point(FAMILY, "stable", "1.0", principal="ann", reason="", expected=None)
    second = store.point(FAMILY, "stable", "2.0", principal="ann", reason="", expected=first)
    store.point(FAMILY, "stable", "1.0", principal="ann", reason="", expected=second)

    with pytest.raises(errors.ChannelConflict):
        store.point(FAMILY, "stable", "2.0", principal="bob", reason="", expected=first)


def test_only_a_complete_version_can_be_pointed_at(place: Place, store: ArtefactStore, tmp_path: Path) -> None:
    unfinished = make_version(tmp_path, "3.0")
    place.put(f"{unfinished.folder}/card.md", b"# A model\n")
    for version in ("3.0", "absent"):
        with pytest.raises(errors.UnknownVersion):
            store.point(FAMILY, "stable", version, principal="me", reason="", expected=None)
    assert store.channel(FAMILY, "stable") is None


def test_a_change_needs_a_principal_and_the_right_channel(store: ArtefactStore) -> None:
    with pytest.raises(ValueError, match="principal"):
        store.point(FAMILY, "stable", "1.0", principal="", reason="", expected=None)
    stable = store.point(FAMILY, "stable", "1.0", principal="me", reason="", expected=None)
    with pytest.raises(ValueError, match="candidate"):
        store.point(FAMILY, "candidate", "1.0", principal="me", reason="", expected=stable)


def test_of_promoting_threads_exactly_one_wins_each_round(place: Place) -> None:
    promoters, rounds = 6, 8
    stores = [place.open() for _ in range(promoters)]
    start = Barrier(promoters)

    def promote(store: ArtefactStore, expected: Channel | None, number: int) -> bool:
        start.wait(30)
        try:
            store.point(FAMILY, "stable", "1.0", principal=f"thread {number}", reason="race", expected=expected)
        except errors.ChannelConflict:
            return False
        return True

    with ThreadPoolExecutor(promoters) as threads:
        for done in range(rounds):
            expected = place.open().channel(FAMILY, "stable")
            won = list(threads.map(promote, stores, [expected] * promoters, range(promoters)))
            assert won.count(True) == 1
            channel = assert_unbroken(place.open().channel(FAMILY, "stable"), done + 1)
            assert channel.history[0].principal == f"thread {won.index(True)}"


def test_of_promoting_processes_exactly_one_wins_each_round(place: Place, processes: ProcessPoolExecutor) -> None:
    for done in range(4):
        expected = place.open().channel(FAMILY, "stable")
        names = [f"process {number}" for number in range(6)]
        running = [processes.submit(workers.promote, place, "1.0", name, expected) for name in names]
        won = [future.result(60) for future in running]
        assert won.count(True) == 1
        channel = assert_unbroken(place.open().channel(FAMILY, "stable"), done + 1)
        assert channel.history[0].principal == names[won.index(True)]


def test_no_change_of_promoting_processes_is_lost(place: Place, processes: ProcessPoolExecutor) -> None:
    times, names = 5, [f"process {number}" for number in range(3)]
    for future in [processes.submit(workers.promote_until_won, place, name, times) for name in names]:
        future.result(120)

    channel = assert_unbroken(place.open().channel(FAMILY, "stable"), len(names) * times)
    for name in names:
        own = [change.reason for change in reversed(channel.history) if change.principal == name]
        assert own == [str(count) for count in range(times)]
