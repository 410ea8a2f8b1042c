"""The event loop in which a client without asyncio has its connections: one thread for the whole process."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}


def _loop() -> asyncio.AbstractEventLoop:
    # By process: after a fork the thread is not there.
    with _lock:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="segdepth-loop", daemon=True).start()
        return loop


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it in the loop and wait for its result. Ctrl-C cancels it."""
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return future.result()
    finally:
        future.cancel()


def call(function: Callable[[], T]) -> T:
    """Call it in the loop: for what belongs to the loop in which it is made."""

    async def called() -> T:
        return function()

    return run(called())
