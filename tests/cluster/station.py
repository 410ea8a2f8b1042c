"""A microscope's station: streams frames at its own pace, and keeps what came back and when."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import segdepth

SAMPLING_A = 0.1


@dataclass
class Arrival:
    """One answer: its time by the station's clock [s], its numbers, and for a result the model's version and counts."""

    at_s: float
    first: int
    last: int
    version: str = ""
    counts: tuple[int, ...] = ()
    reason: str = ""


@dataclass
class Station:
    """Plays `movie` over and over until it is told to stop. A fault of the stream is kept and raised by `stop`."""

    client: segdepth.Client
    movie: list[NDArray[Any]]
    fps: float = 5.0
    arrivals: list[Arrival] = field(default_factory=list)
    sent: int = 0

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="station", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._stopping.set()

    def stop(self, timeout_s: float = 180) -> None:
        """No more frames; returns when all are answered. Raises what the stream raised."""
        self._stopping.set()
        self._thread.join(timeout_s)
        if self._failure is not None:
            raise self._failure
        assert not self._thread.is_alive(), f"{self.sent - self.answered()} frames are not answered after {timeout_s} s"

    def wait_for(self, answers: int, timeout_s: float = 120) -> None:
        """Return when so many answers more have come."""
        wanted, end = len(self.arrivals) + answers, time.monotonic() + timeout_s
        while len(self.arrivals) < wanted:
            if self._failure is not None:
                raise self._failure
            assert time.monotonic() < end, f"{len(self.arrivals)} of {wanted} answers after {timeout_s} s"
            time.sleep(0.05)

    def answered(self) -> int:
        """Sequence numbers answered, as a result or in a Gap."""
        return sum(arrival.last - arrival.first + 1 for arrival in self.arrivals)

    def longest_pause_s(self, since: int = 0) -> float:
        """Longest time between two answers, from the arrival `since` on."""
        times = [arrival.at_s for arrival in self.arrivals[since:]]
        return max(np.diff(times), default=0.0)

    def account(self) -> str:
        """What came, in words. AssertionError unless every number came once, in order, with its own counts."""
        numbers = [number for a in self.arrivals for number in range(a.first, a.last + 1)]
        assert numbers == list(range(self.sent)), f"{self.sent} sent, came: {_runs(numbers)}"
        seen: dict[tuple[str, int], tuple[int, ...]] = {}
        for arrival in self.arrivals:
            if arrival.version:
                key = (arrival.version, arrival.first % len(self.movie))
                assert seen.setdefault(key, arrival.counts) == arrival.counts, f"frame {arrival.first}: other counts"
        gaps = [a for a in self.arrivals if a.reason]
        lost = sum(a.last - a.first + 1 for a in gaps)
        return f"{self.sent} frames, each once; {lost} in gaps ({', '.join({a.reason for a in gaps}) or 'none'})"

    def _frames(self) -> Iterator[NDArray[Any]]:
        due = time.monotonic()
        while not self._stopping.is_set():
            yield self.movie[self.sent % len(self.movie)]
            self.sent += 1
            due = max(due + 1 / self.fps, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))

    def _run(self) -> None:
        try:
            with self.client.stream(self._frames(), SAMPLING_A, name="cluster test") as answers:
                for answer in answers:
                    self.arrivals.append(_arrival(answer))
        except segdepth.SegDepthError as error:
            self._failure = error


def _arrival(answer: segdepth.Answer) -> Arrival:
    now = time.monotonic()
    if isinstance(answer, segdepth.FrameResult):
        counts = tuple(answer.columns.count.tolist())
        return Arrival(now, answer.sequence, answer.sequence, answer.model.version, counts)
    return Arrival(now, answer.first, answer.last, reason=answer.reason.value)


def _runs(numbers: list[int]) -> str:
    """1-5, 7, 9-12: for messages."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)
