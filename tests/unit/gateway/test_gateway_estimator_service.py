"""EstimatorService behind real gRPC: who is let in, how much at once, and what is given back. The estimator is ours."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from segdepth_artefacts import ArtefactStore, StoreSettings
from segdepth_artefacts.errors import StoreUnavailable
from segdepth_artefacts.folder import FolderStore
from segdepth_gateway import tokens
from segdepth_gateway.calls import SHORTEST_RETRY_MS
from segdepth_gateway.credit import LEAST_CREDIT_BYTES
from segdepth_gateway.server import GatewayServer
from segdepth_protos.v1 import estimator_pb2, estimator_pb2_grpc, frame_pb2
from tests.integration.gateway.estimators import REFUSED_PIXEL, Held, InProcess, sum_of
from tests.integration.gateway.harness import dial, running, until
from tests.integration.gateway.raw import CALIBRATION, RawStream, frame, image, opening, stream

BATCH = estimator_pb2.PRIORITY_BATCH


@asynccontextmanager
async def serving(
    estimator: Any, store: ArtefactStore | None = None, **changes: Any
) -> AsyncIterator[tuple[GatewayServer, grpc.aio.Channel]]:
    async with running(estimator, store, **changes) as gateway, dial(gateway.port) as channel:
        yield gateway, channel


def value(gateway: GatewayServer, name: str, **labels: str) -> float:
    return gateway.metrics.registry.get_sample_value(f"segdepth_gateway_{name}", labels) or 0.0


async def estimate(
    channel: grpc.aio.Channel, message: frame_pb2.Frame | None = None, timeout_s: float | None = 20, **options: Any
) -> frame_pb2.FrameResult:
    request = estimator_pb2.EstimateRequest(
        frame=message or frame(1, calibration=CALIBRATION), options=estimator_pb2.EstimateOptions(**options)
    )
    return (await estimator_pb2_grpc.EstimatorServiceStub(channel).Estimate(request, timeout=timeout_s)).result


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


def retry_after_ms(error: grpc.aio.AioRpcError) -> int:
    return int(dict(error.trailing_metadata())["retry-after-ms"])  # type: ignore[arg-type]


async def test_an_opened_stream_is_told_session_credit_and_model() -> None:
    async with serving(InProcess(), credit_frames=7) as (gateway, channel):
        call = await stream(channel)
        credit = call.opened.credit
        assert (credit.frames, credit.bytes) == (7, 128 * 1024 * 1024)
        assert (call.opened.model.family, call.opened.model.version) == ("sum", "1")
        assert not call.opened.HasField("resume_after")
        assert value(gateway, "streams") == 1
        assert value(gateway, "granted_bytes") == credit.bytes
        await call.send(frame(0), frame(1))
        assert (await call.close()).order == [0, 1]
        again = await stream(channel, opening(session=call.opened.session, resume_after=1))
        assert again.opened.resume_after == 1
        await again.send(frame(2))
        assert (await again.close()).order == [2]
        assert value(gateway, "streams_resumed_total") == 1


async def test_the_credit_of_a_stream_is_enforced() -> None:
    estimator = Held()
    async with serving(estimator, credit_frames=4) as (gateway, channel):
        call = await stream(channel)
        await call.send(*(frame(n) for n in range(5)))
        await estimator.asked.wait()
        estimator.may_answer.set()
        error = await refused(call.rest())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert str(error.details()).startswith("credit: 5 frames")
        assert retry_after_ms(error) >= SHORTEST_RETRY_MS
        assert call.answers.order == [0, 1, 2, 3]
        labels = {"method": "EstimateStream", "code": "RESOURCE_EXHAUSTED"}
        assert value(gateway, "calls_rejected_total", **labels) == 1


@pytest.mark.parametrize("end", ["closed", "cancelled", "refused"])
async def test_the_budget_comes_back_however_a_stream_ends(end: str) -> None:
    budget = {"buffer_bytes": LEAST_CREDIT_BYTES, "credit_bytes": LEAST_CREDIT_BYTES}
    estimator = Held() if end == "cancelled" else InProcess()
    async with serving(estimator, **budget) as (gateway, channel):
        call = await stream(channel)
        error = await refused(stream(channel))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == "the gateway has granted all that it can hold"
        assert retry_after_ms(error) >= SHORTEST_RETRY_MS
        await call.send(frame(0))
        if end == "closed":
            await call.close()
        elif end == "cancelled":
            assert isinstance(estimator, Held)
            await estimator.asked.wait()
            call.call.cancel()
        else:
            await call.send(frame(0))
            await refused(call.rest())
        await until(lambda: not value(gateway, "granted_bytes"))
        assert value(gateway, "streams") == 0
        another = await stream(channel)
        assert another.opened.credit.bytes == LEAST_CREDIT_BYTES


async def test_a_stream_that_ended_is_held_by_nothing() -> None:
    async with serving(InProcess()) as (gateway, channel):
        call = await stream(channel)
        (held,) = (weakref.ref(one) for one in gateway._estimates._streams)
        await call.close()
        await until(lambda: not value(gateway, "streams"))
        await until(lambda: gc.collect() >= 0 and held() is None)


async def test_as_many_streams_as_the_settings_say() -> None:
    async with serving(InProcess(), streams=1) as (_, channel):
        call = await stream(channel)
        error = await refused(stream(channel))
        assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "1 streams are open")
        await call.close()
        await (await stream(channel)).close()


async def test_as_many_unary_calls_as_the_settings_say() -> None:
    estimator = Held()
    async with serving(estimator, unary_calls=1) as (gateway, channel):
        first = asyncio.create_task(estimate(channel))
        await estimator.asked.wait()
        error = await refused(estimate(channel))
        assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "1 calls are under way")
        assert retry_after_ms(error) >= SHORTEST_RETRY_MS
        assert value(gateway, "granted_bytes") == 64
        estimator.may_answer.set()
        assert sum_of(await first) == 1
        assert value(gateway, "granted_bytes") == 0
        assert sum_of(await estimate(channel)) == 1


@pytest.mark.parametrize("brought_s, settings", [(0.05, {}), (None, {"unary_deadline_s": 0.05})])
async def test_a_unary_call_ends_at_its_deadline_or_the_gateways(
    brought_s: float | None, settings: dict[str, float]
) -> None:
    estimator = Held()
    async with serving(estimator, in_flight=1, **settings) as (gateway, channel):
        for _ in range(2):
            error = await refused(estimate(channel, timeout_s=brought_s))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: not value(gateway, "granted_bytes"))
        assert value(gateway, "queue_frames", priority="interactive") == 0
        estimator.may_answer.set()
        assert sum_of(await estimate(channel)) == 1
    if brought_s is None:
        assert error.details() == "deadline: passed before the frame was answered"


async def test_a_unary_call_that_cannot_be_answered() -> None:
    foreign = image(1)
    foreign[0, 0] = REFUSED_PIXEL
    code = grpc.StatusCode
    async with serving(InProcess()) as (gateway, channel):
        for call, expected, detail in (
            (estimate(channel, frame(1)), code.INVALID_ARGUMENT, "calibration.sampling_angstrom_per_px: missing"),
            (estimate(channel, family="unknown"), code.NOT_FOUND, "options.family: there is only 'sum'"),
            (estimate(channel, priority=7), code.INVALID_ARGUMENT, "options.priority: 7 is unknown"),
            (
                estimate(channel, frame(1, foreign, calibration=CALIBRATION), strict=True),
                code.FAILED_PRECONDITION,
                "first pixel: is 255",
            ),
        ):
            error = await refused(call)
            assert error.code() is expected
            assert str(error.details()).startswith(detail)
        assert value(gateway, "granted_bytes") == 0


async def test_batch_frames_wait_behind_interactive_ones() -> None:
    estimator = Held()
    async with serving(estimator, in_flight=1) as (gateway, channel):
        first = asyncio.create_task(estimate(channel))
        await estimator.asked.wait()
        batch = asyncio.create_task(estimate(channel, priority=BATCH))
        await until(lambda: value(gateway, "queue_frames", priority="batch") == 1)
        assert value(gateway, "queue_frames", priority="interactive") == 0
        estimator.may_answer.set()
        assert [sum_of(await call) for call in (first, batch)] == [1, 1]


@pytest.mark.parametrize("scope, permitted", [("estimate", 0), ("batch", BATCH)])
async def test_a_priority_needs_its_scope(tmp_path: Path, scope: str, permitted: int) -> None:
    path = tmp_path / "tokens.json"
    metadata = (("authorization", f"Bearer {tokens.mint(path, 'station', (scope,))}"),)
    async with serving(InProcess(), tokens=path) as (_, channel):
        stub = estimator_pb2_grpc.EstimatorServiceStub(channel)
        for priority in (0, BATCH):
            request = estimator_pb2.EstimateRequest(
                frame=frame(1, calibration=CALIBRATION), options={"priority": priority}
            )
            call = stub.EstimateStream(metadata=metadata)
            await call.write(estimator_pb2.EstimateStreamRequest(open=opening(options={"priority": priority})))
            if priority == permitted:
                await stub.Estimate(request, metadata=metadata)
                assert (await call.read()).WhichOneof("message") == "opened"
                await call.done_writing()
            else:
                error = await refused(stub.Estimate(request, metadata=metadata))
                assert error.code() is grpc.StatusCode.PERMISSION_DENIED
                assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
        assert (await refused(stream(channel))).code() is grpc.StatusCode.UNAUTHENTICATED
        assert (await refused(estimate(channel, priority=7))).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_who_lacks_the_scope_learns_nothing_of_an_open_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    metadata = (("authorization", f"Bearer {tokens.mint(path, 'station', ('batch',))}"),)
    async with serving(InProcess(), tokens=path) as (_, channel):
        for wrong in (opening(session=b"somebody else's"), opening(drop_policy=9)):
            call = estimator_pb2_grpc.EstimatorServiceStub(channel).EstimateStream(metadata=metadata)
            await call.write(estimator_pb2.EstimateStreamRequest(open=wrong))
            assert await call.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_unknown_model_ends_a_stream_after_what_was_answered() -> None:
    async with serving(InProcess()) as (gateway, channel):
        call = await stream(channel, opening(options={"family": "unknown"}))
        await call.send(frame(0, data=b"short"), frame(1))
        error = await refused(call.close())
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert error.details() == "options.family: there is only 'sum'"
        assert call.answers.reasons() == {0: "INVALID"}
        assert value(gateway, "granted_bytes") == 0


@pytest.mark.parametrize(
    "fields, detail",
    [
        ({"drop_policy": 9}, "open.drop_policy: 9 is unknown"),
        ({"resume_after": 3}, "open.resume_after: needs the session"),
        ({"calibration": frame_pb2.Calibration()}, "calibration.sampling_angstrom_per_px: missing"),
    ],
)
async def test_an_open_that_is_wrong_takes_no_credit(fields: dict[str, Any], detail: str) -> None:
    async with serving(InProcess()) as (gateway, channel):
        error = await refused(stream(channel, opening(**fields)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert str(error.details()).startswith(detail)
        assert value(gateway, "granted_bytes") == value(gateway, "streams") == 0


async def test_a_caller_that_never_opens_is_not_waited_for() -> None:
    async with serving(InProcess(), open_timeout_s=0.02) as (_, channel):
        call = estimator_pb2_grpc.EstimatorServiceStub(channel).EstimateStream()
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await call.details() == "open: nothing came within 0.02 s"


@pytest.mark.parametrize(
    "settings, why",
    [
        ({"idle_timeout_s": 0.05}, "no frame for 0.05 s"),
        ({"stream_age_s": 0.2}, "connections are renewed from time to time"),
    ],
)
async def test_a_silent_or_an_old_stream_is_asked_to_reopen_and_may(settings: dict[str, float], why: str) -> None:
    async with serving(InProcess(), **settings) as (gateway, channel):
        call = await stream(channel)
        assert (await call.rest()).reopen == why
        await until(lambda: not value(gateway, "granted_bytes"))
    async with serving(InProcess()) as (_, channel):
        again = await stream(channel, opening(session=call.opened.session))
        await again.send(frame(0))
        assert (await again.close()).order == [0]


async def test_a_drain_answers_what_was_accepted_and_takes_no_more() -> None:
    estimator = Held()
    async with serving(estimator) as (gateway, channel):
        call = await stream(channel)
        await call.send(frame(0), frame(1))
        await estimator.asked.wait()
        gateway._estimates.drain()
        error = await refused(stream(channel))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error.details() == "this gateway is about to stop; try again"
        assert (await refused(estimate(channel))).code() is grpc.StatusCode.UNAVAILABLE
        estimator.may_answer.set()
        answers = await call.rest()
        assert answers.order == [0, 1]
        assert answers.reopen == "this gateway is about to stop"


class Unreachable(FolderStore):
    """Says only after a while that it does not answer."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def children(self, folder: str) -> list[str]:
        self.asked.set()
        assert self.may_answer.wait(20)
        raise StoreUnavailable(f"{folder}: no answer", "wait")


async def test_a_stream_that_opens_while_the_gateway_begins_to_drain_is_refused(tmp_path: Path) -> None:
    objects = Unreachable(tmp_path)
    async with serving(InProcess(), ArtefactStore(objects, StoreSettings())) as (gateway, channel):
        opened = asyncio.create_task(RawStream(channel, opening(options={"family": "gold"})).open())
        assert await asyncio.to_thread(objects.asked.wait, 20)
        gateway._estimates.drain()
        objects.may_answer.set()
        assert (await refused(opened)).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_gateway_that_is_full_or_draining_asks_the_store_nothing(tmp_path: Path) -> None:
    objects = Unreachable(tmp_path)
    async with serving(InProcess(), ArtefactStore(objects, StoreSettings()), streams=1) as (gateway, channel):
        call = await stream(channel)
        error = await refused(stream(channel, opening(options={"family": "gold"})))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await call.close()
        gateway._estimates.drain()
        error = await refused(stream(channel, opening(options={"family": "gold"})))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert not objects.asked.is_set()
