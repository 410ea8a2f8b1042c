"""grpc.health.v1, telling the truth: SERVING only while a model answers."""

from typing import Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

OVERALL = ""


class Health:
    """The health of the whole server and of each of its services."""

    def __init__(self, services: tuple[str, ...]):
        self._names = (OVERALL, *services)
        self._servicer: Any = health_aio.HealthServicer()

    async def start(self, server: aio.Server) -> None:
        """Answer on this server. NOT_SERVING to begin with."""
        self.answer_on(server)
        await self.set_serving(serving=False)

    def answer_on(self, server: aio.Server) -> None:
        """Answer on one more server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set_serving(self, serving: bool) -> None:
        """A model answers, or not."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._servicer.set(name, status)

    async def shut_down(self) -> None:
        """NOT_SERVING from now on, whatever is set."""
        await self._servicer.enter_graceful_shutdown()
