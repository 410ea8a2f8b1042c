"""What became of every frame of a live source."""

import threading
from collections import Counter, deque
from typing import Any

from segdepth.results import Answer, Gap, GapReason, Status

REPEATED = "repeated"
OUT_OF_ORDER = "out of order"
LOST_AT_SOURCE = "lost at the source"
NOT_A_FRAME = "not a frame"
NOT_ANSWERED = "not answered"
"""Reasons for which frames are dropped; a source may have others."""

MOST_LEFT_OUT = 4096
"""Runs of numbers that are kept apart."""

_REASONS = {
    GapReason.INVALID: NOT_A_FRAME,
    GapReason.REFUSED: "refused by the server",
    GapReason.FAILED: "failed at the server",
    GapReason.LOST: "answer lost on the way",
    GapReason.UNKNOWN: NOT_ANSWERED,
}
"""Of a gap; the others have their own word."""


class FrameAccount:
    """Counts frames: seen = answered + dropped + under way, at every moment. Safe to use from several threads.

    A source calls `see` for each frame, then `send` when it hands it over, or `drop` with a reason; whoever reads the
    stream gives each answer to `answer`. A frame of which only the number's absence was seen goes to `lose`. A source
    whose sequences jump calls `leave_out`: a stream may answer numbers that were never sent together with others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen = self._sent = 0
        self._answered: Counter[Status] = Counter()
        self._dropped: Counter[str] = Counter()
        self._left_out: deque[tuple[int, int, int]] = deque()

    def see(self, n: int = 1) -> None:
        """Frames come."""
        with self._lock:
            self._seen += n

    def send(self, n: int = 1) -> None:
        """Seen frames go to the service."""
        with self._lock:
            self._sent += n

    def drop(self, reason: str, n: int = 1) -> None:
        """Seen frames will not be answered, and why in a few words."""
        with self._lock:
            self._dropped[reason] += n

    def lose(self, n: int = 1, reason: str = LOST_AT_SOURCE) -> None:
        """Frames that the source numbered and never delivered: seen and dropped at once."""
        with self._lock:
            self._seen += n
            self._dropped[reason] += n

    def give_up(self) -> None:
        """No answer follows: what is still under way is not answered."""
        with self._lock:
            if left := self._under_way():
                self._dropped[NOT_ANSWERED] += left

    def leave_out(self, first: int, last: int) -> None:
        """Sequences `first` to `last` are not sent; before the next one is. Kept until the stream has passed them."""
        with self._lock:
            self._left_out.append((first, last, last - first + 1))
            if len(self._left_out) > MOST_LEFT_OUT:
                # Only a stream that drops its oldest frames is so far behind: one gap will swallow both.
                (low, _, few), (_, high, more) = self._left_out.popleft(), self._left_out.popleft()
                self._left_out.appendleft((low, high, few + more))

    def answer(self, answer: Answer) -> None:
        """The stream's answer to sent frames. Numbers that the source left out itself are not counted a second time."""
        with self._lock:
            if not isinstance(answer, Gap):
                self._answered[answer.domain.status] += 1
                self._passed(answer.sequence, answer.sequence)
                return
            frames = len(answer) - self._passed(answer.first, answer.last)
            if answer.reason is not GapReason.NOT_SENT and frames:
                self._dropped[_REASONS.get(answer.reason, answer.reason.value)] += frames

    def _passed(self, first: int, last: int) -> int:
        """How many numbers from `first` to `last` were left out; those up to `last` are forgotten."""
        found = 0
        while self._left_out and self._left_out[0][0] <= last:
            low, high, numbers = self._left_out.popleft()
            inside = min(numbers, max(0, min(high, last) - max(low, first) + 1))
            found += inside
            if high > last:
                self._left_out.appendleft((last + 1, high, numbers - inside))
                break
        return found

    @property
    def seen(self) -> int:
        """Frames of the source."""
        return self._seen

    @property
    def sent(self) -> int:
        """Frames handed to the service."""
        return self._sent

    @property
    def answered(self) -> Counter[Status]:
        """Frames with an answer, by verdict: a copy."""
        with self._lock:
            return self._answered.copy()

    @property
    def dropped(self) -> Counter[str]:
        """Frames without an answer, by reason: a copy."""
        with self._lock:
            return self._dropped.copy()

    @property
    def under_way(self) -> int:
        """Frames seen, and neither answered nor dropped yet."""
        with self._lock:
            return self._under_way()

    def _under_way(self) -> int:
        return self._seen - self._answered.total() - self._dropped.total()

    @property
    def usable(self) -> int:
        """Frames answered and not refused: with columns that may be used."""
        with self._lock:
            return self._answered[Status.OK] + self._answered[Status.SUSPECT]

    def lines(self) -> list[str]:
        """All of it for people."""
        told = self.as_dict()
        answered = _listed(told["answered"])
        total = sum(told["answered"].values())
        lines = [f"{told['seen']} frames seen, {told['sent']} sent, {total} answered{answered}"]
        if told["dropped"]:
            lines.append(f"{sum(told['dropped'].values())} dropped{_listed(told['dropped'])}")
        if told["under_way"]:
            lines.append(f"{told['under_way']} under way")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """All of it for JSON, of one moment: seen, sent, answered by verdict, dropped by reason, under_way."""
        with self._lock:
            return {
                "seen": self._seen,
                "sent": self._sent,
                "answered": {status.value: n for status, n in self._answered.items() if n},
                "dropped": {reason: n for reason, n in self._dropped.most_common() if n},
                "under_way": self._under_way(),
            }


def _listed(numbers: dict[str, int]) -> str:
    parts = ", ".join(f"{number} {name}" for name, number in numbers.items())
    return f" ({parts})" if parts else ""
