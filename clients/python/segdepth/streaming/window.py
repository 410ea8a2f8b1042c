"""The account of a stream: every frame between the caller and the model, in order, each answered exactly once.

Knows nothing of connections. The caller's side offers frames; a carrier takes packs, and settles answers; whatever is
not settled can be rewound and taken again. Safe for one thread on each side.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable

from segdepth.calibration import Policy
from segdepth.errors import InvalidFrame
from segdepth.results import Answer, FrameResult, Gap, GapReason
from segdepth.streaming.entries import Closed, Entry, Load, append_gap, lost
from segdepth_protos import contract
from segdepth_protos.v1 import estimator_pb2

WAITING_FRAMES = 64
"""Frames that wait to be sent: what fills a pack, and under drop_oldest how far a live view may lag."""

WAITING_BYTES = 64 * 1024 * 1024
"""And their size; a single frame may be larger."""


def _nothing() -> None:
    pass


class Window:
    """Frames waiting and frames under way, with their credit."""

    def __init__(self, policy: Policy = "block", waiting_frames: int = WAITING_FRAMES):
        self._policy, self._waiting_frames = policy, waiting_frames
        self._lock = threading.Lock()
        self._waiting: deque[Entry] = deque()
        self._under_way: deque[Entry] = deque()
        self._waiting_load, self._under_way_load = Load(), Load()
        self._credit: Load | None = None
        self._last_offered: int | None = None
        self._settled: int | None = None
        self._source_ended = self._closed = False
        self._source_error: BaseException | None = None
        self.on_ready: Callable[[], None] = _nothing
        """Called when there may be something to take: from the source's thread."""
        self.on_room: Callable[[], None] = _nothing
        """Called when there may be room for an offer: from the carrier's thread."""

    # The source's side

    def offer(self, entry: Entry) -> bool:
        """Add the next frame. False: no room now, offer it again after `on_room`.

        Under drop_oldest there is always room; the oldest waiting frame becomes a gap. Raises InvalidFrame for a
        sequence number twice or backwards, Closed when the stream is over.
        """
        with self._lock:
            if self._closed:
                raise Closed
            if self._policy == "block" and self._full():
                return False
            self._check_order(entry)
            if self._last_offered is not None and entry.first > self._last_offered + 1:
                self._append(Entry.missing(self._last_offered + 1, entry.first - 1, GapReason.NOT_SENT))
            self._append(entry)
            self._last_offered = entry.last
            while self._policy == "drop_oldest" and self._overfull():
                self._drop_oldest()
        self.on_ready()
        return True

    def end(self, error: BaseException | None = None) -> None:
        """No frame follows. `error` is the source's own, for the caller to see after the last answer."""
        with self._lock:
            self._source_ended, self._source_error = True, error
        self.on_ready()

    def _check_order(self, entry: Entry) -> None:
        if self._last_offered is not None and entry.first <= self._last_offered:
            raise InvalidFrame(
                f"frame.sequence: {entry.first} after {self._last_offered}; numbers must increase", "frame.sequence"
            )

    def _append(self, entry: Entry) -> None:
        last = self._waiting[-1].gap if self._waiting else None
        if last and entry.gap and (last.reason, last.detail) == (entry.gap.reason, entry.gap.detail):
            self._waiting[-1] = Entry.missing(last.first, entry.last, last.reason, last.detail)
            return
        self._waiting.append(entry)
        self._waiting_load.add(entry)

    def _full(self) -> bool:
        return len(self._waiting) >= self._waiting_frames or self._waiting_load.bytes >= contract.PACK_BYTES

    def _overfull(self) -> bool:
        too_many = len(self._waiting) > self._waiting_frames + 1
        return too_many or (self._waiting_load.bytes > WAITING_BYTES and self._waiting_load.frames > 1)

    def _drop_oldest(self) -> None:
        # The gap at the head swallows what follows it, so that an outage of any length stays one entry.
        first = self._waiting.popleft()
        self._waiting_load.remove(first)
        last = first.last
        if first.gap is not None:
            second = self._waiting.popleft()
            self._waiting_load.remove(second)
            last = second.last
        self._waiting.appendleft(Entry.missing(first.first, last, GapReason.DROPPED))

    # The carrier's side

    def grant(self, frames: int, size: int) -> None:
        """The latest credit: how much may be under way. Before the first one there is no bound."""
        with self._lock:
            self._credit = Load(frames, size)

    def take(self) -> list[Entry]:
        """The next pack: what waits, within the credit and PACK_BYTES. They are under way now."""
        pack: list[Entry] = []
        size = 0
        with self._lock:
            waited = len(self._waiting)
            while self._waiting:
                entry = self._waiting[0]
                if entry.gap is None:
                    if (pack and size + entry.size > contract.PACK_BYTES) or not self._affordable(entry):
                        break
                    pack.append(entry)
                    size += entry.size
                self._waiting.popleft()
                self._waiting_load.remove(entry)
                self._under_way.append(entry)
                self._under_way_load.add(entry)
            moved = waited > len(self._waiting)
        if moved:
            self.on_room()
        return pack

    def _affordable(self, entry: Entry) -> bool:
        under_way = self._under_way_load
        if self._credit is None:
            return True
        if under_way.frames >= self._credit.frames:
            return False
        # A frame larger than all credit goes alone, or it would never go.
        return under_way.frames == 0 or under_way.bytes + entry.size <= self._credit.bytes

    def settle(self, answers: Iterable[estimator_pb2.Answer]) -> list[Answer]:
        """What the caller has not seen yet, in order, with the gaps that only this side knows of.

        Without answers: the gaps before the first frame that still needs one.
        """
        settled: list[Answer] = []
        with self._lock:
            for answer in answers:
                if answer.HasField("result"):
                    self._settle_result(FrameResult(answer.result), settled)
                elif answer.HasField("gap"):
                    self._settle_gap(Gap.from_message(answer.gap), settled)
            self._settle_local_gaps(settled)
        return settled

    def _settle_result(self, result: FrameResult, settled: list[Answer]) -> None:
        sequence = result.sequence
        # Repeated after a resume, or never sent.
        if not self._under_way or sequence < self._under_way[0].first:
            return
        self._settle_before(sequence, settled)
        if self._under_way and self._under_way[0].first == sequence and self._under_way[0].gap is None:
            self._pop()
            settled.append(result)

    def _settle_gap(self, gap: Gap, settled: list[Answer]) -> None:
        self._settle_before(gap.first, settled)
        while self._under_way and self._under_way[0].first <= gap.last:
            entry = self._pop()
            append_gap(settled, entry.gap or Gap(entry.first, entry.last, gap.reason, gap.detail))

    def _settle_before(self, sequence: int, settled: list[Answer]) -> None:
        while self._under_way and self._under_way[0].first < sequence:
            entry = self._pop()
            skipped = Gap(entry.first, entry.last, GapReason.FAILED, "the server answered a later frame instead")
            append_gap(settled, entry.gap or skipped)

    def _settle_local_gaps(self, settled: list[Answer]) -> None:
        while self._under_way and (gap := self._under_way[0].gap):
            self._pop()
            append_gap(settled, gap)
        if self._under_way:
            return
        while self._waiting and (gap := self._waiting[0].gap):
            self._waiting.popleft()
            self._settled = gap.last
            append_gap(settled, gap)

    def _pop(self) -> Entry:
        entry = self._under_way.popleft()
        self._under_way_load.remove(entry)
        self._settled = entry.last
        return entry

    def rewind(self, resume_after: int | None = None) -> None:
        """Nothing is under way any more: take it again, except what the server says was answered: that is lost."""
        with self._lock:
            entries = [lost(entry, resume_after) for entry in self._under_way] + list(self._waiting)
            self._under_way.clear()
            self._waiting = deque(entries)
            self._under_way_load, self._waiting_load = Load(), Load()
            for entry in entries:
                self._waiting_load.add(entry)

    def close(self) -> None:
        """The stream is over: the next offer raises Closed."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            self._under_way.clear()
        self.on_room()
        self.on_ready()

    @property
    def settled(self) -> int | None:
        """The last number whose answer has been settled, None at the beginning."""
        return self._settled

    @property
    def closed(self) -> bool:
        """The stream is over."""
        return self._closed

    @property
    def sent(self) -> bool:
        """The source has ended and nothing waits."""
        return self._source_ended and not self._waiting

    @property
    def complete(self) -> bool:
        """The source has ended and everything is answered."""
        return self.sent and not self._under_way

    def raise_source_error(self) -> None:
        """Raise what the source raised, if it did."""
        if self._source_error is not None:
            raise self._source_error
