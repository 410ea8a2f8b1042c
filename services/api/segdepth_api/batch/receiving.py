"""A file that arrives for a job: streamed to a folder of ours, as far as it may go."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Request

from segdepth_api.problems import Problem
from segdepth_api.uploads import check_single
from segdepth_artefacts import names

RAW = "application/octet-stream"
RETRY_S = 5.0


def check_name(name: str) -> str:
    """The file's name. Problem 422 for what is no plain name, 415 for what is no movie's."""
    if not names.is_name(name):
        detail = f"{name[:100]!r}: use letters, digits, dots, hyphens and underscores"
        raise Problem(422, "invalid-parameter", detail, field="name")
    check_single(name, "name")
    return name


class Receiving:
    """At most `most` files arrive at the same time, each of at most `limit` bytes and within `timeout_s` [s]."""

    def __init__(self, most: int, limit: int, timeout_s: float):
        self._most, self._limit, self._timeout_s = most, limit, timeout_s
        self._arriving = 0

    @asynccontextmanager
    async def file(self, request: Request) -> AsyncIterator[Path]:
        """The body as a file, gone after the block. Problem 408, 413, 415, 422 or 503."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != RAW:
            raise Problem(415, "unsupported-media-type", f"send the file itself as {RAW}", field="Content-Type")
        if self._arriving >= self._most:
            raise Problem(503, "busy", f"{self._most} uploads arrive already; try again", retry_after_s=RETRY_S)
        self._arriving += 1
        try:
            with tempfile.TemporaryDirectory(prefix="segdepth-api-") as folder:
                path = Path(folder, "upload")
                try:
                    async with asyncio.timeout(self._timeout_s):
                        size = await self._receive(request, path)
                except TimeoutError:
                    detail = f"the file did not arrive within {self._timeout_s:g} s"
                    raise Problem(408, "request-timeout", detail, field="body") from None
                if not size:
                    raise Problem(422, "invalid-frame", "the file is empty", field="body")
                yield path
        finally:
            self._arriving -= 1

    async def _receive(self, request: Request, path: Path) -> int:
        size = 0
        with path.open("wb") as target:
            async for piece in request.stream():
                size += len(piece)
                if size > self._limit:
                    raise Problem(413, "body-too-large", f"a file may have {self._limit / 1e6:g} MB", field="body")
                await asyncio.to_thread(target.write, piece)
        return size
