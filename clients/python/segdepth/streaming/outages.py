"""Connections that a stream loses and regains, for whoever wants to know of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True)
class Outage:
    """A stream has lost its server, or has it again.

    cause: what ended the connection; since: when that was noticed; lasted_s: how long it was away [s], None while it
    is.
    """

    cause: str
    since: datetime
    lasted_s: float | None = None


OnOutage = Callable[[Outage], None]
"""Told of each outage of a stream twice: when it is noticed, and when the server is there again."""


class Outages:
    """Tells of the outages of one stream. Before the server was reached once there are none: nobody was there yet."""

    def __init__(self, tell: OnOutage | None):
        self._tell = tell
        self._reached = False
        self._now: Outage | None = None
        self._began_s = 0.0

    def lost(self, cause: str) -> None:
        """A connection has ended too early, or another one could not be made."""
        if self._tell is not None and self._reached and self._now is None:
            self._now, self._began_s = Outage(cause, datetime.now().astimezone()), time.monotonic()
            self._tell(self._now)

    def reached(self) -> None:
        """The server has opened the stream."""
        self._reached = True
        if self._tell is not None and self._now is not None:
            over, self._now = replace(self._now, lasted_s=time.monotonic() - self._began_s), None
            self._tell(over)
