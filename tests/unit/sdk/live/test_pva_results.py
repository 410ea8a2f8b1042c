"""A table that grows, and what a live command shows."""

import os
import signal
import threading

import pytest

from segdepth.cli.live_status import LiveStatus, ended_by_signals
from segdepth.errors import CannotWrite
from segdepth.export.table import CSV_HEADER, csv_rows
from segdepth.live.account import FrameAccount
from segdepth.live.growing_table import GrowingTable
from segdepth.results import Gap, GapReason
from tests.answers import result


def test_rows_are_there_as_soon_as_they_are_added(tmp_path):
    path = tmp_path / "new" / "t.csv"
    with GrowingTable(path) as table:
        assert path.read_text() == CSV_HEADER
        table.add(result(0))
        table.add(Gap(1, 2, GapReason.DROPPED))
        table.add(result(3, refused=True))
        table.add(result(4))
        assert path.read_text() == CSV_HEADER + csv_rows(result(0)) + csv_rows(result(4))


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "t.csv").write_text("mine")
    with pytest.raises(CannotWrite, match="exists"):
        GrowingTable(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "mine"


def test_a_full_disk_leaves_whole_frames(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "t.csv"
    # The limit of a file's size refuses as a full disk does: after a part of what is written.
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with GrowingTable(path) as table:
        table.add(result(0))
        whole = path.read_text()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, before[1]))
        try:
            with pytest.raises(CannotWrite, match=r"t\.csv"):
                table.add(result(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        assert path.read_text() == whole
        table.add(result(2))
    assert path.read_text() == whole + csv_rows(result(2))


def status():
    return LiveStatus(FrameAccount(), lambda: "CAM, running")


def test_the_latency_is_that_of_the_frame():
    live = status()
    live.sending(3)
    live.sending(5)
    live.sending(7)
    assert live.add(result(3))["latency_ms"] >= 0
    assert live.add(Gap(4, 5, GapReason.DROPPED)) == {}
    assert live.add(result(6)) == {}
    assert set(live.add(result(7))) == {"latency_ms"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_for_the_end_and_the_second_interrupts(number):
    asked = threading.Event()
    before = signal.signal(number, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        with pytest.raises(KeyboardInterrupt):
            _signalled_twice(number, asked)
    finally:
        signal.signal(number, before)


def _signalled_twice(number, asked):
    with ended_by_signals(asked.set):
        os.kill(os.getpid(), number)
        assert asked.wait(10)
        os.kill(os.getpid(), number)
        threading.Event().wait(10)
