"""How much the api takes on: the size of a body while it arrives, and the number of requests at work."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segdepth_api.metrics import Metrics
from segdepth_api.problems import Problem


class BodyLimit:
    """Refuses a body of more than `limit` bytes: by its header, or else on the byte too many.

    `larger`: the limits of paths that have one of their own.
    """

    def __init__(self, app: ASGIApp, limit: int, larger: Mapping[str, int] | None = None):
        self.app, self.limit, self.larger = app, limit, larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what `receive` hands over (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.larger.get(scope["path"], self.limit)
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            await self._problem(limit).response(scope["path"])(scope, receive, send)
            return
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            if message["type"] == "http.request":
                arrived += len(message.get("body", b""))
                if arrived > limit:
                    raise self._problem(limit)
            return message

        await self.app(scope, counted, send)

    def _problem(self, limit: int) -> Problem:
        return Problem(
            413,
            "body-too-large",
            f"the body is larger than {limit / 1e6:g} MB; send the movie in parts, or stream it to the gateway",
            field="body",
            headers={"Connection": "close"},
        )


class Admission:
    """At most `running` requests at work and `waiting` behind them, first come first served."""

    def __init__(self, running: int, waiting: int, timeout_s: float, metrics: Metrics):
        self._slots = asyncio.Semaphore(running)
        self._room = running + waiting
        self._timeout_s = timeout_s
        self._present = 0
        self._metrics = metrics

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the places. Problem 503 with Retry-After if the room is full or the wait too long."""
        if self._present >= self._room:
            self._metrics.turned_away.inc()
            raise Problem(503, "busy", "as many requests wait as may; try again", retry_after_s=1)
        self._present += 1
        self._metrics.present.set(self._present)
        try:
            await self._wait()
            try:
                yield
            finally:
                self._slots.release()
        finally:
            self._present -= 1
            self._metrics.present.set(self._present)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            self._metrics.turned_away.inc()
            raise Problem(503, "busy", "no place became free in time; try again", retry_after_s=5) from None
