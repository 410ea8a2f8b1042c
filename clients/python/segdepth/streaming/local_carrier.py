"""Carrying a stream to a model in this process."""

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress

from segdepth.backend import Backend
from segdepth.errors import from_contract
from segdepth.streaming.answers import Settle
from segdepth.streaming.entries import Closed
from segdepth.streaming.window import Window
from segdepth_protos.v1 import estimator_pb2, frame_pb2


class LocalCarrier:
    """Lends a thread to the backend, which draws frames as it needs them."""

    def __init__(self, backend: Backend):
        self._backend = backend

    async def carry(self, opening: estimator_pb2.Open, window: Window, settle: Settle) -> None:
        """Carry everything that the window offers."""
        loop = asyncio.get_running_loop()

        def settle_from_thread(*answers: estimator_pb2.Answer) -> None:
            asyncio.run_coroutine_threadsafe(settle(answers), loop).result()

        def work() -> None:
            # Closed: the caller has left; what the backend still computes is for nobody.
            with suppress(Closed), closing(_generator(self._backend, opening, _frames(window))) as answers:
                for answer in answers:
                    settle_from_thread(answer)
                settle_from_thread()

        try:
            await _in_daemon_thread(work)
        except Exception as error:
            raise from_contract(error) from error


async def _in_daemon_thread(work: Callable[[], None]) -> None:
    # Not from a pool: as many streams as the caller likes, and none that keeps the process from ending.
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: Exception | None = None
        try:
            work()
        except Exception as raised:  # noqa: BLE001 - raised again in the task that waits
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=run, name="segdepth-local", daemon=True).start()
    await done


def _generator(
    backend: Backend, opening: estimator_pb2.Open, frames: Iterator[frame_pb2.Frame]
) -> Generator[estimator_pb2.Answer, None, None]:
    # A backend's own iterator need not have a close().
    yield from backend.stream(opening, frames)


def _frames(window: Window) -> Iterator[frame_pb2.Frame]:
    ready = threading.Event()
    window.on_ready = ready.set
    while not window.closed:
        ready.clear()
        frames = window.take()
        for frame in frames:
            yield frame_pb2.Frame.FromString(frame.head + frame.pixels)
        if frames:
            continue
        if window.sent:
            return
        ready.wait()
