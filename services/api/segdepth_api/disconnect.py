"""Nothing is worked on for a caller who has left."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from segdepth_api.problems import CLOSED_REQUEST, Problem

T = TypeVar("T")


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the caller disconnects. The body must have been read."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Problem(CLOSED_REQUEST, "client-closed-request", "the caller has left")
        return await working
    finally:
        working.cancel()
        leaving.cancel()
        # Until it has really ended it holds its connection and its file.
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
