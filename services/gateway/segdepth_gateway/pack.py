"""Settled jobs as one AnswerPack."""

from segdepth_gateway import wire
from segdepth_gateway.job import Job, Shortfall
from segdepth_gateway.metrics import Metrics
from segdepth_protos import contract
from segdepth_protos.v1 import estimator_pb2, frame_pb2


class AnswerPack:
    """Answers in order, up to PACK_BYTES. Gaps that touch and have the same reason become one."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._results = 0
        self._missing: dict[int, int] = {}
        self._longest_s = 0.0
        self._gap: tuple[int, int, Shortfall] | None = None

    def has_room(self, job: Job) -> bool:
        """Whether the job's answer still fits; an empty pack takes any."""
        return not self._size or self._size + len(job.result or b"") <= contract.PACK_BYTES

    def add(self, job: Job, now: float) -> None:
        """Add a settled job's answer; `now` by the event loop's clock [s]."""
        self._longest_s = max(self._longest_s, now - job.arrived)
        if job.shortfall is not None:
            self._add_gap(job, job.shortfall)
            return
        assert job.result is not None
        self._close_gap()
        queue_s = (job.sent or now) - job.arrived
        self._parts += wire.result_answer(job.result, job.first, queue_s * 1000, (now - job.arrived) * 1000)
        self._size += len(job.result)
        self._results += 1

    def close(self, metrics: Metrics) -> list[bytes]:
        """The parts of the pack; empty if there is nothing in it."""
        self._close_gap()
        if self._results:
            metrics.answered.labels("stream").inc(self._results)
        for reason, frames in self._missing.items():
            metrics.gap(reason, frames)
        if self._parts:
            metrics.pack(self._longest_s)
        return self._parts

    def _add_gap(self, job: Job, shortfall: Shortfall) -> None:
        self._missing[shortfall.reason] = self._missing.get(shortfall.reason, 0) + job.last - job.first + 1
        if self._gap is not None:
            first, last, before = self._gap
            if last + 1 == job.first and before == shortfall:
                self._gap = (first, job.last, shortfall)
                return
            self._close_gap()
        self._gap = (job.first, job.last, shortfall)

    def _close_gap(self) -> None:
        if self._gap is not None:
            first, last, shortfall = self._gap
            self._gap = None
            parts = wire.gap_answer(first, last, shortfall.reason, shortfall.detail)
            self._parts += parts
            self._size += sum(map(len, parts))


def refuse(job: Job) -> None:
    """What `strict` makes of a result that the domain gate refused: no result, and why."""
    if job.result is None or job.status != frame_pb2.DOMAIN_STATUS_REFUSED:
        return
    checks = frame_pb2.FrameResult.FromString(job.result).domain.checks
    messages = [f"{check.name}: {check.message}" for check in checks if check.status == job.status]
    detail = "; ".join(messages) or "outside the model's domain"
    job.result, job.shortfall = None, Shortfall(estimator_pb2.GAP_REASON_REFUSED, detail)
