"""Waking an event loop from any thread, at no cost while it is busy."""

import asyncio


class Signal:
    """An asyncio.Event that other threads may set.

    Arm it, look whether there is something to do, and only then wait: a `set` between the two is not lost, and a `set`
    that finds nobody waiting is one comparison instead of a write to the loop's pipe.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._event = asyncio.Event()
        self._armed = False

    def arm(self) -> None:
        """From now on a `set` counts."""
        self._event.clear()
        self._armed = True

    async def wait(self) -> None:
        """Until it is set."""
        await self._event.wait()

    def set(self) -> None:
        """Wake who waits. From any thread."""
        if self._armed:
            self._armed = False
            # A loop that is closed has nobody waiting.
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._event.set)
