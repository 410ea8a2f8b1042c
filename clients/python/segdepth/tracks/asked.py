"""Sums of frames that the model is asked about beside their stream, so that no frame waits for what it says of them.

Where frames wait for the service, what a track is told must not depend on how fast that was: the answer to a sum counts
from a certain frame on. Of a camera it counts from when it comes.
"""

import asyncio
from concurrent.futures import Future

from segdepth.backoff import Backoff, Patience
from segdepth.calibration import Policy
from segdepth.errors import Overloaded, TimedOut, Unavailable
from segdepth.results import FrameResult
from segdepth.tracks.settings import Tracking
from segdepth.tracks.sums import Sum
from segdepth.transport import Transport
from segdepth_protos.v1 import estimator_pb2

LATER_FRAMES = 8
"""Live, frames that follow a sum before its answer counts, where frames wait for the service: it is there by then."""


class AskedSums:
    """One sum at a time. What is awaited belongs into an event loop; all else is for the thread that tracks."""

    def __init__(self, transport: Transport, policy: Policy, tracking: Tracking, timeout_s: float):
        self._transport, self._timeout_s = transport, timeout_s
        self._waits = policy == "block"
        later = min(LATER_FRAMES, tracking.summed_frames - 1)
        self._later = 0 if tracking.lag_frames else max(later, 0)
        self._sum: Sum | None = None
        self._answer: Future[FrameResult | None] | None = None
        self._counts_from = 0

    @property
    def free(self) -> bool:
        """Whether none is under way, so that another may be asked about; if it may not, it is left out."""
        return self._answer is None

    async def ask(self, total: Sum, request: estimator_pb2.EstimateRequest, sequence: int) -> None:
        """Ask about the sum that ends with frame number `sequence`.

        A coroutine though it awaits nothing: its task belongs to the loop that runs it.
        """
        assert self.free, "one sum at a time"
        self._sum, self._counts_from = total, sequence + self._later
        # A future that may be looked at and cancelled from another thread than the loop's.
        self._answer = asyncio.run_coroutine_threadsafe(self._ask(request), asyncio.get_running_loop())

    def due(self, sequence: int | None) -> bool:
        """Whether the answer must be there before frame `sequence` is tracked (None: no frame follows)."""
        if self._answer is None:
            return False
        return sequence is None or (self._waits and sequence >= self._counts_from)

    async def wait(self) -> None:
        """Return when the answer is there or cannot be had."""
        if self._answer is not None:
            await asyncio.gather(asyncio.wrap_future(self._answer), return_exceptions=True)

    def take(self, sequence: int | None) -> tuple[Sum, FrameResult] | None:
        """A sum and its answer, if it is there and counts for frame `sequence`.

        Raises the SegDepthError with which the asking failed for good.
        """
        if self._answer is None or not self._answer.done():
            return None
        if self._waits and sequence is not None and sequence < self._counts_from:
            return None
        total, answer, self._sum, self._answer = self._sum, self._answer.result(), None, None
        assert total is not None
        return None if answer is None else (total, answer)

    def close(self) -> None:
        """Do not ask any more."""
        if self._answer is not None:
            self._answer.cancel()
            self._sum = self._answer = None

    async def _ask(self, request: estimator_pb2.EstimateRequest) -> FrameResult | None:
        """What the model says; None where it is away, and nobody waits for it."""
        patience = Patience()
        backoff = Backoff(patience.first_pause_s, patience.longest_pause_s, limit_s=patience.reconnection_s)
        while True:
            try:
                return FrameResult((await self._transport.estimate(request, self._timeout_s)).result)
            except (Overloaded, TimedOut, Unavailable) as error:
                if not self._waits:
                    return None
                await asyncio.sleep(backoff.pause_s(error))
