"""Streams through real gRPC and real Serve replicas."""

import asyncio
import contextlib
import os
import signal
from typing import Any

import grpc
import numpy as np
import pytest
from ray.serve.handle import DeploymentHandle

from segdepth_gateway.serve_estimator import ServeEstimator
from segdepth_gateway.server import GatewayServer
from segdepth_protos.v1 import estimator_pb2, frame_pb2
from tests.integration.gateway.estimators import REFUSED_PIXEL, sum_of
from tests.integration.gateway.harness import dial, running, until
from tests.integration.gateway.raw import CALIBRATION, frame, image, opening, stream

OTHER = frame_pb2.Calibration(sampling_angstrom_per_px=0.2)


def options(**fields: Any) -> estimator_pb2.EstimateOptions:
    return estimator_pb2.EstimateOptions(**fields)


async def test_results_come_in_order_each_once(channel: grpc.aio.Channel) -> None:
    call = await stream(channel)
    for first in range(0, 300, 7):
        await call.send(*(frame(n) for n in range(first, min(first + 7, 300))))
    answers = await call.close()
    assert answers.order == list(range(300))
    assert [sum_of(answers.results[n]) for n in range(300)] == [float(image(n).sum()) for n in range(300)]


async def test_results_keep_what_the_replica_said_and_gain_timings(channel: grpc.aio.Channel) -> None:
    call = await stream(channel)
    await call.send(frame(5))
    result = (await call.close()).results[5]
    assert result.calibration == CALIBRATION
    assert result.model.version == "1"
    assert result.timings.network_ms == 1.0
    assert result.timings.total_ms >= result.timings.queue_ms >= 0


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4", "f2"])
async def test_every_pixel_type(channel: grpc.aio.Channel, dtype: str) -> None:
    call = await stream(channel)
    await call.send(frame(0, image(77, (9, 7), dtype)))
    assert sum_of((await call.close()).results[0]) == 77


async def test_frames_larger_than_the_by_value_limit(channel: grpc.aio.Channel) -> None:
    pixels = np.full((1500, 1500), 1, np.uint8)
    call = await stream(channel)
    await call.send_all(frame(n, pixels) for n in range(3))
    answers = await call.close()
    assert [sum_of(answers.results[n]) for n in range(3)] == [pixels.size] * 3


async def test_skipped_numbers_are_a_gap(channel: grpc.aio.Channel) -> None:
    call = await stream(channel)
    await call.send(frame(10), frame(14), frame(15))
    answers = await call.close()
    assert answers.order == [10, 11, 12, 13, 14, 15]
    assert answers.reasons() == dict.fromkeys((11, 12, 13), "NOT_SENT")


async def test_what_is_no_frame_is_a_gap_and_the_stream_goes_on(channel: grpc.aio.Channel) -> None:
    call = await stream(channel)
    await call.send(
        frame(0),
        frame(1, data=b"short"),
        frame(2, dtype=99),
        frame(3, height=0, width=0, data=b""),
        frame(4, calibration=frame_pb2.Calibration()),
        frame(5, calibration=frame_pb2.Calibration(sampling_angstrom_per_px=1.0)),
        frame(6, calibration=frame_pb2.Calibration(sampling_angstrom_per_px=0.1, counts_per_electron=-1)),
        frame(7),
    )
    answers = await call.close()
    assert answers.order == list(range(8))
    assert sorted(answers.results) == [0, 7]
    details = {gap.first: gap.detail for gap in answers.gaps}
    assert set(answers.reasons().values()) == {"INVALID"}
    assert details[1].startswith("frame.data:")
    assert details[2].startswith("frame.dtype:")
    assert details[3].startswith("frame.height, frame.width:")
    assert details[4].startswith("calibration.sampling_angstrom_per_px: missing")
    assert "blank header" in details[5]
    assert details[6].startswith("calibration.counts_per_electron:")


async def test_another_shape_needs_a_calibration_of_its_own(channel: grpc.aio.Channel) -> None:
    call = await stream(channel)
    large = image(3, (16, 16))
    await call.send(frame(0), frame(1, large), frame(2, large, calibration=OTHER), frame(3))
    answers = await call.close()
    assert sorted(answers.results) == [0, 2, 3]
    assert answers.reasons() == {1: "INVALID"}
    assert answers.results[2].calibration == OTHER


async def test_without_any_calibration_frames_are_refused(channel: grpc.aio.Channel) -> None:
    call = await stream(channel, estimator_pb2.Open())
    await call.send(frame(0), frame(1, calibration=OTHER))
    answers = await call.close()
    assert answers.reasons() == {0: "INVALID"}
    assert sorted(answers.results) == [1]


@pytest.mark.parametrize("sequence", [3, 2])
async def test_a_number_again_or_backwards_ends_the_stream_after_all_answers(
    channel: grpc.aio.Channel, sequence: int
) -> None:
    call = await stream(channel)
    await call.send(frame(1), frame(2), frame(3), frame(sequence), frame(9))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call.rest()
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"frame.sequence: {sequence} after 3" in str(error.value.details())
    assert call.answers.order == [1, 2, 3]


@pytest.mark.parametrize("wrong", ["no-open", "two-opens", "nothing", "nonsense"])
async def test_a_stream_begins_with_one_open(channel: grpc.aio.Channel, wrong: str) -> None:
    call = channel.stream_stream("/segdepth.v1.EstimatorService/EstimateStream")()
    request = estimator_pb2.EstimateStreamRequest
    opened = request(open=opening()).SerializeToString()
    messages = {
        "no-open": [request(frames=estimator_pb2.FramePack(frames=[frame(0)])).SerializeToString()],
        "two-opens": [opened, opened],
        "nothing": [],
        "nonsense": [b"\x12\xff\xff"],
    }
    for message in messages[wrong]:
        await call.write(message)
    await call.done_writing()
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await call.read() is not grpc.aio.EOF:
            pass
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await call.details()).startswith("open: ")


async def test_more_than_the_credit_ends_the_stream(estimator: DeploymentHandle[Any]) -> None:
    async with running(ServeEstimator(estimator, 0), credit_frames=4) as gateway, dial(gateway.port) as channel:
        call = await stream(channel, opening(options=options(family="sleep:0.3")))
        assert call.opened.credit.frames == 4
        await call.send(*(frame(n) for n in range(5)))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call.rest()
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "retry-after-ms" in dict(error.value.trailing_metadata())
    assert call.answers.order == [0, 1, 2, 3]


async def test_credit_comes_back_with_the_answers(estimator: DeploymentHandle[Any]) -> None:
    async with running(ServeEstimator(estimator, 0), credit_frames=4) as gateway, dial(gateway.port) as channel:
        call = await stream(channel)
        for n in range(0, 40, 4):
            await call.send(*(frame(n + k) for k in range(4)))
            await call.until(n + 3)
        assert (await call.close()).order == list(range(40))


async def test_frames_not_answered_in_time_are_gaps(channel: grpc.aio.Channel) -> None:
    call = await stream(channel, opening(options=options(family="sleep:3"), deadline_s=0.2))
    await call.send(frame(0), frame(1))
    answers = await call.until(1)
    assert answers.reasons() == {0: "DEADLINE", 1: "DEADLINE"}
    assert (await call.close()).order == [0, 1]


async def test_a_live_stream_drops_its_oldest_waiting_frames(estimator: DeploymentHandle[Any]) -> None:
    changes = {"live_frames": 3, "in_flight": 1, "micro_batch_frames": 1}
    async with running(ServeEstimator(estimator, 0), **changes) as gateway, dial(gateway.port) as channel:
        call = await stream(
            channel, opening(options=options(family="sleep:0.5"), drop_policy=estimator_pb2.DROP_POLICY_DROP_OLDEST)
        )
        await call.send_all(frame(n) for n in range(20))
        answers = await call.close()
    assert answers.order == list(range(20))
    assert set(answers.reasons().values()) == {"DROPPED"}
    assert sorted(answers.results)[-3:] == [17, 18, 19]
    assert [gap.last - gap.first for gap in answers.gaps] == [14], "gaps that touch are one"


async def test_strict_turns_a_refused_result_into_a_gap(channel: grpc.aio.Channel) -> None:
    refused = image(1)
    refused[0, 0] = REFUSED_PIXEL
    for strict in (False, True):
        call = await stream(channel, opening(options=options(strict=strict)))
        await call.send(frame(0, refused), frame(1))
        answers = await call.close()
        assert sorted(answers.results) == ([1] if strict else [0, 1])
        if strict:
            assert answers.reasons() == {0: "REFUSED"}
            assert answers.gaps[0].detail == "first pixel: is 255"
        else:
            assert answers.results[0].domain.status == frame_pb2.DOMAIN_STATUS_REFUSED


async def test_an_unknown_model_ends_the_stream(channel: grpc.aio.Channel) -> None:
    call = await stream(channel, opening(options=options(family="unknown")))
    await call.send(frame(0))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call.close()
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_one_bad_frame_costs_its_neighbours_nothing(channel: grpc.aio.Channel) -> None:
    bad = image(0)
    bad[0, 0] = 13
    call = await stream(channel, opening(options=options(family="fail:13")))
    await call.send(frame(0), frame(1), frame(2, bad), frame(3))
    answers = await call.close()
    assert sorted(answers.results) == [0, 1, 3]
    assert answers.reasons() == {2: "FAILED"}
    assert "too much" in answers.gaps[0].detail


async def test_two_streams_do_not_mix(channel: grpc.aio.Channel) -> None:
    async def one(offset: int) -> list[float]:
        call = await stream(channel)
        await call.send_all(frame(n, image(n + offset)) for n in range(50))
        answers = await call.close()
        return [sum_of(answers.results[n]) for n in range(50)]

    first, second = await asyncio.gather(one(0), one(100))
    assert first == [float(image(n).sum()) for n in range(50)]
    assert second == [float(image(n + 100).sum()) for n in range(50)]


async def test_a_cancelled_stream_leaves_nothing_waiting(estimator: DeploymentHandle[Any]) -> None:
    async with running(ServeEstimator(estimator, 0), in_flight=1) as gateway, dial(gateway.port) as channel:
        registry = gateway.metrics.registry
        call = await stream(channel, opening(options=options(family="sleep:1")))
        await call.send_all(frame(n) for n in range(30))
        await until(lambda: registry.get_sample_value("segdepth_gateway_queue_frames", {"priority": "interactive"}))
        call.call.cancel()
        await until(lambda: not registry.get_sample_value("segdepth_gateway_streams"))
        assert registry.get_sample_value("segdepth_gateway_queue_frames", {"priority": "interactive"}) == 0
        assert registry.get_sample_value("segdepth_gateway_granted_bytes") == 0


async def test_a_replica_killed_under_load_costs_no_frame(
    gateway: GatewayServer, channel: grpc.aio.Channel, estimator: DeploymentHandle[Any]
) -> None:
    call = await stream(channel, opening(options=options(family="sleep:0.1")))
    await call.send(*(frame(n) for n in range(60)))
    pid = await estimator.pid.remote()
    os.kill(pid, signal.SIGKILL)
    await call.send(*(frame(n) for n in range(60, 120)))
    answers = await call.close()
    assert answers.order == list(range(120))
    assert not answers.gaps
    await until(lambda: gateway.metrics.registry.get_sample_value("segdepth_gateway_replicas") == 2, 60)


async def test_what_kills_every_replica_is_given_up(estimator: DeploymentHandle[Any]) -> None:
    async with running(ServeEstimator(estimator, 0), retries=1) as gateway, dial(gateway.port) as channel:
        call = await stream(channel, opening(options=options(family="die")))
        await call.send(frame(0))
        answers = await call.close()
        assert answers.reasons() == {0: "FAILED"}
        registry = gateway.metrics.registry
        await until(lambda: registry.get_sample_value("segdepth_gateway_replicas") == 2, 60)
