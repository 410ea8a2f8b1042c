"""A stream as its caller sees it: answers in order, each number once."""

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from typing import Any, Protocol

from segdepth.results import Answer
from segdepth.streaming.entries import Closed
from segdepth.streaming.source import Frames, Numbering, feed_from_loop, feed_from_thread
from segdepth.streaming.window import Window
from segdepth_protos.v1 import estimator_pb2

PACKS_AHEAD = 4
"""Packs of answers that wait for the caller. Beyond that the server waits."""

Settle = Callable[[Iterable[estimator_pb2.Answer]], Coroutine[Any, Any, bool]]


class Carrier(Protocol):
    """Takes frames to a model and brings answers back, until the window is complete."""

    async def carry(self, opening: estimator_pb2.Open, window: Window, settle: Settle) -> None:
        """Carry everything that the window offers; give each pack of answers to `settle` (True: some were new).

        Raises a SegDepthError that it cannot mend, after everything answered has been settled.
        """


class AnswerStream:
    """One stream: a source, a window, a carrier, and a short queue of answers."""

    def __init__(self, carrier: Carrier, opening: estimator_pb2.Open, window: Window):
        self._carrier, self._opening, self._window = carrier, opening, window
        self._packs: asyncio.Queue[list[Answer] | None] = asyncio.Queue(PACKS_AHEAD)
        # Settling and queueing are one step, or two tasks could swap their answers.
        self._settling = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = False

    async def start(self, frames: Frames) -> None:
        """Begin to send. Synchronous sources are read in a thread of their own, as they may wait for a camera.

        A coroutine though it awaits nothing: its tasks belong to the loop that runs it.
        """
        numbering = Numbering(calibrated=self._opening.HasField("calibration"))
        if isinstance(frames, AsyncIterable):
            self._tasks.append(asyncio.create_task(feed_from_loop(frames, numbering, self._window)))
        else:
            feed_from_thread(frames, numbering, self._window)
        self._tasks.append(asyncio.create_task(self._carry()))

    async def _carry(self) -> None:
        cancelled = False
        try:
            await self._carrier.carry(self._opening, self._window, self._settle)
        except asyncio.CancelledError:
            cancelled = True
            raise
        finally:
            self._window.close()
            if not cancelled:
                await self._packs.put(None)

    async def _settle(self, answers: Iterable[estimator_pb2.Answer]) -> bool:
        async with self._settling:
            if self._ended:
                raise Closed
            settled = self._window.settle(answers)
            if settled:
                await self._packs.put(settled)
        return bool(settled)

    async def next_answers(self) -> list[Answer]:
        """All answers that are there, at least one; empty at the end. Raises what ended the stream too early."""
        answers: list[Answer] = []
        while not self._ended:
            pack = await self._packs.get()
            if pack is None:
                self._ended = True
                break
            answers += pack
            if self._packs.empty():
                return answers
        if answers or not self._tasks:
            return answers
        carrying, self._tasks = self._tasks[-1], self._tasks[:-1]
        await carrying
        self._window.raise_source_error()
        return []

    async def close(self) -> None:
        """End the stream now. Frames under way are not answered."""
        self._ended = True
        self._window.close()
        while not self._packs.empty():
            self._packs.get_nowait()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        # Their errors have been raised by next_answers, or nobody wants them any more.
        await asyncio.gather(*tasks, return_exceptions=True)
