"""The gateway as a Serve deployment: its server runs in the replica's event loop, inside the cluster.

A driver outside would be stranded when the cluster is replaced; here clients reconnect to the next cluster and resume.
"""

import asyncio
import secrets
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from ray import serve
from ray.serve.handle import DeploymentHandle

from segdepth_gateway.serve_estimator import ServeEstimator
from segdepth_gateway.server import GatewayServer
from segdepth_gateway.settings import GatewaySettings

NAME = "gateway"
RESOURCE = "gateway"
"""Ray resource of the nodes that gateways run on: one each, so that each has its port for itself."""

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2), "MALLOC_TRIM_THRESHOLD_": str(256 * 1024**2)}
"""Packs of megabytes come by the hundred each second: glibc would take each from the system, page by page, anew."""

ONE_LOOP = {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0", "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0"}
"""Nothing here blocks the event loop, so Serve's own part needs no other: a change of threads costs a frame 0.2 ms."""


DRAIN_FILE_POLL_S = 0.2
"""How often the drain file is looked for [s]."""


class Gateway:
    """One gateway. A plain class: `deployment` makes it a Serve deployment.

    Without settings it takes those of its own process's environment: in a cluster its pod alone has the secrets.
    """

    async def __init__(  # type: ignore[misc]
        self, settings: GatewaySettings | None, estimator: DeploymentHandle[Any]
    ):
        settings = settings or GatewaySettings()
        self._server = GatewayServer(settings, ServeEstimator(estimator, settings.by_value_bytes))
        await self._server.start()
        if settings.drain_file is not None:
            self._watching = asyncio.create_task(self._drain_at(settings.drain_file))

    async def _drain_at(self, file: Path) -> None:
        # A pod's preStop hook makes the file: when SIGTERM arrives, Ray ends this process without asking.
        while not await asyncio.to_thread(file.exists):  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(DRAIN_FILE_POLL_S)
        await self.drain()
        await asyncio.to_thread(file.with_name(f"{file.name}.done").touch)

    async def port(self) -> int:
        """The port that was bound."""
        return self._server.port

    async def drain(self) -> None:
        """Answer what was accepted, ask streams to open elsewhere, and end."""
        await self._server.stop()

    async def __del__(self) -> None:
        # Serve awaits this when it stops the replica; one whose __init__ failed has nothing to stop.
        if hasattr(self, "_server"):
            await self._server.stop()


def deployment(settings: GatewaySettings, estimator: serve.Application) -> serve.Application:
    """The deployment "gateway" in front of an estimator's, to be run by serve.run(..., name=settings.app).

    Without a session key one is drawn, so that sessions outlive a gateway, though not the application.
    """
    if settings.session_key is None:
        settings = settings.model_copy(update={"session_key": SecretStr(secrets.token_urlsafe(32))})
    return _bound(settings, estimator, gateways=1, drain_s=settings.drain_s)


def cluster_deployment(estimator: serve.Application, gateways: int, drain_s: float) -> serve.Application:
    """The same in a cluster, on so many nodes: each gateway's settings are those of its own pod."""
    return _bound(None, estimator, gateways, drain_s)


def _bound(
    settings: GatewaySettings | None, estimator: serve.Application, gateways: int, drain_s: float
) -> serve.Application:
    replicas = serve.deployment(
        name=NAME,
        num_replicas=gateways,
        ray_actor_options={
            "num_cpus": 0,
            "resources": {RESOURCE: 1},
            "runtime_env": {"env_vars": ALLOCATOR | ONE_LOOP},
        },
        health_check_period_s=5,
        graceful_shutdown_timeout_s=drain_s + 10,
    )(Gateway)
    application: serve.Application = replicas.bind(settings, estimator)
    return application


def drain(app: str, timeout_s: float) -> None:
    """Drain the application's gateways, before the application is deleted; in a driver, not in a replica.

    Serve stops all deployments of an application at once: without this the estimator would be gone while the gateway
    still has frames to be answered. TimeoutError.
    """
    serve.get_deployment_handle(NAME, app).broadcast("drain").results(timeout_s=timeout_s)
