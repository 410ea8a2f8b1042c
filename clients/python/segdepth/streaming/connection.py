"""One connection of a stream, from Open to its end, whoever ends it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc

from segdepth.errors import PERMANENT, SegDepthError, ServerFault, Unavailable, from_status
from segdepth.streaming.answers import Settle
from segdepth.streaming.signal import Signal
from segdepth.streaming.window import Window
from segdepth.streaming.wire import pack
from segdepth_protos.v1 import estimator_pb2

OPEN_TIMEOUT_S = 20.0
"""A server that takes the call but does not open the stream is not there."""

END_TIMEOUT_S = 5.0
"""How long to wait for a server's goodbye once everything is answered."""


@dataclass(frozen=True)
class Broken:
    """Why a connection ended too early; permanent: another one would end the same way."""

    error: SegDepthError
    permanent: bool


class Connection:
    """Sends what the window gives and settles what the server answers, until one of them ends.

    opened: called once the server has opened the stream.
    """

    def __init__(self, call: Any, window: Window, settle: Settle, opened: Callable[[], None]):
        self._call, self._window, self._settle, self._opened = call, window, settle, opened
        self._ready = Signal(asyncio.get_running_loop())
        self.session = b""
        """The session's token, once the server has opened the stream."""
        self.answered = False
        """Whether anything new was answered."""

    async def run(self, opening: estimator_pb2.Open) -> Broken | None:
        """None: all is answered, or the server asks to open again."""
        try:
            try:
                async with asyncio.timeout(OPEN_TIMEOUT_S):
                    opened = await self._open(opening)
            except TimeoutError:
                return Broken(Unavailable(f"the server did not open the stream within {OPEN_TIMEOUT_S:g} s"), False)
            if opened is None:
                return await self._status()
            self.session = opened.session
            self._opened()
            self._window.rewind(opened.resume_after if opened.HasField("resume_after") else None)
            self._window.grant(opened.credit.frames, opened.credit.bytes)
            return await self._exchange()
        finally:
            self._call.cancel()

    async def _open(self, opening: estimator_pb2.Open) -> estimator_pb2.Opened | None:
        await self._write(estimator_pb2.EstimateStreamRequest(open=opening).SerializeToString())
        response = await self._read()
        return response.opened if response is not None else None

    async def _exchange(self) -> Broken | None:
        self._window.on_ready = self._ready.set
        sender = asyncio.create_task(self._send())
        # Nobody would answer a sender that failed: the receiver must not wait for it.
        sender.add_done_callback(lambda task: None if task.cancelled() or not task.exception() else self._call.cancel())
        try:
            ended = await self._receive()
        finally:
            sender.cancel()
            (failure,) = await asyncio.gather(sender, return_exceptions=True)
        if isinstance(failure, Exception):
            raise failure
        return ended

    async def _send(self) -> None:
        while True:
            self._ready.arm()
            frames = self._window.take()
            if frames:
                if not await self._write(pack((frame.head, frame.pixels) for frame in frames)):
                    return
                continue
            await self._settle(())
            if self._window.sent:
                await self._done_writing()
                return
            await self._ready.wait()

    async def _receive(self) -> Broken | None:
        while not self._window.complete:
            response = await self._read()
            if response is None:
                return await self._status()
            match response.WhichOneof("message"):
                case "answers":
                    self.answered |= await self._settle(response.answers.answers)
                case "credit":
                    self._window.grant(response.credit.frames, response.credit.bytes)
                case "reopen":
                    return None
            self._ready.set()
        await self._goodbye()
        return None

    async def _goodbye(self) -> None:
        # All is answered: a server that does not end the stream in time is not waited for.
        with suppress(TimeoutError):
            async with asyncio.timeout(END_TIMEOUT_S):
                await self._done_writing()
                while await self._read() is not None:
                    pass

    # The call ends in many ways; all of them read as: it has ended, and its status says why.

    async def _read(self) -> estimator_pb2.EstimateStreamResponse | None:
        try:
            response = await self._call.read()
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            _raise_if_cancelled()
            return None
        return None if response is grpc.aio.EOF else response

    async def _write(self, message: bytes) -> bool:
        try:
            await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            _raise_if_cancelled()
            return False
        return True

    async def _done_writing(self) -> None:
        try:
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            _raise_if_cancelled()

    async def _status(self) -> Broken | None:
        code = await self._call.code()
        if code is grpc.StatusCode.OK:
            if self.session:
                return None
            return Broken(ServerFault("the server ended the stream before it opened it"), False)
        error = from_status(code, await self._call.details(), await self._call.trailing_metadata())
        return Broken(error, code in PERMANENT)


def _raise_if_cancelled() -> None:
    # grpc.aio raises CancelledError also for a status CANCELLED sent by the server.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
