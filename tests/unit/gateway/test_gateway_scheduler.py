"""Micro-batches: who travels with whom, when, and what happens to those whose replica dies."""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segdepth_gateway.estimator import EstimateFailed, ReplicaLost, UnknownModel
from segdepth_gateway.job import Job, Lane
from segdepth_gateway.metrics import Metrics
from segdepth_gateway.scheduler import Scheduler
from segdepth_gateway.settings import GatewaySettings
from segdepth_protos.v1 import estimator_pb2

INTERACTIVE, BATCH = estimator_pb2.PRIORITY_INTERACTIVE, estimator_pb2.PRIORITY_BATCH


class Gate:
    """Holds every micro-batch until the test lets it go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.faults: list[Exception] = []

    async def estimate(
        self, pixels: list[NDArray[Any]], calibrations: list[bytes], options: bytes
    ) -> tuple[list[bytes], list[int]]:
        self.batches.append([int(frame[0]) for frame in pixels])
        await self.open.wait()
        if self.faults:
            raise self.faults.pop(0)
        return [bytes([int(frame[0])]) for frame in pixels], [1] * len(pixels)

    async def statuses(self) -> list[Mapping[str, Any]]:
        return [{}]


def scheduler(gate: Gate, **changes: Any) -> Scheduler:
    return Scheduler(gate, GatewaySettings(**({"in_flight": 1} | changes)), Metrics())


def job(number: int, sender: object = "a", priority: int = INTERACTIVE, size: int = 1) -> Job:
    made = Job(number, number, size, 0.0)
    made.sender, made.priority, made.lane = sender, priority, Lane((size,), "|u1", b"")
    made.pixels = np.full(size, number, np.uint8)
    return made


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def finished(jobs: list[Job]) -> None:
    async with asyncio.timeout(5):
        while not all(job.settled for job in jobs):  # noqa: ASYNC110 - turns of the loop, no time
            await asyncio.sleep(0)


async def test_a_frame_that_finds_a_free_replica_leaves_at_once_and_others_gather() -> None:
    gate = Gate()
    tested = scheduler(gate, micro_batch_frames=4)
    jobs = [job(n) for n in range(7)]
    for one in jobs:
        tested.submit([one])
    await settle()
    assert gate.batches == [[0]]
    gate.open.set()
    await finished(jobs)
    assert gate.batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert [job.result for job in jobs] == [bytes([n]) for n in range(7)]


async def test_interactive_frames_go_before_batch_frames() -> None:
    gate = Gate()
    tested = scheduler(gate)
    jobs = [job(n, priority=BATCH) for n in range(4)] + [job(n, "b") for n in (10, 11)]
    for one in jobs:
        tested.submit([one])
    gate.open.set()
    await finished(jobs)
    assert gate.batches == [[0], [10, 11], [1, 2, 3]]


async def test_senders_take_turns() -> None:
    gate = Gate()
    tested = scheduler(gate, micro_batch_frames=3)
    jobs = [job(n) for n in range(6)] + [job(100, "b"), job(101, "b")]
    for one in jobs:
        tested.submit([one])
    gate.open.set()
    await finished(jobs)
    assert gate.batches == [[0], [1, 100, 2], [101, 3, 4], [5]]


async def test_only_equal_frames_travel_together_and_lanes_take_turns() -> None:
    gate = Gate()
    tested = scheduler(gate)
    jobs = [job(0), job(1), job(2, size=3), job(3), job(4, size=3)]
    for one in jobs:
        tested.submit([one])
    gate.open.set()
    await finished(jobs)
    assert gate.batches == [[0], [1, 3], [2, 4]]


async def test_bytes_bound_a_micro_batch_but_never_hold_a_frame_back() -> None:
    gate = Gate()
    tested = scheduler(gate, micro_batch_bytes=10)
    jobs = [job(n, size=4) for n in range(4)] + [job(9, "b", size=40)]
    for one in jobs:
        tested.submit([one])
    gate.open.set()
    await finished(jobs)
    assert gate.batches == [[0], [1, 2], [9], [3]]


async def test_as_many_micro_batches_as_the_replicas_take() -> None:
    gate = Gate()
    tested = scheduler(gate, in_flight=2)
    tested.adjust(replicas=0, best_batch=1)
    jobs = [job(n) for n in range(10)]
    tested.submit(jobs)
    await settle()
    assert gate.batches == []
    tested.adjust(replicas=2, best_batch=2)
    await settle()
    assert gate.batches == [[0, 1], [2, 3], [4, 5], [6, 7]]
    gate.open.set()
    await finished(jobs)


async def test_a_busy_replica_is_sent_full_batches_alone() -> None:
    """Frames sent one by one to wait at a replica would be computed one by one, and keep it busy for good."""
    gate = Gate()
    tested = scheduler(gate, in_flight=3, micro_batch_frames=3, micro_batch_bytes=10)
    jobs = [job(0), job(1), job(2), job(3), job(4), *(job(number, size=5) for number in (5, 6, 7))]
    for one, leaves in zip(jobs, (1, 1, 1, 2, 2, 2, 3, 3), strict=True):
        tested.submit([one])
        await settle()
        assert len(gate.batches) == leaves
    assert gate.batches == [[0], [1, 2, 3], [5, 6]]
    gate.open.set()
    await finished(jobs)
    assert sorted(gate.batches[3:]) == [[4], [7]]


async def test_withdrawn_frames_do_not_leave_and_late_answers_are_forgotten() -> None:
    gate = Gate()
    tested = scheduler(gate)
    jobs = [job(n) for n in range(3)]
    for one in jobs:
        tested.submit([one])
    await settle()
    for one in (jobs[0], jobs[1]):
        tested.withdraw([one])
        one.fall_short(estimator_pb2.GAP_REASON_DEADLINE, "late")
    gate.open.set()
    await finished(jobs)
    assert gate.batches == [[0], [2]]
    assert jobs[0].result is None
    assert jobs[0].shortfall is not None


@pytest.mark.parametrize("deaths, answered", [(1, True), (2, True), (3, False)])
async def test_a_lost_replica_is_replaced_so_often(deaths: int, answered: bool) -> None:
    gate = Gate()
    gate.faults = [ReplicaLost("gone") for _ in range(deaths)]
    gate.open.set()
    tested = scheduler(gate, retries=2)
    jobs = [job(0), job(1)]
    tested.submit(jobs)
    await finished(jobs)
    assert gate.batches == [[0, 1]] * min(deaths + 1, 3)
    assert all((job.result is not None) is answered for job in jobs)
    if not answered:
        assert jobs[0].shortfall == (estimator_pb2.GAP_REASON_FAILED, "gone; given up after 3 attempts")


async def test_a_failure_is_looked_for_frame_by_frame() -> None:
    gate = Gate()
    gate.faults = [EstimateFailed("odd"), EstimateFailed("odd")]
    gate.open.set()
    tested = scheduler(gate)
    jobs = [job(n) for n in range(3)]
    tested.submit(jobs)
    await finished(jobs)
    assert gate.batches == [[0, 1, 2], [0], [1], [2]]
    assert [job.result is None for job in jobs] == [True, False, False]


async def test_an_unknown_model_is_an_error_of_the_request() -> None:
    gate = Gate()
    gate.faults = [UnknownModel("none such")]
    gate.open.set()
    jobs = [job(0)]
    scheduler(gate).submit(jobs)
    await finished(jobs)
    assert isinstance(jobs[0].error, UnknownModel)


async def test_a_replica_that_never_answers_is_given_up() -> None:
    gate = Gate()
    jobs = [job(0)]
    scheduler(gate, estimate_timeout_s=0.02, retries=0).submit(jobs)
    async with asyncio.timeout(5):
        while not jobs[0].settled:  # noqa: ASYNC110 - the time-out is what passes
            await asyncio.sleep(0.01)
    assert jobs[0].shortfall is not None
    assert "no replica answered within 0.02 s" in jobs[0].shortfall.detail
