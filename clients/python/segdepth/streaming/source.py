"""From the caller's frames to entries of the window, in a thread or in the event loop."""

import asyncio
import threading
from collections.abc import AsyncIterable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.arguments import checked, conversion, image_array, whole, wrong_type
from segdepth.calibration import Frame, as_calibration
from segdepth.errors import InvalidFrame, InvalidType
from segdepth.results import GapReason
from segdepth.streaming.entries import Closed, Entry
from segdepth.streaming.signal import Signal
from segdepth.streaming.window import Window
from segdepth.streaming.wire import encode
from segdepth_protos import contract
from segdepth_protos.v1 import frame_pb2

Frames = Iterable[Frame | NDArray[Any]] | AsyncIterable[Frame | NDArray[Any]]


MOVIE = "a movie: an array [frame, height, width], or anything that gives one frame after the other"


def check_source(frames: object) -> None:
    """InvalidType for what is plainly no movie, before a thread reads it: one frame, a name, a foreign array."""
    dtype, dimensions = getattr(frames, "dtype", None), getattr(frames, "ndim", None)
    if isinstance(frames, Frame) or dimensions == 2:
        raise wrong_type(frames, "frames", MOVIE, "of one frame: estimate(image, ...) or stream([image], ...)")
    if isinstance(frames, str | bytes | Path):
        raise wrong_type(frames, "frames", MOVIE, "segdepth.files.open_movie(path) reads one")
    if dimensions is not None and not isinstance(dtype, np.dtype):
        raise wrong_type(frames, "frames", MOVIE, conversion(frames))
    if dimensions not in (None, 3) and getattr(dtype, "kind", "") != "O":
        raise InvalidType(f"frames: an array of {dimensions} dimensions is not {MOVIE}", "frames")
    if not isinstance(frames, Iterable | AsyncIterable) and not hasattr(frames, "__getitem__"):
        raise wrong_type(frames, "frames", MOVIE, "call it" if callable(frames) else conversion(frames))


class Numbering:
    """Gives each frame its number and turns it into an entry; what is not a frame becomes a gap."""

    def __init__(self, *, calibrated: bool):
        self._calibrated = calibrated
        self._next = 0

    def entry(self, item: Frame | NDArray[Any]) -> Entry:
        """The next entry."""
        frame = item if isinstance(item, Frame) else Frame(item)
        sequence = self._next if frame.sequence is None else whole(frame.sequence, "frame.sequence")
        if not 0 <= sequence < 2**64:
            raise InvalidFrame(f"frame.sequence: {sequence} is not a number from 0 to 2^64 - 1", "frame.sequence")
        self._next = sequence + 1
        try:
            if frame.calibration is None and not self._calibrated:
                contract.check_calibration(frame_pb2.Calibration())
            calibration = None if frame.calibration is None else as_calibration(frame.calibration).message()
            if frame.capture_time is not None:
                checked(frame.capture_time, datetime, "frame.capture_time", "a datetime")
            head, pixels = encode(image_array(frame.image), sequence, calibration, frame.capture_time)
        except (contract.InvalidFrame, InvalidFrame) as error:
            return Entry.missing(sequence, sequence, GapReason.INVALID, str(error))
        return Entry(sequence, sequence, head, pixels)


def feed_from_thread(frames: Iterable[Frame | NDArray[Any]], numbering: Numbering, window: Window) -> threading.Thread:
    """Start a thread that offers all of `frames`. What they raise is the stream's error, after the last answer."""
    room = threading.Event()
    window.on_room = room.set

    def feed() -> None:
        error: BaseException | None = None
        try:
            for item in frames:
                entry = numbering.entry(item)
                while True:
                    room.clear()
                    if window.offer(entry):
                        break
                    room.wait()
        except Closed:
            return
        except Exception as raised:  # noqa: BLE001 - the caller's own source: handed to the caller, whatever it is
            error = raised
        window.end(error)

    # A daemon: a camera that never delivers another frame must not keep the process alive.
    thread = threading.Thread(target=feed, name="segdepth-source", daemon=True)
    thread.start()
    return thread


async def feed_from_loop(frames: AsyncIterable[Frame | NDArray[Any]], numbering: Numbering, window: Window) -> None:
    """Offer all of `frames`. What they raise is the stream's error, after the last answer."""
    room = Signal(asyncio.get_running_loop())
    window.on_room = room.set
    error: BaseException | None = None
    try:
        async for item in frames:
            entry = numbering.entry(item)
            while True:
                room.arm()
                if window.offer(entry):
                    break
                await room.wait()
    except Closed:
        return
    except Exception as raised:  # noqa: BLE001 - the caller's own source: handed to the caller, whatever it is
        error = raised
    window.end(error)
