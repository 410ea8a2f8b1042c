"""Connections to the gateway, one for each bearer token, so that the gateway sees who asks."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request

from segdepth import AsyncClient
from segdepth_api.problems import Problem


@dataclass
class _Caller:
    client: AsyncClient
    busy: int = 0


class Callers:
    """Keeps the connections of the latest callers open: setting one up costs more than a frame."""

    def __init__(self, connect: Callable[[str | None], AsyncClient], most: int):
        self._connect, self._most = connect, most
        self._callers: OrderedDict[str | None, _Caller] = OrderedDict()

    @asynccontextmanager
    async def client(self, token: str | None) -> AsyncIterator[AsyncClient]:
        """A connection that carries `token`, shared with its owner's other requests."""
        caller = self._callers.get(token)
        if caller is None:
            caller = self._callers[token] = _Caller(self._connect(token))
        self._callers.move_to_end(token)
        caller.busy += 1
        try:
            yield caller.client
        finally:
            caller.busy -= 1
            await self._forget_oldest()

    async def _forget_oldest(self) -> None:
        idle = [token for token, caller in self._callers.items() if not caller.busy]
        surplus = idle[: max(0, len(self._callers) - self._most)]
        await asyncio.gather(*(self._callers.pop(token).client.close() for token in surplus))

    async def close(self) -> None:
        """Close every connection."""
        callers, self._callers = self._callers, OrderedDict()
        await asyncio.gather(*(caller.client.close() for caller in callers.values()))


def bearer(request: Request) -> str | None:
    """The caller's token, None without one. Problem 401 for any other kind of credentials."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip() or not (token.isascii() and token.isprintable()):
        raise Problem(
            401,
            "not-authenticated",
            "Authorization must be: Bearer TOKEN",
            field="Authorization",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return token.strip()
