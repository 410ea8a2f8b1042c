"""The gateway: a gRPC server in front of an estimator."""

import asyncio
import socket
from contextlib import AsyncExitStack, closing

import structlog
from grpc import aio
from grpc_reflection.v1alpha import reflection

from segdepth_artefacts import ArtefactStore, open_store
from segdepth_gateway.account_service import NAME as ACCOUNTS
from segdepth_gateway.account_service import AccountService
from segdepth_gateway.auth import Authenticator
from segdepth_gateway.estimator import Estimator
from segdepth_gateway.estimator_service import NAME as ESTIMATOR
from segdepth_gateway.estimator_service import EstimatorService
from segdepth_gateway.health import Health
from segdepth_gateway.metrics import Metrics
from segdepth_gateway.model_service import ADMIN, MODELS, ModelService
from segdepth_gateway.replicas import Replicas
from segdepth_gateway.scheduler import Scheduler
from segdepth_gateway.session import Sessions
from segdepth_gateway.settings import GatewaySettings
from segdepth_gateway.tls import server_credentials
from segdepth_protos import contract
from segdepth_protos.v1 import account_pb2_grpc, models_pb2_grpc

log = structlog.get_logger(__name__)

SERVICES = (ESTIMATOR, MODELS, ADMIN, ACCOUNTS)


class PortInUse(OSError):
    """Somebody else listens there."""


class GatewayServer:
    """Runs in the event loop that starts it. `estimator` is anything that answers micro-batches."""

    def __init__(self, settings: GatewaySettings, estimator: Estimator, store: ArtefactStore | None = None):
        if settings.session_key is None:
            raise ValueError("session_key is missing: without it no other gateway could go on with a stream")
        self._settings = settings
        self._estimator = estimator
        self._store = store if store is not None or settings.store is None else open_store(settings.store or None)
        self._parts = AsyncExitStack()
        self._stopping: asyncio.Task[None] | None = None
        self.metrics = Metrics()
        self.port = settings.port
        """The port that was bound."""
        self.metrics_port = settings.metrics_port
        self.health_port = settings.health_port

    async def start(self) -> None:
        """Listen. PortInUse; ValueError if certificates or tokens cannot be read."""
        settings = self._settings
        async with AsyncExitStack() as parts:
            authenticator = Authenticator(settings)
            credentials = server_credentials(settings)
            await self._await_port(settings.host, settings.port, settings.reuse_port)
            await self._await_port(settings.health_host, settings.health_port or 0)
            scheduler = Scheduler(self._estimator, settings, self.metrics)
            parts.push_async_callback(scheduler.close)
            self._health = Health(SERVICES)
            replicas = Replicas(self._estimator, self._store, scheduler, self._health, settings, self.metrics)
            self._estimates = EstimatorService(
                settings, authenticator, _sessions(settings), scheduler, replicas, self.metrics
            )
            models = ModelService(settings, authenticator, self._store, replicas, self.metrics)
            self._server = aio.server(options=_options(settings))
            self._server.add_generic_rpc_handlers((self._estimates.handler(),))
            models_pb2_grpc.add_ModelServiceServicer_to_server(models, self._server)
            models_pb2_grpc.add_ModelAdminServiceServicer_to_server(models, self._server)
            accounts = AccountService(authenticator, self.metrics)
            account_pb2_grpc.add_AccountServiceServicer_to_server(accounts, self._server)
            await self._health.start(self._server)
            reflection.enable_server_reflection((*SERVICES, HEALTH, reflection.SERVICE_NAME), self._server)
            address = f"{_bracketed(settings.host)}:{settings.port}"
            self.port = (
                self._server.add_secure_port(address, credentials)
                if credentials
                else self._server.add_insecure_port(address)
            )
            self._serve_metrics(parts)
            await self._serve_health(parts)
            await self._server.start()
            parts.push_async_callback(self._server.stop, 0)
            watching = asyncio.create_task(replicas.watch())
            watching.add_done_callback(_must_not_end)
            parts.callback(watching.cancel)
            self._parts = parts.pop_all()
        log.info("gateway listens", host=settings.host, port=self.port, tls=credentials is not None)

    async def stop(self) -> None:
        """Drain: answer what was accepted, within `drain_s`, ask streams to reopen, then end."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        log.info("gateway drains", drain_s=self._settings.drain_s)
        await self._health.shut_down()
        self._estimates.drain()
        # Sends GOAWAY at once, so that clients go elsewhere; waits for the calls that are under way.
        await self._server.stop(self._settings.drain_s)
        await self._parts.aclose()
        log.info("gateway has stopped")

    async def wait(self) -> None:
        """Until the server has ended."""
        await self._server.wait_for_termination()

    def _serve_metrics(self, parts: AsyncExitStack) -> None:
        if self._settings.metrics_port is None:
            return
        host, port = self._settings.metrics_host, self._settings.metrics_port
        try:
            server = self.metrics.serve(host, port)
        except OSError as error:
            raise PortInUse(f"metrics cannot be served at {host}:{port}: {error.strerror}") from error
        parts.callback(server.server_close)
        parts.callback(server.shutdown)
        self.metrics_port = server.server_port

    async def _serve_health(self, parts: AsyncExitStack) -> None:
        # A kubelet's gRPC probe speaks neither TLS nor shows a certificate; this port knows nothing but health.
        if self._settings.health_port is None:
            return
        server = aio.server(options=[("grpc.so_reuseport", 0)])
        self._health.answer_on(server)
        address = f"{_bracketed(self._settings.health_host)}:{self._settings.health_port}"
        self.health_port = server.add_insecure_port(address)
        await server.start()
        parts.push_async_callback(server.stop, 0)

    async def _await_port(self, host: str, port: int, shared: bool = False) -> None:
        # gRPC itself would say only that it failed; and two servers that both reuse ports would share one silently.
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._settings.bind_wait_s
        while port and not shared:
            try:
                await asyncio.to_thread(_try_bind, host, port)
            except OSError as error:
                if loop.time() > give_up:
                    raise PortInUse(
                        f"{host}:{port} cannot be listened at: {error.strerror}; stop what runs there or choose another"
                        " port"
                    ) from error
                await asyncio.sleep(0.2)
            else:
                return


def _must_not_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()  # a fault of ours: the event loop's exception handler says it


def _try_bind(host: str, port: int) -> None:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with closing(socket.socket(family, socket.SOCK_STREAM)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(address)


def _sessions(settings: GatewaySettings) -> Sessions:
    keys = (settings.session_key, settings.previous_session_key)
    return Sessions(
        tuple(key.get_secret_value().encode() for key in keys if key is not None), settings.session_lifetime_s
    )


def _options(settings: GatewaySettings) -> list[tuple[str, int]]:
    keepalive_ms = round(settings.keepalive_s * 1000)
    age_ms = round(settings.stream_age_s * 1000)
    # A stream opened in a connection's last moment ends itself `stream_age_s` later and drains: all that within grace.
    grace_ms = age_ms + round((settings.drain_s + settings.estimate_timeout_s) * 1000)
    return [
        *contract.CHANNEL_OPTIONS,
        ("grpc.so_reuseport", int(settings.reuse_port)),
        ("grpc.max_concurrent_streams", 2 * (settings.streams + settings.unary_calls)),
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", keepalive_ms // 2),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.max_connection_age_ms", age_ms),
        ("grpc.max_connection_age_grace_ms", grace_ms),
    ]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


HEALTH = "grpc.health.v1.Health"
