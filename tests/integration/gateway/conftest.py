"""One Ray, one Serve and two replicas for all tests of this folder; a gateway of its own for each."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from ray.serve.handle import DeploymentHandle

from segdepth_gateway.serve_estimator import ServeEstimator
from segdepth_gateway.server import GatewayServer
from tests.integration.gateway.estimators import SumEstimator
from tests.integration.gateway.harness import dial, running

ROOT = Path(__file__).parents[3]


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


@pytest.fixture
async def gateway(estimator: DeploymentHandle[Any]) -> AsyncIterator[GatewayServer]:
    async with running(ServeEstimator(estimator, 1024 * 1024)) as server:
        yield server


@pytest.fixture
async def channel(gateway: GatewayServer) -> AsyncIterator[grpc.aio.Channel]:
    async with dial(gateway.port) as channel:
        yield channel
