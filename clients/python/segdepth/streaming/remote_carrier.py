"""Carrying a stream over connections that may break: send, resend, resume."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from segdepth.backoff import Backoff, Patience
from segdepth.errors import SegDepthError, Unavailable
from segdepth.streaming.answers import Settle
from segdepth.streaming.connection import Broken, Connection
from segdepth.streaming.outages import Outages
from segdepth.streaming.window import Window
from segdepth_protos.v1 import estimator_pb2

HEALTHY_S = 5.0
"""A connection that lasted so long was one, even if no frame came along."""


class RemoteCarrier:
    """Opens the stream, and opens it again after a broken connection, until all is answered.

    `call` starts the RPC; it takes serialised requests and gives parsed responses. `server` is for messages; `outages`
    are told of.
    """

    def __init__(
        self,
        server: str,
        call: Callable[[], Any],
        patience: Patience,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        outages: Outages | None = None,
    ):
        self._server, self._call, self._patience, self._sleep = server, call, patience, sleep
        self._outages = outages or Outages(None)
        self._session = b""
        self._backoff = Backoff(patience.first_pause_s, patience.longest_pause_s, limit_s=patience.first_connection_s)

    async def carry(self, opening: estimator_pb2.Open, window: Window, settle: Settle) -> None:
        """Carry everything that the window offers."""
        while True:
            broken = await self._connect_once(opening, window, settle)
            if window.complete:
                return
            if broken and broken.permanent:
                raise broken.error
            if broken:
                self._outages.lost(str(broken.error))
            await self._pause(broken)

    async def _connect_once(self, opening: estimator_pb2.Open, window: Window, settle: Settle) -> Broken | None:
        connection = Connection(self._call(), window, settle, self._outages.reached)
        started = time.monotonic()
        broken = await connection.run(self._resumption(opening, window))
        resumed = bool(self._session)
        if connection.session:
            self._session, self._backoff.limit_s = connection.session, self._patience.reconnection_s
        elif resumed and broken and broken.permanent:
            # Expired, or of a facility whose key has changed. A new session takes the same frames; if it is the token
            # or the model that is wrong, the new session says so.
            self._session = b""
            return Broken(broken.error, permanent=False)
        if connection.answered or (connection.session and time.monotonic() - started > HEALTHY_S):
            self._backoff.reset()
        return broken

    def _resumption(self, opening: estimator_pb2.Open, window: Window) -> estimator_pb2.Open:
        again = estimator_pb2.Open()
        again.CopyFrom(opening)
        if self._session:
            again.session = self._session
            if window.settled is not None:
                again.resume_after = window.settled
        return again

    async def _pause(self, broken: Broken | None) -> None:
        try:
            pause_s = self._backoff.pause_s(broken.error if broken else None)
        except SegDepthError as error:
            raise Unavailable(f"{self._server}: {error}", retry_after_s=error.retry_after_s) from error
        await self._sleep(pause_s)
