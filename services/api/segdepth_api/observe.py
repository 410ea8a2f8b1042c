"""One line of log and one count for each request."""

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segdepth_api.metrics import Metrics

log = structlog.get_logger("segdepth.api")

QUIET = {"/healthz", "/readyz", "/metrics"}
"""Asked every few seconds by machines: counted, not logged."""


class Observe:
    """Measures what passes through it. A route is named by its pattern: no path becomes a label."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch one request (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(scope["method"], route, status).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            if route not in QUIET:
                log.info("request", method=scope["method"], route=route, status=status, ms=round(seconds * 1e3, 1))
