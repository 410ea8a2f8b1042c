"""How much callers may have under way, so that what the gateway holds is bounded by what it granted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from segdepth_gateway.metrics import Metrics
from segdepth_protos import contract
from segdepth_protos.v1 import frame_pb2

LEAST_CREDIT_BYTES = contract.MESSAGE_BYTES
"""A stream with less could not send its largest frame."""

DETAIL_FRAMES = {"probabilities": 32, "confidence_map": 128}
"""Credit in frames where answers are larger than frames: they too wait in the gateway for a slow reader."""

DETAIL_BYTES = {"depth_map": 1, "confidence_map": 4, "probabilities": 4 * contract.CLASSES}
"""Bytes of an answer for each pixel."""

ANSWER_BYTES = contract.MESSAGE_BYTES - 4 * 1024 * 1024
"""Largest answer's maps: what a message holds, less room for columns."""


class Full(Exception):
    """Nothing can be granted now; try again later."""


@dataclass(frozen=True)
class Grant:
    """What one stream or call may have under way."""

    frames: int
    nbytes: int

    def excess(self, frames: int, nbytes: int) -> str | None:
        """What is wrong with so much under way, None if it is within the credit. A lone frame may be of any size."""
        if frames <= self.frames and (frames == 1 or nbytes <= self.nbytes):
            return None
        return (
            f"credit: {frames} frames of {nbytes} bytes are under way, {self.frames} frames of {self.nbytes} bytes"
            " were granted"
        )


class Budget:
    """The bytes that all streams and calls together may have under way."""

    def __init__(self, nbytes: int, metrics: Metrics):
        self._left = nbytes
        self._metrics = metrics

    @contextmanager
    def grant(self, frames: int, nbytes: int, least: int) -> Iterator[Grant]:
        """As much of `nbytes` as there is, given back at the end. Full if less than `least` is left."""
        if self._left < least:
            raise Full("the gateway has granted all that it can hold")
        grant = Grant(frames, min(nbytes, self._left))
        self._change(-grant.nbytes)
        try:
            yield grant
        finally:
            self._change(grant.nbytes)

    def _change(self, nbytes: int) -> None:
        self._left += nbytes
        self._metrics.granted.dec(nbytes)


def frames_for(detail: frame_pb2.Detail, frames: int) -> int:
    """Credit in frames of a stream that asks for this detail."""
    return min([frames, *(limit for field, limit in DETAIL_FRAMES.items() if getattr(detail, field))])


def check_answer(detail: frame_pb2.Detail, height: int, width: int) -> None:
    """contract.InvalidFrame if the answer to a frame [height, width] would not fit a message."""
    per_pixel = sum(size for field, size in DETAIL_BYTES.items() if getattr(detail, field))
    if per_pixel * height * width > ANSWER_BYTES:
        raise contract.InvalidFrame(
            "options.detail",
            f"the maps of {height}x{width} px would be {per_pixel * height * width / 1e6:.0f} MB, an answer may have"
            f" {ANSWER_BYTES / 1e6:.0f} MB; ask for less detail or send the frame in parts",
        )
