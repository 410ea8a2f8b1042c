"""One Ray, one Serve and two replicas for all tests of this folder; a gateway of its own for each."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from ray.serve.handle import DeploymentHandle

from segdepth_gateway.serve_estimator import ServeEstimator
from segdepth_gateway.server import GatewayServer
from segdepth_gateway.settings import GatewaySettings
from segdepth_protos import contract
from tests.integration.gateway.estimators import SumEstimator

ROOT = Path(__file__).parents[3]
KEY = "k" * 32


@pytest.fixture(scope="package")
def ray_serve() -> Iterator[None]:
    import ray
    from ray import serve

    ray.init(
        address="local",
        num_cpus=2,
        resources={"gateway": 1},
        include_dashboard=False,
        object_store_memory=200 * 1024 * 1024,
        namespace="gateway-tests",
        logging_level="WARNING",
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
    yield
    serve.shutdown()
    ray.shutdown()


@pytest.fixture(scope="package")
def estimator(ray_serve: None) -> DeploymentHandle[Any]:
    """Two replicas that add up pixels."""
    from ray import serve

    deployment = serve.deployment(
        name="estimator",
        num_replicas=2,
        max_ongoing_requests=8,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=1,
    )(SumEstimator)
    return serve.run(deployment.bind(), name="sums", route_prefix=None)


def settings(**changes: Any) -> GatewaySettings:
    defaults = {"port": 0, "metrics_port": None, "session_key": KEY, "poll_s": 0.1, "drain_s": 5.0}
    return GatewaySettings(**(defaults | changes))


@asynccontextmanager
async def running(estimator: Any, store: Any = None, **changes: Any) -> AsyncIterator[GatewayServer]:
    """A gateway in this event loop, once it has heard from its replicas."""
    server = GatewayServer(settings(**changes), estimator, store)
    await server.start()
    try:
        await until(lambda: server.metrics.registry.get_sample_value("segdepth_gateway_replicas") or 0)
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def dial(port: int, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[grpc.aio.Channel]:
    options = [*contract.CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    address = f"localhost:{port}"
    channel = (
        grpc.aio.secure_channel(address, credentials, options)
        if credentials
        else grpc.aio.insecure_channel(address, options)
    )
    async with channel:
        yield channel


async def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait for something that other threads or processes bring about."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is awaited happens elsewhere
            await asyncio.sleep(0.02)


@pytest.fixture
async def gateway(estimator: DeploymentHandle[Any]) -> AsyncIterator[GatewayServer]:
    async with running(ServeEstimator(estimator, 1024 * 1024)) as server:
        yield server


@pytest.fixture
async def channel(gateway: GatewayServer) -> AsyncIterator[grpc.aio.Channel]:
    async with dial(gateway.port) as channel:
        yield channel
