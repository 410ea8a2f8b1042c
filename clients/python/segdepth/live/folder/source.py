"""The frames of a folder, as files arrive and grow."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segdepth.calibration import Frame
from segdepth.detector import Detector
from segdepth.errors import NotInstalled, UnreadableFile
from segdepth.live.account import FrameAccount
from segdepth.live.folder.identity import Identities
from segdepth.live.folder.ledger import Ledger, Row
from segdepth.live.folder.listing import Listing
from segdepth.live.folder.opened import Opened, digest
from segdepth.live.folder.told import Told
from segdepth.live.folder.waker import Waker
from segdepth.live.states import SourceState

RESCAN_S = 2.0
"""From one look at the whole folder to the next, at least; a folder that takes long to list is listed less often."""

SHARE = 0.1
"""Of the time that may go into listing the folder, and into opening a file again and again."""

MOST_AT_A_TIME = 1000
"""Files that are followed at once; of a folder of more the others wait their turn."""

FRAMES_A_TURN = 256
"""Of one file, before the next one's turn."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
"""Before a file that has nothing new, or cannot be read yet, is opened again."""

FOREIGN_NAMED = 5

_NO_IMAGE = np.zeros((0, 0), np.uint8)
"""Sent for a frame that cannot be read: its place in the stream is a gap then, in the right order."""


@dataclass(frozen=True)
class Pending:
    """A frame under way: which one of which movie it is, and when it was read [s, monotonic]; trouble: not readable."""

    row: Row
    index: int
    digest: str
    read_at: float
    trouble: str = ""

    def age_ms(self) -> float:
        """Since it was read."""
        return round((time.monotonic() - self.read_at) * 1000, 1)


@dataclass(eq=False)
class Followed:
    """A file that is read, or waited for. Times are monotonic [s]: no other clock is trusted."""

    name: str
    signature: str
    changed_at: float
    next_look: float
    pause_s: float = FIRST_PAUSE_S
    not_before: float = 0.0
    row: Row | None = None


class FolderSource:
    """Frames of all movies in a folder, each once, files in turn.

    Blocks while there are none, until `close`; once: ends when all that is there is done. settle_s: a file that has not
    changed for so long is complete, or, if it cannot be read, damaged [s]. `tell` is called from the thread that reads
    the frames; `pending` has the frames that are under way, by sequence number, for whoever gets the answers; taken:
    whether results of that name are there already, of another command.
    """

    def __init__(
        self,
        listing: Listing,
        ledger: Ledger,
        tell: Callable[[Told], None],
        *,
        sampling_A: float | None = None,
        detector: Detector | None = None,
        settle_s: float = 5.0,
        once: bool = False,
        first_sequence: int = 0,
        taken: Callable[[str], bool] = lambda _: False,
    ):
        self.account = FrameAccount()
        self.pending: dict[int, Pending] = {}
        self._listing, self._ledger, self._tell = listing, ledger, tell
        self._identities = Identities(listing, ledger, taken)
        self._sampling_A, self._detector = sampling_A, detector or Detector()
        self._settle_s, self._once, self._next = settle_s, once, first_sequence
        self._followed: dict[str, Followed] = {}
        self._finished = ledger.signatures()
        self._foreign: set[str] = set()
        self._waiting = 0
        self._there = True
        self._closed = threading.Event()
        self._waker = Waker(listing.folder, recursive=listing.recursive)

    def close(self) -> None:
        """No further frame. From any thread."""
        self._closed.set()
        self._waker.wake()

    @property
    def closed(self) -> bool:
        """By `close`, or because the folder is gone; else it ends by itself."""
        return self._closed.is_set()

    def frames(self) -> Iterator[Frame]:
        """All frames with their numbers and calibration. To be read once."""
        self._waker.start()
        try:
            next_scan = 0.0
            while not self._closed.is_set():
                changed = self._waker.take()
                if time.monotonic() >= next_scan or self._listing.folder in changed:
                    next_scan = self._scan()
                else:
                    self._look_at(changed)
                for file in list(self._followed.values()):
                    if file.next_look <= time.monotonic() and not self._closed.is_set():
                        yield from self._turn(file)
                self._say_who_wakes()
                if self._waiting and len(self._followed) <= MOST_AT_A_TIME // 2:
                    next_scan = 0.0
                elif self._once and not self._followed:
                    return
                nearest = min((file.next_look for file in self._followed.values()), default=next_scan)
                self._waker.wait(max(0.0, min(nearest, next_scan) - time.monotonic()))
        finally:
            self._waker.stop()

    def _say_who_wakes(self) -> None:
        trouble, self._waker.trouble = self._waker.trouble, ""
        if trouble:
            detail = f"nothing tells of changes ({trouble}): looked at every {RESCAN_S:g} s"
            self._tell(Told(SourceState.WAITING, str(self._listing.folder), detail))

    # What is in the folder

    def _scan(self) -> float:
        """Look at all of it; returns when to do so again [s, monotonic]."""
        started = time.monotonic()
        try:
            found = self._listing.look()
        except OSError as error:
            self._gone(error)
            return time.monotonic() + RESCAN_S
        if not self._there:
            self._there = True
            self._tell(Told(SourceState.RESTARTED, str(self._listing.folder), "the folder is there again"))
            self._waker.stop()
            self._waker = Waker(self._listing.folder, recursive=self._listing.recursive)
            self._waker.start()
        self._waiting = 0
        for name, signature in found.movies.items():
            self._seen(name, signature)
        for name in [name for name in self._followed if name not in found.movies]:
            self._vanished(name)
        for name in [name for name in self._finished if name not in found.movies]:
            del self._finished[name]
        self._name_foreign(found.foreign)
        ended = time.monotonic()
        return ended + max(RESCAN_S, (ended - started) / SHARE)

    def _gone(self, error: OSError) -> None:
        if self._there:
            self._there = False
            state = SourceState.DIED if self._once else SourceState.VANISHED
            waits = "" if self._once else "; waiting for it to come back"
            self._tell(Told(state, str(self._listing.folder), f"{error.strerror or error}{waits}"))
        if self._once:
            self._closed.set()

    def _look_at(self, changed: set[Path]) -> None:
        for name in sorted({name for path in changed if (name := self._listing.name_of(path))}):
            if name in self._followed or name in self._finished:
                signature = self._listing.signature(name)
                if signature is None:
                    self._vanished(name)
                else:
                    self._seen(name, signature)
            elif self._listing.is_movie(name) and (signature := self._listing.signature(name)) is not None:
                self._seen(name, signature)

    def _seen(self, name: str, signature: str) -> None:
        file, now = self._followed.get(name), time.monotonic()
        if file is not None:
            if file.signature != signature:
                file.signature, file.changed_at = signature, now
                file.next_look = max(file.not_before, now)
        elif self._finished.get(name) != signature:
            if len(self._followed) >= MOST_AT_A_TIME:
                self._waiting += 1
                return
            self._finished.pop(name, None)
            self._followed[name] = Followed(name, signature, now, now)

    def _vanished(self, name: str) -> None:
        file = self._followed.pop(name, None)
        self._finished.pop(name, None)
        if file is not None:
            row = file.row
            detail = "results so far are kept" if row else "before it could be read"
            self._tell(Told(SourceState.VANISHED, name, detail, row, row.read if row else None))

    def _name_foreign(self, names: list[str]) -> None:
        new = [name for name in names if name not in self._foreign]
        self._foreign = set(names)
        if new:
            more = f" and {len(new) - FOREIGN_NAMED} more" if len(new) > FOREIGN_NAMED else ""
            detail = f"left alone, no movies: {', '.join(new[:FOREIGN_NAMED])}{more}"
            self._tell(Told(SourceState.FOREIGN, str(self._listing.folder), detail))

    # A file's turn

    def _turn(self, file: Followed) -> Iterator[Frame]:
        """What it has by now, and whether that is all."""
        started = time.monotonic()
        signature = self._listing.signature(file.name)
        if signature is None:
            self._vanished(file.name)
            return
        self._seen(file.name, signature)
        settled = started - file.changed_at >= self._settle_s
        progress = more = False
        try:
            opened, trouble = self._open(file.name, settled)
            opening_s = time.monotonic() - started
            with opened.movie:
                row = self._row(file, opened, settled)
                if row is not None:
                    before = row.read
                    yield from self._read(row, opened, settled)
                    progress, rest = row.read > before, len(opened.movie) - row.read
                    more = rest > 0 and row.read - before == FRAMES_A_TURN
                    if settled and not rest and file.signature == self._listing.signature(file.name):
                        self._end(file, row, trouble)
                        return
        except (UnreadableFile, NotInstalled) as error:
            opening_s = time.monotonic() - started
            if settled:
                self._end(file, file.row, str(error))
                return
        if file.name in self._followed:
            self._later(file, progress, more, opening_s)

    def _open(self, name: str, settled: bool) -> tuple[Opened, str]:
        """The movie, and what is wrong with a file that no longer changes and has less than it announces."""
        path = self._listing.folder / name
        try:
            return Opened.open(path, self._sampling_A, self._detector, growing=not settled), ""
        except UnreadableFile as error:
            if not settled:
                raise
            return Opened.open(path, self._sampling_A, self._detector, growing=True), str(error)

    def _row(self, file: Followed, opened: Opened, settled: bool) -> Row | None:
        image = opened.movie.frame(0)
        if not settled and not opened.written(0, image):
            return None
        found = self._identities.of(file.name, opened, digest(image), new_here=file.row is None)
        for told in found.told:
            self._tell(told)
        if found.row is None:
            self._finished[file.name] = file.signature
            del self._followed[file.name]
        file.row = found.row
        return found.row

    def _read(self, row: Row, opened: Opened, settled: bool) -> Iterator[Frame]:
        calibration = opened.calibration
        for index in range(row.read, min(len(opened.movie), row.read + FRAMES_A_TURN)):
            if self._closed.is_set():
                return
            trouble, image, marked = "", _NO_IMAGE, ""
            try:
                raw = opened.movie.frame(index)
                if not settled and not opened.written(index, raw):
                    return
                image, marked = opened.corrected(raw), digest(raw)
            except UnreadableFile as error:
                if not settled:
                    return
                trouble = str(error)
            sequence, self._next = self._next, self._next + 1
            self.pending[sequence] = Pending(row, index, marked, time.monotonic(), trouble)
            row.read = index + 1
            self.account.see()
            self.account.send()
            yield Frame(image, sequence, calibration, opened.movie.capture_time(index))

    def _later(self, file: Followed, progress: bool, more: bool, opening_s: float) -> None:
        """When to open it again: at once where there is `more`, else the later the longer nothing came."""
        now = time.monotonic()
        file.pause_s = FIRST_PAUSE_S if progress else min(2 * file.pause_s, LONGEST_PAUSE_S)
        file.not_before = now if more else now + opening_s / SHARE
        settles = file.changed_at + self._settle_s
        next_look = now if more else max(file.not_before, now + file.pause_s)
        file.next_look = min(next_look, settles) if settles > now else next_look

    def _end(self, file: Followed, row: Row | None, trouble: str) -> None:
        """It no longer changes and all of it has been read; or it cannot be read."""
        self._finished[file.name] = file.signature
        del self._followed[file.name]
        state = SourceState.UNREADABLE if trouble else SourceState.ENDED
        until = row.read if row else None
        why = trouble.removeprefix(f"{self._listing.folder / file.name}: ")
        self._tell(Told(state, file.name, why, row, until, "" if trouble else file.signature))
