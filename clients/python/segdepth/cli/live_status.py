"""What a live command shows while it runs, and how it is ended."""

import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
from rich.markup import escape
from rich.table import Table

from segdepth.cli.console import err
from segdepth.cli.reasons import Reasons
from segdepth.live.account import FrameAccount
from segdepth.live.states import SERVICE, SourceState, service_state
from segdepth.results import Answer, FrameResult
from segdepth.streaming.outages import Outage

KEPT_LATENCIES = 10_000

RATE_OVER_S = 5.0
"""The rates are those of the last seconds."""


class Sent(NamedTuple):
    """A frame under way: its number, when it left the source here [s], and when it was taken."""

    sequence: int
    at_s: float
    capture_time: datetime | None


class Service:
    """The service as a live command sees it: said on stderr when it goes and comes, shown as long as it is away."""

    def __init__(self) -> None:
        self.on_state: Callable[[SourceState, str], None] | None = None
        """Told of each change, too, from the thread that carries the stream."""
        self._away = ""

    def outage(self, outage: Outage) -> None:
        """For the client: what its streams tell."""
        state, detail = service_state(outage)
        self.show(state, detail)
        if self.on_state is not None:
            self.on_state(state, detail)

    def show(self, state: SourceState, detail: str) -> None:
        """It is away, or back."""
        away = state is SourceState.AWAY
        self._away = f"{state.value} {detail}" if away else ""
        err().print(f"[{'yellow' if away else 'cyan'}]{SERVICE} {state.value}[/] {escape(detail)}")

    def lines(self) -> list[str]:
        """For a status: nothing where it is there."""
        return [f"{SERVICE} {self._away}"] if self._away else []


class LiveStatus:
    """Rates, latencies and the account of a live source. Memory is bounded by what is under way."""

    def __init__(self, account: FrameAccount, state: Callable[[], str], service: Service):
        self._account, self._state, self._service = account, state, service
        self._sent: deque[Sent] = deque()
        self._latencies_s: deque[float] = deque(maxlen=KEPT_LATENCIES)
        self._marks: deque[tuple[float, int, int]] = deque()
        self._columns = 0
        self._models: Counter[str] = Counter()
        self._reasons = Reasons()

    def sending(self, sequence: int, capture_time: datetime | None = None) -> None:
        """A frame leaves the source, from whatever thread."""
        self._sent.append(Sent(sequence, time.monotonic(), capture_time))

    def add(self, answer: Answer) -> dict[str, Any]:
        """An answer comes. What is known of its frame besides: `latency_ms` from the source to here, `capture_time`."""
        last = answer.sequence if isinstance(answer, FrameResult) else answer.last
        sent: Sent | None = None
        while self._sent and self._sent[0].sequence <= last:
            sent = self._sent.popleft()
        self._reasons.of(answer)
        if not isinstance(answer, FrameResult):
            return {}
        self._columns += len(answer.columns)
        self._models[str(answer.model)] += 1
        if sent is None or sent.sequence != last:
            return {}
        latency_s = time.monotonic() - sent.at_s
        self._latencies_s.append(latency_s)
        known = {"latency_ms": round(latency_s * 1000, 2)}
        return known if sent.capture_time is None else known | {"capture_time": sent.capture_time.isoformat()}

    def table(self) -> Table:
        """All of it, now."""
        seen, answered = self._rates()
        table = Table(show_header=False, box=None)
        table.add_row("source", escape("\n".join([self._state(), *self._service.lines()])))
        first, *others = self._account.lines()
        table.add_row("frames", escape("\n".join([first, *others])))
        table.add_row("rate", f"{seen:.1f} frames/s seen, {answered:.1f} answered")
        table.add_row("latency", percentiles(self._latencies_s))
        table.add_row("columns", f"{self._columns}")
        if why := list(self._reasons.lines(self._account.seen)):
            table.add_row("why", escape("\n".join(why)))
        if self._models:
            table.add_row("model", escape(", ".join(self._models)))
        return table

    def _rates(self) -> tuple[float, float]:
        now, answered = time.monotonic(), self._account.answered.total()
        self._marks.append((now, self._account.seen, answered))
        while len(self._marks) > 2 and now - self._marks[1][0] > RATE_OVER_S:
            self._marks.popleft()
        then, seen_then, answered_then = self._marks[0]
        passed_s = now - then
        if passed_s <= 0:
            return 0.0, 0.0
        return (self._account.seen - seen_then) / passed_s, (answered - answered_then) / passed_s


def percentiles(latencies_s: deque[float]) -> str:
    """Of latencies, for people."""
    if not latencies_s:
        return "-"
    p50, p95, p99 = np.percentile(latencies_s, (50, 95, 99)) * 1000
    return f"p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms"


@contextmanager
def ended_by_signals(end: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C or SIGTERM calls `end` once, so that what is under way is answered; the second of them interrupts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = threading.Event()

    def ask(_: int, __: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        end()
        # Not by the console: the signal may have come while that was writing.
        os.write(2, b"stopping: what is under way is answered first; once more to stop at once\n")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
