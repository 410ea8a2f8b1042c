"""One stream: frames in, answers out in the same order, each sequence number once."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import grpc

from segdepth_gateway import wire
from segdepth_gateway.credit import Grant
from segdepth_gateway.estimator import UnknownModel
from segdepth_gateway.intake import Intake
from segdepth_gateway.job import Job
from segdepth_gateway.metrics import Metrics
from segdepth_gateway.pack import AnswerPack, refuse
from segdepth_gateway.scheduler import Scheduler
from segdepth_gateway.settings import GatewaySettings
from segdepth_gateway.terms import Terms
from segdepth_gateway.wire import ReceivedFrame
from segdepth_protos import contract
from segdepth_protos.v1 import estimator_pb2


@dataclass(frozen=True)
class End:
    """How a stream ends, once everything accepted has been answered."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    detail: str = ""
    reopen: str = ""
    """Set: the client is asked to open again."""


class Stream:
    """The account of one stream. `read` and `write` are the two directions of its call."""

    def __init__(self, terms: Terms, grant: Grant, scheduler: Scheduler, settings: GatewaySettings, metrics: Metrics):
        self._terms = terms
        self.grant = grant
        self._live_frames = settings.live_frames
        self._idle_timeout_s = settings.idle_timeout_s
        self._intake = Intake(terms.options, terms.calibration)
        self._scheduler = scheduler
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._accepted: deque[Job] = deque()
        """Not answered yet, in order of sequence."""
        self._waiting: deque[Job] = deque()
        """A live stream's frames that may still wait for a replica."""
        self._frames = 0
        self._nbytes = 0
        self._last = terms.resume_after
        self._hole = estimator_pb2.GAP_REASON_LOST if terms.resumed else estimator_pb2.GAP_REASON_NOT_SENT
        self._wake = asyncio.Event()
        self._end: End | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, read: AsyncIterator[bytes], write: Callable[[bytes], Awaitable[None]]) -> End:
        """Carry frames in and answers out until one side ends it."""
        reader = asyncio.create_task(self._read(read))
        try:
            while self._end is None or self._accepted:
                await self._wake.wait()
                self._wake.clear()
                while parts := self._collect():
                    await write(wire.answers(parts))
            if reader.done():
                reader.result()
            assert self._end is not None
            return self._end
        finally:
            reader.cancel()
            if self._timer is not None:
                self._timer.cancel()
            self._abandon()

    def end(self, end: End) -> None:
        """Accept no more. What was accepted is answered first; the first reason counts."""
        if self._end is None:
            self._end = end
            self._wake.set()

    async def _read(self, read: AsyncIterator[bytes]) -> None:
        try:
            while self._end is None:
                try:
                    async with asyncio.timeout(self._idle_timeout_s):
                        message = await anext(read)
                except TimeoutError:
                    self.end(End(reopen=f"no frame for {self._idle_timeout_s:g} s"))
                    return
                if self._end is None:
                    self._accept(wire.read_request(message))
        except StopAsyncIteration:
            self.end(End())
        except wire.Malformed as error:
            self.end(End(grpc.StatusCode.INVALID_ARGUMENT, str(error)))
        finally:
            # A connection that breaks cancels the call, and this with it; any other fault must not leave it waiting.
            self.end(End(grpc.StatusCode.INTERNAL, "the stream's reader failed"))

    def _accept(self, request: estimator_pb2.Open | list[ReceivedFrame]) -> None:
        if isinstance(request, estimator_pb2.Open):
            self.end(End(grpc.StatusCode.INVALID_ARGUMENT, "open: a second one; a stream is opened once"))
            return
        now = self._loop.time()
        leaving: list[Job] = []
        for frame in request:
            if self._violates(frame):
                break
            self._note_hole(frame.sequence, now)
            job = self._job(frame.sequence, frame.sequence, len(frame.data), now)
            try:
                self._intake.prepare(job, frame)
            except contract.InvalidFrame as error:
                job.fall_short(estimator_pb2.GAP_REASON_INVALID, str(error))
            else:
                leaving.append(job)
        self._metrics.received.labels("stream").inc(len(request))
        if leaving:
            self._scheduler.submit(leaving)
            if self._terms.live:
                self._drop_oldest(leaving)
            self._watch_deadline()

    def _violates(self, frame: ReceivedFrame) -> bool:
        if self._last is not None and frame.sequence <= self._last:
            self.end(
                End(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"frame.sequence: {frame.sequence} after {self._last}; numbers increase strictly within a stream",
                )
            )
            return True
        excess = self.grant.excess(self._frames + 1, self._nbytes + len(frame.data))
        if excess is not None:
            self.end(End(grpc.StatusCode.RESOURCE_EXHAUSTED, excess))
            return True
        return False

    def _note_hole(self, sequence: int, now: float) -> None:
        if self._last is not None and sequence > self._last + 1:
            lost = self._hole == estimator_pb2.GAP_REASON_LOST
            detail = "not sent again after the stream was resumed" if lost else "numbers skipped by the sender"
            self._job(self._last + 1, sequence - 1, 0, now, frames=0).fall_short(self._hole, detail)
        self._last = sequence
        self._hole = estimator_pb2.GAP_REASON_NOT_SENT

    def _job(self, first: int, last: int, nbytes: int, now: float, frames: int = 1) -> Job:
        job = Job(first, last, nbytes, now, frames)
        job.sender = self
        job.priority = self._terms.priority
        job.on_settled = self._wake.set
        self._accepted.append(job)
        self._frames += frames
        self._nbytes += nbytes
        return job

    def _drop_oldest(self, jobs: list[Job]) -> None:
        self._waiting.extend(jobs)
        while self._waiting and (self._waiting[0].sent is not None or self._waiting[0].settled):
            self._waiting.popleft()
        while len(self._waiting) > self._live_frames:
            job = self._waiting.popleft()
            if job.sent is None and not job.settled:
                self._scheduler.withdraw([job])
                job.fall_short(estimator_pb2.GAP_REASON_DROPPED, "newer frames came before a replica was free")

    def _watch_deadline(self) -> None:
        limit_s = self._terms.frame_deadline_s
        if limit_s is None or self._timer is not None:
            return
        oldest = next((job for job in self._accepted if not job.settled), None)
        if oldest is not None:
            self._timer = self._loop.call_at(oldest.arrived + limit_s, self._shed)

    def _shed(self) -> None:
        assert self._terms.frame_deadline_s is not None
        self._timer = None
        latest = self._loop.time() - self._terms.frame_deadline_s
        for job in self._accepted:
            if job.arrived > latest:
                break
            if not job.settled:
                self._scheduler.withdraw([job])
                detail = f"not answered within {self._terms.frame_deadline_s:g} s"
                job.fall_short(estimator_pb2.GAP_REASON_DEADLINE, detail)
        self._watch_deadline()

    def _collect(self) -> list[bytes]:
        """Parts of the next AnswerPack: everything that is settled, up to a pack's size."""
        pack = AnswerPack()
        now = self._loop.time()
        while self._accepted and self._accepted[0].settled:
            job = self._accepted[0]
            if job.error is not None:
                self._break_off(job.error)
                break
            if self._terms.options.strict:
                refuse(job)
            if not pack.has_room(job):
                break
            self._accepted.popleft()
            self._frames -= job.frames
            self._nbytes -= job.nbytes
            pack.add(job, now)
        return pack.close(self._metrics)

    def _break_off(self, error: Exception) -> None:
        code = grpc.StatusCode.NOT_FOUND if isinstance(error, UnknownModel) else grpc.StatusCode.INTERNAL
        self._end = End(code, str(error))
        self._abandon()

    def _abandon(self) -> None:
        unsettled = [job for job in self._accepted if not job.settled]
        self._accepted.clear()
        self._scheduler.withdraw(unsettled)
        for job in unsettled:
            job.on_settled = lambda: None
