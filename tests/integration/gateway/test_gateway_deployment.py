"""The gateway as Serve runs it, and how it is drained there."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from ray.serve.handle import DeploymentHandle

from segdepth_gateway.deployment import Gateway
from tests.integration.gateway.estimators import SumEstimator
from tests.integration.gateway.harness import dial, settings, until
from tests.integration.gateway.raw import frame, opening, stream
from tests.integration.gateway.test_gateway_service import SERVING, is_health


@pytest.mark.slow
async def test_as_a_serve_deployment(ray_serve: None) -> None:
    from ray import serve

    from segdepth_gateway.deployment import deployment, drain
    from tests.integration.gateway.ports import free_port

    port = free_port()
    sums = serve.deployment(name="estimator", max_ongoing_requests=8, ray_actor_options={"num_cpus": 0})(SumEstimator)
    application = deployment(settings(port=port, app="whole"), sums.bind())
    handle: DeploymentHandle[Any] = await asyncio.to_thread(serve.run, application, name="whole", route_prefix=None)
    assert await handle.port.remote() == port
    try:
        async with dial(port) as channel:
            await is_health(channel, SERVING)
            call = await stream(channel, opening(options={"family": "sleep:0.3"}))
            await call.send_all(frame(n) for n in range(40))
            await call.until(0)
            draining = asyncio.create_task(asyncio.to_thread(drain, "whole", 30))
            answers = await call.rest()
            await draining
        assert answers.order == list(range(40))
        assert answers.reopen
    finally:
        await asyncio.to_thread(serve.delete, "whole")


async def test_a_file_drains_a_gateway_and_another_says_when_that_is_over(
    estimator: DeploymentHandle[Any], tmp_path: Path
) -> None:
    file = tmp_path / "drain"
    gateway = Gateway.__new__(Gateway)
    await gateway.__init__(settings(drain_file=file), estimator)  # type: ignore[misc]  # as Serve makes it
    async with dial(await gateway.port()) as channel:
        await is_health(channel, SERVING)
        call = await stream(channel, opening(options={"family": "sleep:0.3"}))
        await call.send_all(frame(n) for n in range(20))
        await call.until(0)
        file.touch()
        answers = await call.rest()
    assert answers.order == list(range(20))
    assert answers.reopen
    await until((tmp_path / "drain.done").exists)
