"""What a live command shows, and how it is ended."""

import json
import os
import signal
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from segdepth.cli.live_results import Leaving, Results
from segdepth.cli.live_status import LiveStatus, Service, ended_by_signals
from segdepth.live.account import FrameAccount
from segdepth.live.states import SourceState
from segdepth.results import Gap, GapReason
from segdepth.streaming.outages import Outage
from tests.answers import result


def status():
    return LiveStatus(FrameAccount(), lambda: "CAM, running", Service())


def test_the_latency_is_that_of_the_frame():
    live = status()
    live.sending(3)
    live.sending(5)
    live.sending(7)
    assert live.add(result(3))["latency_ms"] >= 0
    assert live.add(Gap(4, 5, GapReason.DROPPED)) == {}
    assert live.add(result(6)) == {}
    assert set(live.add(result(7))) == {"latency_ms"}


def test_a_service_that_is_away_is_shown_until_it_is_back():
    service, told = Service(), []
    service.on_state = lambda *state: told.append(state)
    live = LiveStatus(FrameAccount(), lambda: "CAM, running", service)

    def shown():
        console = Console(width=120)
        with console.capture() as captured:
            console.print(live.table())
        return captured.get()

    lost = Outage("connection refused", datetime(2026, 5, 4, 12, 3, 4, tzinfo=UTC))
    service.outage(lost)
    assert "service away since 12:03:04: connection refused; reconnecting" in shown()
    service.outage(replace(lost, lasted_s=8.2))
    assert "service" not in shown()
    assert told == [
        (SourceState.AWAY, "since 12:03:04: connection refused; reconnecting"),
        (SourceState.BACK, "after 8 s"),
    ]


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


def test_the_account_is_the_last_line_whatever_the_source_says_later(tmp_path):
    with Leaving(Results(jsonl=str(tmp_path / "lines")), "camera", FrameAccount()) as leaving:
        leaving.state(SourceState.RUNNING, "")
        leaving.finish()
        leaving.state(SourceState.WAITING, "")
    leaving.state(SourceState.STOPPED, "")
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "lines").read_text().splitlines()]
    assert kinds == ["state", "account"]
