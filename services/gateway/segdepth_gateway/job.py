"""One frame on its way to a replica and back."""

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from segdepth_protos.v1 import estimator_pb2


class Lane(NamedTuple):
    """What frames must have in common to travel in one micro-batch."""

    shape: tuple[int, ...]
    dtype: str
    options: bytes
    """Serialized EstimateOptions, without what concerns the gateway alone (priority, strict)."""


class Shortfall(NamedTuple):
    """Why a frame has no result."""

    reason: estimator_pb2.GapReason.ValueType
    detail: str


class Job:
    """A frame, until it is settled: with a result, with a shortfall, or with an error of the whole request."""

    __slots__ = (
        "arrived",
        "calibration",
        "error",
        "first",
        "frames",
        "lane",
        "last",
        "nbytes",
        "on_settled",
        "pixels",
        "priority",
        "result",
        "sender",
        "sent",
        "settled",
        "shortfall",
        "status",
    )

    def __init__(self, first: int, last: int, nbytes: int, arrived: float, frames: int = 1):
        self.first = first
        self.last = last
        self.frames = frames
        """Frames that came: 1, or 0 for a hole `first`-`last` in the numbering."""
        self.nbytes = nbytes
        self.arrived = arrived
        """By the event loop's clock [s], like `sent`."""
        self.sent: float | None = None
        self.sender: object = None
        """Whose turn it is: senders of a priority are served in rotation."""
        self.priority: int = 0
        self.lane: Lane | None = None
        self.pixels: NDArray[Any] | None = None
        self.calibration = b""
        self.settled = False
        self.result: bytes | None = None
        self.status = 0
        """DomainStatus of the result."""
        self.shortfall: Shortfall | None = None
        self.error: Exception | None = None
        self.on_settled: Callable[[], None] = _nobody

    def succeed(self, result: bytes, status: int) -> None:
        """Settle with a result. Whoever settles first is right: a late result of a shed frame is forgotten."""
        if not self.settled:
            self.result, self.status = result, status
            self._settle()

    def fall_short(self, reason: estimator_pb2.GapReason.ValueType, detail: str) -> None:
        """Settle without a result."""
        if not self.settled:
            self.shortfall = Shortfall(reason, detail)
            self._settle()

    def fail(self, error: Exception) -> None:
        """Settle with an error that ends the request or the stream."""
        if not self.settled:
            self.error = error
            self._settle()

    def _settle(self) -> None:
        self.settled = True
        self.pixels = None
        self.on_settled()


def _nobody() -> None:
    """For a job that nobody waits for."""
