"""A camera's own numbers as the strictly increasing ones of a stream: what is repeated, late, lost, begun anew."""

from collections import deque
from dataclasses import dataclass

from segdepth.live.account import OUT_OF_ORDER, REPEATED

REMEMBERED = 64
"""So many numbers back a frame may come late, or twice; what is further behind was never delivered so late."""

MOST_LOST = 1_000_000
"""Numbers that are skipped at once: a camera that jumps by more has not lost frames for so long, it counts anew."""


@dataclass(frozen=True)
class Arrival:
    """What a number says. sequence: the frame's number in the stream, None where it is to be dropped.

    dropped: why; shown_again: no new frame at all, but what the server shows to whoever comes (back) to it; lost:
    numbers that were skipped before it; found: it was counted as lost and comes late; restarted: the camera counts
    anew from here.
    """

    sequence: int | None = None
    dropped: str = ""
    shown_again: bool = False
    lost: int = 0
    found: bool = False
    restarted: bool = False


class FrameNumbers:
    """Maps numbers to sequences, which are the camera's own until it begins to count anew.

    A number that falls back is a restart after a disconnect, or far back with a later time, or where a second one
    follows on it; otherwise it is a frame that came twice, or late. One that is ahead by more than any loss is a
    restart, too. A camera that numbers every frame 0 is numbered here, by its clock.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._time_s: float | None = None
        self._offset = 0
        self._missing: deque[int] = deque(maxlen=REMEMBERED)
        self._doubtful: int | None = None
        self._interrupted = False

    @property
    def last(self) -> int | None:
        """The last sequence, None at the beginning."""
        return None if self._last is None else self._last + self._offset

    def interrupted(self) -> None:
        """The camera was away, or is subscribed to anew: it may count anew, or be seen where it was."""
        self._interrupted = True

    def arrival(self, number: int, time_s: float | None) -> Arrival:
        """What the next frame is, from its number and its camera's clock [s], None where it has none."""
        interrupted, self._interrupted = self._interrupted, False
        if self._last is None:
            # PV Access' numbers have a sign; a stream's begin at 0.
            self._offset = max(0, -number)
            return self._accepted(number, time_s)
        if number > self._last:
            lost = number - self._last - 1
            if lost > MOST_LOST:
                return self._restarted(number, time_s)
            self._missing.extend(range(max(self._last + 1, number - REMEMBERED), number))
            return self._accepted(number, time_s, lost)
        # Without a clock nothing is known to be later, nor to be older.
        known = time_s is not None and self._time_s is not None
        later = known and time_s > self._time_s  # type: ignore[operator]
        if number == self._last == 0 and later:
            self._offset += 1
            return self._accepted(number, time_s)
        if interrupted and number == self._last and not later:
            return Arrival(shown_again=True)
        if self._begins_anew(number, interrupted, later=later, older=known and not later):
            return self._restarted(number, time_s)
        if number in self._missing:
            self._missing.remove(number)
            return Arrival(dropped=OUT_OF_ORDER, found=True)
        return Arrival(dropped=REPEATED if self._last - number < REMEMBERED else OUT_OF_ORDER)

    def _begins_anew(self, number: int, interrupted: bool, *, later: bool, older: bool) -> bool:
        last = self._last or 0
        if interrupted:
            return True
        if number == last or number in self._missing:
            return False
        far = last - number >= REMEMBERED
        if older and not far:
            return False
        if far and later:
            return True
        follows = self._doubtful is not None and number == self._doubtful + 1
        self._doubtful = number
        return follows

    def _restarted(self, number: int, time_s: float | None) -> Arrival:
        self._offset = (self.last or 0) + 1 - number
        self._missing.clear()
        accepted = self._accepted(number, time_s)
        return Arrival(accepted.sequence, restarted=True)

    def _accepted(self, number: int, time_s: float | None, lost: int = 0) -> Arrival:
        self._last, self._time_s, self._doubtful = number, time_s, None
        return Arrival(number + self._offset, lost=lost)
