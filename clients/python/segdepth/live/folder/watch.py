"""A folder watched: its frames to the service, the answers into results, and each of them once."""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from segdepth.calibration import Options, Policy
from segdepth.client import Client, Stream
from segdepth.detector import Detector
from segdepth.errors import CannotWrite, InvalidFrame, SegDepthError, UnreadableFile
from segdepth.live.account import FrameAccount
from segdepth.live.folder.ledger import NAME, Ledger, Row
from segdepth.live.folder.listing import Listing
from segdepth.live.folder.results import Results
from segdepth.live.folder.source import FolderSource
from segdepth.live.folder.told import Told
from segdepth.live.json_lines import STDOUT, account_line, state_line
from segdepth.live.states import SERVICE, SourceState, disk_full, service_state
from segdepth.results import Answer, Gap
from segdepth.streaming.outages import Outage

EVENTS_AHEAD = 32
"""Packs of answers and messages that wait to be written. Beyond that the source and the service wait."""

NEXT_SEQUENCE, FOLDER = "next sequence", "folder"
"""Values in the ledger."""


@dataclass(frozen=True)
class Target:
    """Where results go: files in the folder `out`, JSON lines to `jsonl` (`-`: stdout), or both."""

    out: Path | None = None
    jsonl: str | None = None

    def ledger(self) -> Ledger:
        """The ledger beside them; one in memory where there is nothing to go on with. Raises CannotWrite."""
        if self.out is not None:
            try:
                self.out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CannotWrite(error.errno, f"{self.out}: {error.strerror or error}") from error
            return Ledger(self.out / NAME)
        if self.jsonl is None:
            raise InvalidFrame("name where results go: --out DIR, --jsonl FILE, or both")
        path = Path(self.jsonl)
        if self.jsonl == STDOUT or (path.exists() and not path.is_file()):
            return Ledger(None)
        return Ledger(path.with_name(f".{path.name}{NAME}"))


@dataclass(frozen=True)
class _End:
    """The stream is over: all is answered, or an error."""

    error: Exception | None = None


class FolderWatch:
    """Watches a folder until `stop`, or with `once` until all that is there is done. Use `with`.

    say: called with everything that there is to tell, from the thread that runs it; the other parameters are those of
    `FolderSource` and `Client.stream`. Raises UnreadableFile where there is no such folder, CannotWrite.
    """

    def __init__(
        self,
        folder: Path,
        target: Target,
        say: Callable[[Told], None],
        *,
        pattern: str = "*",
        settle_s: float = 5.0,
        sampling_A: float | None = None,
        detector: Detector | None = None,
        once: bool = False,
    ):
        if not folder.is_dir():
            raise UnreadableFile(f"{folder}: no such folder; it has to be there before movies arrive in it")
        self._folder, self._say, self._jsonl = folder, say, target.jsonl
        self._events: queue.Queue[list[Answer] | Told | _End] = queue.Queue(EVENTS_AHEAD)
        self._ending: dict[int, Told] = {}
        self._over = self._stopped = False
        self._ledger = target.ledger()
        try:
            self._check_folder()
            self._results = Results(self._ledger, target.out, target.jsonl)
            self._next_sequence = int(self._ledger.meta(NEXT_SEQUENCE, 0))
            left_out = () if target.out is None or target.out.absolute() == folder.absolute() else (target.out,)
            jsonl = () if target.jsonl in (None, STDOUT) else (Path(str(target.jsonl)),)
            self._source = FolderSource(
                Listing(folder.absolute(), pattern, (*left_out, *jsonl)),
                self._ledger,
                self._put,
                sampling_A=sampling_A,
                detector=detector,
                settle_s=settle_s,
                once=once,
                first_sequence=self._next_sequence,
                taken=self._results.taken,
            )
        except BaseException:
            self._ledger.close()
            raise

    def _check_folder(self) -> None:
        """Names in the ledger are relative to a folder, which may be moved; two of them would be mixed up."""
        here, known = str(self._folder.absolute()), str(self._ledger.meta(FOLDER, ""))
        if known and known != here and Path(known).is_dir():
            raise CannotWrite(f"{self._ledger.path}: these are results of {known}; name another --out")
        if known != here:
            self._ledger.commit([], [], {FOLDER: here})

    @property
    def account(self) -> FrameAccount:
        """What became of the frames of this run."""
        return self._source.account

    def stop(self) -> None:
        """Read no further frame; what is under way is answered, then `run` returns. From any thread or signal."""
        self._stopped = True
        self._source.close()

    def outage(self, outage: Outage) -> None:
        """For the client that `run` is given: what its streams tell of the service, to say and to write."""
        state, detail = service_state(outage)
        self._put(Told(state, SERVICE, detail))

    def run(
        self,
        client: Client,
        options: Options | None = None,
        *,
        policy: Policy = "block",
        frame_deadline_s: float | None = None,
        answered: Callable[[Answer], None] = lambda _: None,
    ) -> FrameAccount:
        """Watch. Raises what ends it too early, after everything that was answered has been written.

        answered: is told of each answer of the stream, in this thread.
        """
        self._take_up()
        stream = client.stream(
            self._source.frames(),
            None,
            options,
            policy=policy,
            frame_deadline_s=frame_deadline_s,
            name=self._folder.name,
        )
        # A daemon: where results cannot be written, nobody waits for the answers any more.
        threading.Thread(target=self._receive, args=(stream,), name="segdepth-answers", daemon=True).start()
        try:
            error = self._until_the_end(answered)
            if isinstance(error, CannotWrite):
                # Of the ledger, in the thread that reads the files.
                raise error
            self._conclude(error)
        except CannotWrite as cause:
            if disk_full(cause):
                told = Told(SourceState.DISK_FULL, str(self._folder), "what was written before is kept")
                self._results.last_words(state_line(told.state, told.name, told.detail))
                self._say(told)
            raise
        finally:
            self._over = True
            self._source.close()
            stream.close()
        if error is not None:
            raise error
        return self.account

    def _take_up(self) -> None:
        """What an earlier run left."""
        for name in self._results.forgotten:
            detail = "its results have been cut or taken away: counted anew"
            self._tell(Told(SourceState.RESTARTED, name, detail))
        for row in self._ledger.unfinished():
            if row.path is None:
                self._tell(Told(SourceState.REPLACED, row.results, "while nobody looked", row, row.done))
        self._finish()

    def _receive(self, stream: Stream) -> None:
        error: Exception | None = None
        try:
            while answers := stream.next_answers():
                self._put(answers)
        except Exception as raised:  # noqa: BLE001 - raised again by `run`, whatever it is
            error = raised
        self._put(_End(error))

    def _put(self, event: list[Answer] | Told | _End) -> None:
        while not self._over:
            with suppress(queue.Full):
                self._events.put(event, timeout=1.0)
                return

    def _until_the_end(self, answered: Callable[[Answer], None]) -> Exception | None:
        while True:
            events = [self._events.get()]
            with suppress(queue.Empty):
                while len(events) < EVENTS_AHEAD:
                    events.append(self._events.get_nowait())
            for event in events:
                if isinstance(event, Told):
                    self._tell(event)
                elif isinstance(event, list):
                    for answer in event:
                        self._answer(answer)
                        answered(answer)
            self._commit()
            self._finish()
            if isinstance(events[-1], _End):
                return events[-1].error

    def _answer(self, answer: Answer) -> None:
        self.account.answer(answer)
        first, last = (answer.first, answer.last) if isinstance(answer, Gap) else (answer.sequence, answer.sequence)
        for sequence in range(first, last + 1):
            pending = self._source.pending.pop(sequence, None)
            if pending is None:
                continue
            if isinstance(answer, Gap):
                answer_of_one: Answer = Gap(sequence, sequence, answer.reason, pending.trouble or answer.detail)
            else:
                answer_of_one = answer
            self._goes_on(pending.row, pending.index)
            self._results.add(pending.row, pending.index, answer_of_one, pending.digest, pending.age_ms())
        self._next_sequence = max(self._next_sequence, last + 1)

    def _goes_on(self, row: Row, index: int) -> None:
        """A movie that had ended has more frames: a kill from now on must find it unfinished."""
        ending = self._ending.get(row.id)
        if ending is not None and index >= (ending.until or 0):
            del self._ending[row.id]
        if row.state is not SourceState.RUNNING:
            row.state, row.signature = SourceState.RUNNING, ""
            self._ledger.commit([row], [], {})

    def _tell(self, told: Told) -> None:
        if told.row is not None and told.until:
            self._ending[told.row.id] = told
        else:
            self._tell_now(told)

    def _tell_now(self, told: Told) -> None:
        self._results.say(state_line(told.state, told.name, told.detail))
        self._say(told)

    def _finish(self) -> None:
        """Movies that end, once all their frames are written."""
        done = [told for told in self._ending.values() if told.row and told.row.done >= (told.until or 0)]
        if not done:
            return
        rows = []
        for told in done:
            assert told.row is not None
            del self._ending[told.row.id]
            told.row.state, told.row.signature = told.state, told.signature
            rows.append(told.row)
        self._results.finish(rows)
        for told, row in zip(done, rows, strict=True):
            counts = ", ".join(f"{count} {status}" for status, count in row.counts.items())
            detail = f"{row.done} frames: {counts}" + (f"; {told.detail}" if told.detail else "")
            self._tell_now(replace(told, detail=detail))
        self._commit()

    def _commit(self) -> None:
        self._results.commit(**{NEXT_SEQUENCE: self._next_sequence})

    def _conclude(self, error: Exception | None) -> None:
        """The last lines."""
        if isinstance(error, SegDepthError):
            self._tell(Told(SourceState.DIED, SERVICE, str(error)))
        elif error is not None:
            self._tell(Told(SourceState.DIED, str(self._folder), repr(error)))
        else:
            self._tell(Told(SourceState.STOPPED if self._stopped else SourceState.ENDED, str(self._folder)))
        self._results.say(account_line(self.account))
        self._commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._results.close()
        self._ledger.close()
