"""What goes wrong with real cameras: frame numbers that repeat, go back or jump, and a restart with another shape."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

from segdepth.calibration import Frame
from segdepth.errors import InvalidFrame

Fault = Literal["repeat", "reorder", "skip", "restart"]

EVERY = 25
"""One frame in so many is struck."""

RESTART_AT = 100
"""Frames before a restart."""


def faulty(frames: Iterator[Frame], fault: str | None) -> Iterator[Frame]:
    """The frames as a camera with that fault delivers them; without one, as they are. Raises InvalidFrame."""
    if fault is None:
        return frames
    if fault not in _FAULTS:
        raise InvalidFrame(f"fault: {fault!r} is unknown; one of {', '.join(_FAULTS)}", "fault")
    return _FAULTS[fault](frames)


def _repeat(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Some frames come twice."""
    for index, frame in enumerate(frames, 1):
        yield frame
        if index % EVERY == 0:
            yield frame


def _reorder(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Some frames come after the next one."""
    for index, frame in enumerate(frames, 1):
        if index % EVERY == 0:
            following = next(frames, None)
            if following is not None:
                yield following
        yield frame


def _skip(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Some frames never come; their numbers are left out."""
    return (frame for index, frame in enumerate(frames, 1) if index % EVERY)


def _restart(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Once, numbers begin anew and frames are smaller: half as wide and high."""
    for index, frame in enumerate(frames):
        if index < RESTART_AT:
            yield frame
        else:
            height, width = frame.image.shape
            yield replace(frame, image=frame.image[: height // 2, : width // 2], sequence=index - RESTART_AT)


_FAULTS: dict[str, Callable[[Iterator[Frame]], Iterator[Frame]]] = {
    "repeat": _repeat,
    "reorder": _reorder,
    "skip": _skip,
    "restart": _restart,
}
