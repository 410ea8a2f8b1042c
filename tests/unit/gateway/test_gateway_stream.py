"""One stream, its scheduler and an estimator, without gRPC: order, gaps and their reasons, credit, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from numpy.typing import NDArray

from segdepth_gateway.credit import Grant
from segdepth_gateway.estimator import UnknownModel
from segdepth_gateway.metrics import Metrics
from segdepth_gateway.scheduler import Scheduler
from segdepth_gateway.session import Sessions
from segdepth_gateway.settings import GatewaySettings
from segdepth_gateway.stream import End, Stream
from segdepth_gateway.terms import parse_open
from segdepth_protos.v1 import estimator_pb2, frame_pb2
from tests.integration.gateway.estimators import REFUSED_PIXEL, Held, InProcess, sum_of
from tests.integration.gateway.harness import until
from tests.integration.gateway.raw import Answers, frame, image, opening

DROP_OLDEST = estimator_pb2.DROP_POLICY_DROP_OLDEST
SESSIONS = Sessions((b"k" * 32,), 60)


class Call:
    """Both directions of a stream's call."""

    def __init__(self, estimator: Any, message: estimator_pb2.Open, grant: Grant, **changes: Any):
        settings = GatewaySettings(**({"in_flight": 1} | changes))
        self.metrics = Metrics()
        self.scheduler = Scheduler(estimator, settings, self.metrics)
        terms = parse_open(message, "me", SESSIONS)
        self.stream = Stream(terms, grant, self.scheduler, settings, self.metrics)
        self.answers = Answers()
        self.messages = 0
        self._sent: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._running = asyncio.create_task(self.stream.run(self._requests(), self._write))

    async def _requests(self) -> AsyncIterator[bytes]:
        while (message := await self._sent.get()) is not None:
            yield message

    async def _write(self, message: bytes) -> None:
        self.messages += 1
        self.answers.take(estimator_pb2.EstimateStreamResponse.FromString(message))

    def send(self, *frames: frame_pb2.Frame) -> None:
        pack = estimator_pb2.FramePack(frames=frames)
        self.send_bytes(estimator_pb2.EstimateStreamRequest(frames=pack).SerializeToString())

    def send_bytes(self, message: bytes) -> None:
        self._sent.put_nowait(message)

    async def answered(self, sequence: int) -> None:
        await until(lambda: sequence in self.answers.order)

    async def close(self) -> End:
        self._sent.put_nowait(None)
        return await self.end()

    async def end(self) -> End:
        async with asyncio.timeout(10):
            return await asyncio.shield(self._running)

    async def cancel(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"segdepth_gateway_{name}", labels) or 0.0

    def waiting(self) -> float:
        return self.value("queue_frames", priority="interactive") + self.value("queue_frames", priority="batch")


@asynccontextmanager
async def streaming(
    estimator: Any, message: estimator_pb2.Open | None = None, grant: Grant | None = None, **changes: Any
) -> AsyncIterator[Call]:
    call = Call(estimator, message or opening(), grant or Grant(512, 10**6), **changes)
    try:
        yield call
    finally:
        await call.cancel()
        await call.scheduler.close()


class Newest(InProcess):
    """Answers the newest micro-batch first, once it has `batches` of them."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self._batches, self._turns = batches, list[asyncio.Event]()

    async def estimate(
        self, pixels: list[NDArray[Any]], calibrations: list[bytes], options: bytes
    ) -> tuple[list[bytes], list[int]]:
        turn = asyncio.Event()
        self._turns.append(turn)
        if len(self._turns) == self._batches:
            turn.set()
        await turn.wait()
        self._turns.remove(turn)
        if self._turns:
            self._turns[-1].set()
        return await super().estimate(pixels, calibrations, options)


class Vanished(InProcess):
    """Its model is gone when the frame comes whose second pixel is 3."""

    async def estimate(
        self, pixels: list[NDArray[Any]], calibrations: list[bytes], options: bytes
    ) -> tuple[list[bytes], list[int]]:
        if any(int(frame[0, 1]) == 3 for frame in pixels):
            raise UnknownModel("options.family: it was removed")
        return await super().estimate(pixels, calibrations, options)


async def test_each_number_is_answered_once_and_in_order() -> None:
    async with streaming(InProcess(), in_flight=3) as call:
        for first in range(0, 100, 7):
            call.send(*(frame(n) for n in range(first, min(first + 7, 100))))
        assert await call.close() == End()
    assert call.answers.order == list(range(100))
    assert [sum_of(call.answers.results[n]) for n in range(100)] == [float(image(n).sum()) for n in range(100)]
    assert call.value("frames_received_total", call="stream") == 100
    assert call.value("frames_answered_total", call="stream") == 100


async def test_answers_keep_the_order_of_the_frames_whatever_the_replicas_order() -> None:
    async with streaming(Newest(5), in_flight=5, micro_batch_frames=1) as call:
        call.send(*(frame(n) for n in range(5)))
        await call.close()
    assert call.answers.order == list(range(5))
    assert call.messages == 1, "nothing could leave before the first frame was answered"


async def test_numbers_that_were_skipped_were_not_sent() -> None:
    async with streaming(InProcess()) as call:
        call.send(frame(10), frame(14))
        call.send(frame(16))
        await call.close()
    assert call.answers.order == list(range(10, 17))
    assert call.answers.reasons() == dict.fromkeys((11, 12, 13, 15), "NOT_SENT")
    assert call.value("frames_unanswered_total", reason="not_sent") == 4


async def test_after_a_resumption_what_was_not_sent_again_is_lost() -> None:
    resumed = opening(session=SESSIONS.issue("me", "test", 0), resume_after=4)
    async with streaming(InProcess(), resumed) as call:
        call.send(frame(8), frame(10))
        await call.close()
    assert call.answers.order == list(range(5, 11))
    assert call.answers.reasons() == {5: "LOST", 6: "LOST", 7: "LOST", 9: "NOT_SENT"}


async def test_what_is_no_frame_is_a_gap_between_its_neighbours() -> None:
    async with streaming(InProcess()) as call:
        call.send(frame(0), frame(1, data=b"short"), frame(2))
        assert await call.close() == End()
    assert call.answers.order == [0, 1, 2]
    assert call.answers.reasons() == {1: "INVALID"}
    assert call.answers.gaps[0].detail.startswith("frame.data: 5 bytes")


async def test_a_live_stream_drops_its_oldest_waiting_frames() -> None:
    estimator = Held()
    live = opening(drop_policy=DROP_OLDEST)
    async with streaming(estimator, live, live_frames=3, micro_batch_frames=1) as call:
        call.send(frame(0))
        await estimator.asked.wait()
        for n in range(1, 20):
            call.send(frame(n))
        await until(lambda: call.value("frames_received_total", call="stream") == 20)
        assert call.waiting() == 3
        estimator.may_answer.set()
        await call.close()
    assert call.answers.order == list(range(20))
    assert sorted(call.answers.results) == [0, 17, 18, 19]
    assert [(gap.first, gap.last) for gap in call.answers.gaps] == [(1, 16)]
    assert set(call.answers.reasons().values()) == {"DROPPED"}


async def test_a_stream_that_blocks_drops_nothing() -> None:
    estimator = Held()
    async with streaming(estimator, live_frames=3, micro_batch_frames=1) as call:
        call.send(*(frame(n) for n in range(20)))
        await estimator.asked.wait()
        estimator.may_answer.set()
        await call.close()
    assert sorted(call.answers.results) == list(range(20))


async def test_frames_not_answered_in_time_are_gaps_and_late_answers_are_forgotten() -> None:
    estimator = Held()
    async with streaming(estimator, opening(deadline_s=0.02), micro_batch_frames=1) as call:
        call.send(frame(0), frame(1))
        await until(lambda: call.answers.order == [0, 1])
        assert call.waiting() == 0
        estimator.may_answer.set()
        assert await call.close() == End()
    assert call.answers.reasons() == {0: "DEADLINE", 1: "DEADLINE"}
    assert not call.answers.results
    assert call.answers.gaps[0].detail == "not answered within 0.02 s"


async def test_every_frame_has_its_own_deadline() -> None:
    async with streaming(Held(), opening(deadline_s=0.8)) as call:
        call.send(frame(0))
        await asyncio.sleep(0.4)
        call.send(frame(1))
        await call.answered(0)
        assert call.answers.order == [0], "the second has half its time left"
        await call.answered(1)
        await call.close()
    assert call.answers.reasons() == dict.fromkeys(range(2), "DEADLINE")


async def test_strict_makes_a_gap_of_what_the_domain_gate_refused() -> None:
    foreign = image(1)
    foreign[0, 0] = REFUSED_PIXEL
    for strict in (False, True):
        async with streaming(InProcess(), opening(options={"strict": strict})) as call:
            call.send(frame(0), frame(1, foreign))
            await call.close()
        assert call.answers.order == [0, 1]
        assert call.answers.reasons() == ({1: "REFUSED"} if strict else {})
        assert [gap.detail for gap in call.answers.gaps] == (["first pixel: is 255"] if strict else [])


@pytest.mark.parametrize("grant", [Grant(4, 10**6), Grant(512, 4 * 64)])
async def test_more_than_the_credit_ends_the_stream_after_its_answers(grant: Grant) -> None:
    estimator = Held()
    async with streaming(estimator, grant=grant) as call:
        call.send(*(frame(n) for n in range(5)))
        await estimator.asked.wait()
        estimator.may_answer.set()
        end = await call.end()
    assert end.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    granted = f"{grant.frames} frames of {grant.nbytes} bytes were granted"
    assert end.detail == f"credit: 5 frames of 320 bytes are under way, {granted}"
    assert call.answers.order == [0, 1, 2, 3]
    assert sorted(call.answers.results) == [0, 1, 2, 3]


@pytest.mark.parametrize("grant", [Grant(4, 10**6), Grant(512, 4 * 64)])
async def test_credit_comes_back_with_the_answers(grant: Grant) -> None:
    async with streaming(InProcess(), grant=grant) as call:
        for first in range(0, 20, 4):
            call.send(*(frame(n) for n in range(first, first + 4)))
            await call.answered(first + 3)
        assert await call.close() == End()
    assert call.answers.order == list(range(20))


async def test_a_hole_costs_no_credit_and_one_frame_may_be_larger_than_all_of_it() -> None:
    async with streaming(InProcess(), grant=Grant(2, 10)) as call:
        call.send(frame(0))
        await call.answered(0)
        call.send(frame(1000))
        assert await call.close() == End()
    assert len(call.answers.order) == 1001


@pytest.mark.parametrize("sequence", [3, 2, 0])
async def test_a_number_again_or_backwards_ends_the_stream_after_its_answers(sequence: int) -> None:
    async with streaming(InProcess()) as call:
        call.send(frame(1), frame(2), frame(3), frame(sequence), frame(9))
        end = await call.end()
    assert end.code is grpc.StatusCode.INVALID_ARGUMENT
    assert end.detail == f"frame.sequence: {sequence} after 3; numbers increase strictly within a stream"
    assert call.answers.order == [1, 2, 3]


async def test_a_frame_whose_answer_the_caller_has_is_not_taken_again() -> None:
    resumed = opening(session=SESSIONS.issue("me", "test", 0), resume_after=4)
    async with streaming(InProcess(), resumed) as call:
        call.send(frame(4))
        assert (await call.end()).detail.startswith("frame.sequence: 4 after 4")


@pytest.mark.parametrize(
    "message, why",
    [
        (estimator_pb2.EstimateStreamRequest(open=opening()).SerializeToString(), "open: a second one"),
        (b"\x12\xff\xff", "message: not an EstimateStreamRequest"),
    ],
    ids=["open", "nonsense"],
)
async def test_a_second_open_and_nonsense_end_the_stream_after_its_answers(message: bytes, why: str) -> None:
    async with streaming(InProcess()) as call:
        call.send(frame(0))
        call.send_bytes(message)
        call.send(frame(1))
        end = await call.end()
    assert end.code is grpc.StatusCode.INVALID_ARGUMENT
    assert end.detail.startswith(why)
    assert call.answers.order == [0]


async def test_an_unknown_model_ends_the_stream_after_what_was_answered() -> None:
    async with streaming(Vanished(), micro_batch_frames=1) as call:
        call.send(*(frame(n) for n in range(6)))
        end = await call.end()
        assert call.waiting() == 0, "what waited was withdrawn"
    assert end == End(grpc.StatusCode.NOT_FOUND, "options.family: it was removed")
    assert call.answers.order == [0, 1, 2]


async def test_a_silent_stream_is_asked_to_reopen() -> None:
    async with streaming(InProcess(), idle_timeout_s=0.02) as call:
        call.send(frame(0))
        end = await call.end()
    assert end == End(reopen="no frame for 0.02 s")
    assert call.answers.order == [0]


async def test_what_was_accepted_is_answered_before_the_end_and_the_first_reason_counts() -> None:
    estimator = Held()
    async with streaming(estimator) as call:
        call.send(frame(0), frame(1))
        await estimator.asked.wait()
        call.stream.end(End(reopen="about to stop"))
        call.stream.end(End(reopen="too old"))
        call.send(frame(2))
        assert not call.answers.order
        estimator.may_answer.set()
        assert await call.end() == End(reopen="about to stop")
    assert call.answers.order == [0, 1]


async def test_a_call_that_dies_leaves_nothing_waiting() -> None:
    estimator = Held()
    async with streaming(estimator, micro_batch_frames=1) as call:
        call.send(*(frame(n) for n in range(5)))
        await until(lambda: call.waiting() == 4)
        await call.cancel()
        assert call.waiting() == 0
        estimator.may_answer.set()
    assert not call.answers.order


@pytest.mark.parametrize("priority, name", [(0, "interactive"), (1, "interactive"), (2, "batch")])
async def test_frames_wait_by_the_streams_priority(priority: Any, name: str) -> None:
    estimator = Held()
    async with streaming(estimator, opening(options={"priority": priority}), micro_batch_frames=1) as call:
        call.send(*(frame(n) for n in range(5)))
        await until(lambda: call.waiting() == 4)
        assert call.value("queue_frames", priority=name) == 4
        estimator.may_answer.set()
        await call.close()
