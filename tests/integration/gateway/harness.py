"""A gateway in the test's own event loop, and ways to reach it. Nothing here needs Ray."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from segdepth_gateway.server import GatewayServer
from segdepth_gateway.settings import GatewaySettings
from segdepth_protos import contract

KEY = "k" * 32


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
