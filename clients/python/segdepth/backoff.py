"""Trying again after a failure: how long to wait, and when to give up."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from segdepth.errors import SegDepthError

LONGEST_RETRY_AFTER_S = 60.0
"""Whoever is to wait longer than this [s] is to be told so, not kept waiting."""


@dataclass(frozen=True)
class Patience:
    """How long a stream tries to connect again without a single answer in between [s]."""

    first_connection_s: float = 5.0
    reconnection_s: float = 120.0
    first_pause_s: float = 0.05
    longest_pause_s: float = 5.0


class Backoff:
    """The pauses after failures in a row: each twice as long as the one before, up to `longest_pause_s`.

    Half of each pause is left to chance, so that the clients of a server that went down do not come back in step. Given
    up after `tries` failures, once they have gone on for `limit_s` [s], or if the server asks for more than
    LONGEST_RETRY_AFTER_S.
    """

    def __init__(
        self,
        first_pause_s: float,
        longest_pause_s: float,
        *,
        tries: float = math.inf,
        limit_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._first_pause_s, self._longest_pause_s = first_pause_s, longest_pause_s
        self._tries, self._clock = tries, clock
        self.limit_s = limit_s
        self.reset()

    def reset(self) -> None:
        """It went well: the next failure is the first one again."""
        self._failures = 0
        # Doubled after each failure: a power of their number grows beyond all floats in an outage of an hour.
        self._pause_s = min(self._first_pause_s, self._longest_pause_s)
        self._well_at = self._clock()

    def pause_s(self, error: SegDepthError | None = None) -> float:
        """How long to wait before the next try [s]: at least as long as the server asks for in `error`.

        Without an error the server has asked to come again, which may go on for ever. Raises `error` if it is time to
        give up.
        """
        self._failures += 1
        asked_s = (error and error.retry_after_s) or 0.0
        tired = self._failures >= self._tries or self._clock() - self._well_at > self.limit_s
        if error is not None and (tired or asked_s > LONGEST_RETRY_AFTER_S):
            raise error
        pause_s = self._pause_s * random.uniform(0.5, 1.0)
        self._pause_s = min(2 * self._pause_s, self._longest_pause_s)
        return max(pause_s, asked_s)
