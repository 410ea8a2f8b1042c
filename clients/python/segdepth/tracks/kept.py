"""Frames on their way through a stream, kept until their answers come: tracking looks at both."""

import threading
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.calibration import Frame
from segdepth.results import Answer
from segdepth.streaming.source import Frames

OnAnswer = Callable[[Answer], None]
"""What is told of each answer of a stream, in the thread that reads it."""

KEPT_BYTES = 1 << 30
"""Of frames that wait for their answers where a stream drops some, which are kept as well until a later one's comes."""


class KeptFrames:
    """Passes on the frames of a source, and keeps each by its number until `take`. Safe for a thread on each side.

    most_bytes: beyond these the oldest are forgotten; None where the stream takes no more than it has under way, which
    is bounded by its credit.
    """

    def __init__(self, frames: Frames, most_bytes: int | None = KEPT_BYTES):
        self._source, self._most_bytes = frames, most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._bytes = 0
        self._next = 0

    def frames(self) -> Frames:
        """To be streamed, instead of the source."""
        return self._each_async(self._source) if isinstance(self._source, AsyncIterable) else self._each(self._source)

    def _each(self, source: Iterable[Frame | NDArray[Any]]) -> Iterator[Frame | NDArray[Any]]:
        for item in source:
            self._keep(item)
            yield item

    async def _each_async(self, source: AsyncIterable[Frame | NDArray[Any]]) -> AsyncIterator[Frame | NDArray[Any]]:
        async for item in source:
            self._keep(item)
            yield item

    def _keep(self, item: Frame | NDArray[Any]) -> None:
        # What is no frame becomes a gap, and a number that is none ends the stream: neither is asked for here.
        image, sequence = (item.image, item.sequence) if isinstance(item, Frame) else (item, None)
        if sequence is not None and not isinstance(sequence, int | np.integer):
            return
        number = self._next if sequence is None else int(sequence)
        self._next = number + 1
        if not isinstance(image, np.ndarray):
            return
        # A source may write its next frame where this one is, once this one has been sent.
        image = image.copy()
        with self._lock:
            self._kept[number] = image
            self._bytes += image.nbytes
            while self._most_bytes is not None and self._bytes > self._most_bytes and len(self._kept) > 1:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.nbytes

    def take(self, sequence: int) -> NDArray[Any] | None:
        """The frame of that number, which is forgotten with all before it; None of one that is not kept (any more)."""
        with self._lock:
            image = None
            while self._kept and next(iter(self._kept)) <= sequence:
                number, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.nbytes
                if number == sequence:
                    image = oldest
            return image
