"""Carrying a stream over connections that may break: send, resend, resume."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from segdepth.errors import Overloaded, Unavailable
from segdepth.streaming.answers import Settle
from segdepth.streaming.connection import Broken, Connection
from segdepth.streaming.window import Window
from segdepth_protos.v1 import estimator_pb2

HEALTHY_S = 5.0
"""A connection that lasted so long was one, even if no frame came along."""


@dataclass(frozen=True)
class Patience:
    """How long a stream tries to connect again without a single answer in between [s]."""

    first_connection_s: float = 5.0
    reconnection_s: float = 120.0
    first_pause_s: float = 0.05
    longest_pause_s: float = 5.0


class RemoteCarrier:
    """Opens the stream, and opens it again after a broken connection, until all is answered.

    `call` starts the RPC; it takes serialised requests and gives parsed responses. `server` is for messages.
    """

    def __init__(self, server: str, call: Callable[[], Any], patience: Patience):
        self._server, self._call, self._patience = server, call, patience
        self._session = b""
        self._opened = False
        self._healthy_at = time.monotonic()
        self._failures = 0

    async def carry(self, opening: estimator_pb2.Open, window: Window, settle: Settle) -> None:
        """Carry everything that the window offers."""
        while True:
            broken = await self._connect_once(opening, window, settle)
            if window.complete:
                return
            if broken and broken.permanent:
                raise broken.error
            await self._pause(broken)

    async def _connect_once(self, opening: estimator_pb2.Open, window: Window, settle: Settle) -> Broken | None:
        connection = Connection(self._call(), window, settle)
        started = time.monotonic()
        broken = await connection.run(self._resumption(opening, window))
        resumed = bool(self._session)
        if connection.session:
            self._session, self._opened = connection.session, True
        elif resumed and broken and broken.permanent:
            # Expired, or of a facility whose key has changed. A new session takes the same frames; if it is the token
            # or the model that is wrong, the new session says so.
            self._session = b""
            return Broken(broken.error, permanent=False)
        if connection.answered or (connection.session and time.monotonic() - started > HEALTHY_S):
            self._healthy_at, self._failures = time.monotonic(), 0
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
        patience = self._patience
        pause_s = min(patience.first_pause_s * 2**self._failures, patience.longest_pause_s) * random.uniform(0.5, 1.0)
        self._failures += 1
        if broken:
            limit_s = patience.reconnection_s if self._opened else patience.first_connection_s
            if time.monotonic() - self._healthy_at > limit_s:
                raise Unavailable(f"{self._server}: {broken.error}") from broken.error
            if isinstance(broken.error, Overloaded):
                pause_s = max(pause_s, broken.error.retry_after_s or 0.0)
        await asyncio.sleep(pause_s)
