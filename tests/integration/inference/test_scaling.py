"""Replicas follow the load: a busy gateway brings a second one, and its leaving loses no frame."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from ray import serve
from ray.serve.handle import DeploymentHandle

import segdepth
from segdepth_gateway.serve_estimator import ServeEstimator
from segdepth_gateway.server import GatewayServer
from segdepth_gateway.settings import GatewaySettings
from segdepth_inference.replica import deployment
from segdepth_inference.settings import InferenceSettings
from tests.models import lattice_frame, tiny_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SETTLED_S = 300
IDLE_S = 0.2
"""Between two frames of a station that asks for little [s]."""


@pytest.fixture
def replicas(ray_serve: None, tmp_path: Path) -> Iterator[DeploymentHandle]:
    """At least one replica, and two at most."""
    settings = InferenceSettings(
        store=str(tiny_store(tmp_path / "store")),
        cache=tmp_path / "cache",
        device="cpu",
        threads=1,
        cpus=0.5,
        max_replicas=2,
        upscale_delay_s=1,
        downscale_delay_s=2,
    )
    yield serve.run(deployment(settings), name="test-scaling", route_prefix=None)
    serve.delete("test-scaling")


async def test_a_busy_gateway_brings_a_second_replica_and_an_idle_one_sends_it_away(replicas: DeploymentHandle) -> None:
    settings = GatewaySettings(port=0, metrics_port=None, session_key="k" * 32, poll_s=0.2)
    gateway = GatewayServer(settings, ServeEstimator(replicas, settings.by_value_bytes))
    await gateway.start()
    try:
        async with segdepth.connect_async(f"127.0.0.1:{gateway.port}") as station:
            await until_there_are(gateway, 1)
            busy, idle = asyncio.Event(), asyncio.Event()
            movie = station.stream(frames(busy, idle), 0.1)
            answering = asyncio.create_task(numbers(movie))
            await until_there_are(gateway, 2)
            busy.set()
            await until_there_are(gateway, 1)
            idle.set()
            answered = await answering
        assert answered == list(range(len(answered)))
        assert len(answered) > 100
    finally:
        await gateway.stop()


async def frames(busy: asyncio.Event, idle: asyncio.Event) -> AsyncIterator[object]:
    """As many frames as are taken until `busy` is over, then a few each second until `idle` is over."""
    some = [lattice_frame(seed, (200, 200)) for seed in range(8)]
    for number in itertools.count():
        if idle.is_set():
            return
        if busy.is_set():
            await asyncio.sleep(IDLE_S)
        yield some[number % len(some)]


async def numbers(movie: segdepth.AsyncStream) -> list[int]:
    """Sequence numbers of the results; a gap has none, and would be missed."""
    return [answer.sequence async for answer in movie if isinstance(answer, segdepth.FrameResult)]


async def until_there_are(gateway: GatewayServer, replicas: int) -> None:
    async with asyncio.timeout(SETTLED_S):
        while gateway.metrics.registry.get_sample_value("segdepth_gateway_replicas") != replicas:  # noqa: ASYNC110 - it happens elsewhere
            await asyncio.sleep(0.1)
