"""From waiting frames to micro-batches on replicas.

Batches form while all replicas are busy: a frame that finds a free one leaves at once, alone; frames that do not gather
until one is free, or until they fill a batch, which leaves for a busy one so that it never waits for the next. So a
single station waits for nobody, a full service works with full batches, and one that is nearly full is not filled up by
frames that are computed one by one, without a timer.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import stamina
import structlog
from numpy.typing import NDArray

from segdepth_gateway.estimator import EstimateFailed, Estimator, ReplicaLost, UnknownModel
from segdepth_gateway.job import Job
from segdepth_gateway.metrics import Metrics
from segdepth_gateway.queues import Queues
from segdepth_gateway.settings import GatewaySettings
from segdepth_protos.v1 import estimator_pb2

log = structlog.get_logger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0
"""Before a micro-batch goes to another replica; doubles with each time."""


class Scheduler:
    """Keeps every replica busy with as few micro-batches as that takes."""

    def __init__(self, estimator: Estimator, settings: GatewaySettings, metrics: Metrics):
        self._estimator = estimator
        self._settings = settings
        self._metrics = metrics
        self._queues = Queues()
        self._under_way: set[asyncio.Task[None]] = set()
        self._replicas = 1
        self._batch_frames = settings.micro_batch_frames
        self._loop = asyncio.get_running_loop()
        self.answered_at: float | None = None
        """When a replica last answered, by the event loop's clock [s]."""
        self._frame_s = 0.0
        metrics.watch_queue(self._queues.waiting)

    def adjust(self, *, replicas: int, best_batch: int) -> None:
        """Follow the replicas: how many there are (0: frames wait), and what batch suits them."""
        self._replicas = replicas
        self._batch_frames = min(self._settings.micro_batch_frames, max(best_batch, 1))
        self._pump()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue frames; what a free replica can take leaves now."""
        for job in jobs:
            self._queues.add(job)
        self._pump()

    def withdraw(self, jobs: Sequence[Job]) -> None:
        """Take back what still waits. Frames that left are answered; who settled them otherwise forgets the answer."""
        for job in jobs:
            if job.sent is None and job.lane is not None:
                self._queues.remove(job)

    def waiting_s(self) -> float:
        """About how long a frame that came now would wait [s]."""
        return self._frame_s * (1 + sum(self._queues.waiting.values())) / max(self._replicas, 1)

    async def close(self) -> None:
        """Forget what is under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _pump(self) -> None:
        while self._queues and len(self._under_way) < self._replicas * self._settings.in_flight:
            busy = len(self._under_way) >= self._replicas
            batch = self._queues.take(self._batch_frames, self._settings.micro_batch_bytes, full=busy)
            if not batch:
                return
            now = self._loop.time()
            for job in batch:
                job.sent = now
            task = asyncio.create_task(self._carry(batch))
            self._under_way.add(task)
            task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._pump()
        if not task.cancelled():
            task.result()  # what _carry did not foresee is a fault of ours, and must be seen

    async def _carry(self, batch: list[Job]) -> None:
        batch = [job for job in batch if not job.settled]
        if not batch:
            return
        left = self._loop.time()
        try:
            results, statuses = await self._estimate(batch)
        except UnknownModel as error:
            for job in batch:
                job.fail(error)
        except ReplicaLost as error:
            _fall_short(batch, f"{error}; given up after {self._settings.retries + 1} attempts")
        except EstimateFailed as error:
            await self._one_by_one(batch, error)
        else:
            self.answered_at = self._loop.time()
            self._observe(batch, left)
            for job, result, status in zip(batch, results, statuses, strict=True):
                job.succeed(result, status)
        finally:
            # No effect on what is settled. A fault of ours must not leave a stream waiting for ever.
            _fall_short(batch, "the gateway failed on this micro-batch; its log says why")

    async def _estimate(self, batch: list[Job]) -> tuple[list[bytes], list[int]]:
        # Held here, because a frame that is shed meanwhile lets go of its pixels and the batch may have to leave again.
        pixels = [job.pixels for job in batch if job.pixels is not None]
        calibrations = [job.calibration for job in batch]
        assert batch[0].lane is not None
        options = batch[0].lane.options
        async for attempt in stamina.retry_context(
            on=ReplicaLost,
            attempts=self._settings.retries + 1,
            timeout=None,
            wait_initial=FIRST_PAUSE_S,
            wait_max=LONGEST_PAUSE_S,
            wait_jitter=0,
        ):
            with attempt:
                if attempt.num > 1:
                    self._metrics.retries.inc()
                    log.warning("replica lost, trying another", frames=len(batch), attempt=attempt.num)
                return await self._estimate_once(pixels, calibrations, options)
        raise AssertionError("stamina raises when tries run out")

    async def _estimate_once(
        self, pixels: list[NDArray[Any]], calibrations: list[bytes], options: bytes
    ) -> tuple[list[bytes], list[int]]:
        timeout_s = self._settings.estimate_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                results, statuses = await self._estimator.estimate(pixels, calibrations, options)
        except TimeoutError as error:
            raise ReplicaLost(f"no replica answered within {timeout_s:g} s") from error
        if not len(results) == len(statuses) == len(pixels):
            raise EstimateFailed(f"{len(results)} results for {len(pixels)} frames")
        return results, statuses

    async def _one_by_one(self, batch: list[Job], error: EstimateFailed) -> None:
        # One frame's fault is not its neighbours'.
        log.warning("a micro-batch failed", frames=len(batch), error=str(error))
        if len(batch) == 1:
            _fall_short(batch, str(error))
            return
        for job in batch:
            await self._carry([job])

    def _observe(self, batch: list[Job], left: float) -> None:
        now = self._loop.time()
        each_s = (now - left) / len(batch) / self._settings.in_flight
        self._frame_s += 0.1 * (each_s - self._frame_s)
        self._metrics.batch(len(batch), queue_s=left - batch[0].arrived, replica_s=now - left)


def _fall_short(batch: Sequence[Job], detail: str) -> None:
    for job in batch:
        job.fall_short(estimator_pb2.GAP_REASON_FAILED, detail)
