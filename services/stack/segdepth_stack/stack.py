"""The whole of SegDepth on this machine: gateway and replicas on a private Ray, and the api."""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from segdepth_api.gateway import Gateway
from segdepth_api.settings import ApiSettings
from segdepth_core.private_ray import scratch
from segdepth_stack.node_process import NodeProcess, StackFailed
from segdepth_stack.ports import listener, settle
from segdepth_stack.settings import StackSettings
from segdepth_stack.web import Web


def silent(event: str) -> None:
    """No progress is shown."""


class Stack:
    """Runs between `start` and `stop`, or within a `with`. `progress` is told in a few words what happens."""

    def __init__(self, settings: StackSettings | None = None, progress: Callable[[str], None] = silent):
        self._wanted = settings or StackSettings()
        self._progress = progress
        self._parts = ExitStack()
        self._node: NodeProcess | None = None
        self._web: Web | None = None
        self.settings = self._wanted
        """With the ports that were settled."""

    @property
    def address(self) -> str:
        """host:port of the gateway."""
        return reachable(self.settings.host, self.settings.port)

    @property
    def http_url(self) -> str:
        """Address of the api."""
        scheme = "https" if self.settings.tls_cert else "http"
        return f"{scheme}://{reachable(self.settings.host, self.settings.http_port)}"

    @property
    def metrics_url(self) -> str:
        """Address of the gateway's metrics."""
        return f"http://127.0.0.1:{self.settings.metrics_port}/metrics"

    def start(self) -> None:
        """Return when a frame would be answered. PortInUse before anything starts, StackFailed if a part fails."""
        wanted = self._wanted
        port, http_port, metrics_port = settle(wanted.host, wanted.port, wanted.http_port, wanted.metrics_port)
        self.settings = wanted.model_copy(update={"port": port, "http_port": http_port, "metrics_port": metrics_port})
        deadline = time.monotonic() + wanted.start_timeout_s
        with ExitStack() as parts:
            folder = parts.enter_context(scratch())
            web_socket = parts.enter_context(listener(wanted.host, http_port))
            self._progress("starting Ray")
            self._node = NodeProcess(self.settings, folder, self._progress)
            parts.callback(self._node.stop)
            self._node.wait_ready(deadline - time.monotonic())
            self._web = Web(api_settings(self.settings), web_socket)
            parts.callback(self._web.stop)
            self._web.wait_ready(deadline - time.monotonic())
            self._await_serving(deadline)
            self._parts = parts.pop_all()

    def _await_serving(self, deadline: float) -> None:
        # The gateway asks its replicas about once a second, and says SERVING when one has answered.
        probe = api_settings(self.settings)
        while problem := asyncio.run(serving_problem(probe)):
            self.check()
            if time.monotonic() > deadline:
                raise StackFailed(problem)
            time.sleep(0.2)

    def check(self) -> None:
        """StackFailed if a part has ended by itself."""
        if self._node is None or self._web is None:
            raise StackFailed("not started")
        self._node.check()
        self._web.check()

    def stop(self) -> None:
        """The api answers what it has, the gateway and the replicas drain, Ray ends. Nothing is left."""
        self._progress("stopping")
        self._parts.close()
        self._node = self._web = None

    def kill(self) -> None:
        """End everything at once, with no answer to what is under way."""
        if self._node is not None:
            self._node.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def reachable(host: str, port: int) -> str:
    """host:port for a client on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def api_settings(settings: StackSettings) -> ApiSettings:
    """The api's settings that go with the stack's."""
    return ApiSettings(
        host=settings.host,
        port=settings.http_port,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
        insecure=settings.insecure,
        gateway=reachable(settings.host, settings.port),
        gateway_tls=settings.tls_cert is not None,
        gateway_ca=settings.tls_ca,
        gateway_cert=settings.api_cert,
        gateway_key=settings.api_key,
        drain_timeout_s=settings.drain_timeout_s,
        batch_store=settings.batch or "",
        batch_models=settings.store or "",
    )


async def serving_problem(settings: ApiSettings) -> str:
    """Why the gateway would not answer a frame, empty if it would: what the api's own /readyz says."""
    gateway = Gateway(settings)
    try:
        return await gateway.problem()
    finally:
        await gateway.close()
