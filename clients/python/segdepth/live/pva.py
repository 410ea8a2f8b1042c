"""A camera on EPICS PV Access as a source of frames. Needs p4p (`segdepth[pva]`)."""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import fields
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segdepth.arguments import text, wait_s, whole
from segdepth.calibration import Calibration, Frame, as_calibration
from segdepth.detector import Detector
from segdepth.errors import InvalidFrame, NotInstalled, Unavailable
from segdepth.live import ndarray
from segdepth.live.account import LOST_AT_SOURCE, NOT_A_FRAME, FrameAccount
from segdepth.live.frame_attributes import CalibrationAttributes
from segdepth.live.frame_numbers import FrameNumbers
from segdepth.live.states import SourceState

try:
    from p4p.client.raw import Cancelled, Context, Disconnected, Finished
except ImportError as error:
    raise NotInstalled("EPICS PV Access needs: pip install 'segdepth[pva]'") from error

PATIENCE_S = 10.0
"""How long to wait for a channel that is not there [s]."""

QUEUE_FRAMES = 64
"""Frames that wait at the server, and as many here, before the newest takes the place of the one before it."""

CLOCK_JUMP_S = 10.0
"""By so much more than passed here must the camera's clock go ahead for a note [s]; any step back is one."""

QUEUE_BYTES = 256 * 1024 * 1024
"""And their size; a few large frames may wait all the same."""

FEW_FRAMES = 4

MOST_NOTES = 100
"""Notes of one source: whoever reads them has understood by then."""

_LOOK_S = 0.2
"""How often to look whether the source is to close, or its channel has been away for too long [s]."""


class PvaSource:
    """Frames of an NTNDArray channel, such as areaDetector's NDPluginPva serves.

    channel: its name; calibration: of every frame (a bare number is the pixel size [Å/px]); stated: single fields of a
    Calibration that are known of every frame, where its pixel size is not; attributes: which of a frame's own say what
    neither does; detector: what is known of it, frames are corrected before they leave; patience_s: how long a channel
    may be away [s]; queue_frames: how many frames may wait, fewer where they are large; conf: EPICS_PVA_* settings
    instead of the environment's.

    Every frame is in `account`. Sequences are the channel's `uniqueId` until the camera begins to count anew; then they
    go on from the last. `on_state` is told of each change of `state`, `on_note` of what else a user should know; both
    are called in the thread that reads `frames`.

    Raises InvalidFrame for a pixel size that is none, NotInstalled.
    """

    def __init__(
        self,
        channel: str,
        calibration: Calibration | float | None = None,
        *,
        stated: Mapping[str, float] | None = None,
        attributes: CalibrationAttributes | None = None,
        detector: Detector | None = None,
        patience_s: float = PATIENCE_S,
        queue_frames: int = QUEUE_FRAMES,
        conf: Mapping[str, str] | None = None,
        on_state: Callable[[SourceState, str], None] | None = None,
        on_note: Callable[[str], None] | None = None,
    ):
        self.name = text(channel, "channel").removeprefix("pva://")
        self._stated: dict[str, Any] = {}
        if calibration is not None:
            whole_one = as_calibration(calibration)
            whole_one.message()
            self._stated = {one.name: getattr(whole_one, one.name) for one in fields(whole_one)}
            self._stated = {name: value for name, value in self._stated.items() if value is not None}
        self._stated |= stated or {}
        self._attributes, self._detector = attributes or CalibrationAttributes(), detector or Detector()
        self._patience_s, self._queue_frames = wait_s(patience_s, "patience_s"), whole(queue_frames, "queue_frames")
        self._conf = conf
        self.on_state, self.on_note = on_state, on_note
        self.account = FrameAccount()
        self.state, self.detail = SourceState.WAITING, ""
        self._numbers, self._clock = FrameNumbers(), _Clock()
        self._kind: tuple[Any, ...] | None = None
        self._calibration: Calibration | None = None
        self._sent: int | None = None
        self._noted: set[str] = set()
        self._closed, self._wake = threading.Event(), threading.Event()

    def frames(self) -> Iterator[Frame]:
        """The frames as they come, until the channel is away for longer than `patience_s`, or `close`.

        Raises Unavailable if it was never there; InvalidFrame if it is no NTNDArray or its frames have no pixel size.
        """
        context = Context("pva", conf=self._conf, useenv=self._conf is None, nt=False)
        try:
            queue: int | None = self._queue_frames
            while queue is not None:
                # No pipelining: a server that squashes while its client is behind then stops sending (p4p 4.3).
                monitor = context.monitor(self.name, self._wake.set, f"record[queueSize={queue}]")
                try:
                    queue = yield from self._frames(monitor, queue)
                finally:
                    monitor.close()
            if not self.state.final:
                self._be(SourceState.STOPPED)
        except GeneratorExit:
            self._be(SourceState.STOPPED)
            raise
        finally:
            context.close()

    def _frames(self, monitor: Any, queue: int) -> Generator[Frame, None, int | None]:
        """The frames; at the end None, or the shorter queue with which to go on: the size of frames is known late."""
        away_since: float | None = time.monotonic()
        while not self._closed.is_set():
            update = monitor.pop()
            match update:
                case None:
                    if away_since is not None and time.monotonic() - away_since > self._patience_s:
                        self._died()
                        return None
                    self._wake.wait(_LOOK_S)
                    self._wake.clear()
                case Disconnected():
                    if away_since is None:
                        away_since = time.monotonic()
                        self._numbers.interrupted()
                        self._be(SourceState.WAITING, f"disconnected; it has {self._patience_s:g} s to come back")
                case Finished() | Cancelled():
                    self._be(SourceState.ENDED, "the server ended the channel")
                    return None
                case Exception():
                    raise Unavailable(f"{self.name}: the server refuses it: {update}")
                case _:
                    away_since = None
                    if (frame := self._frame(update)) is not None:
                        self._send(frame)
                        yield frame
                        fitting = max(QUEUE_BYTES // frame.image.nbytes, FEW_FRAMES)
                        if queue > fitting:
                            self._numbers.interrupted()
                            return fitting
        return None

    def _send(self, frame: Frame) -> None:
        sequence = frame.sequence or 0
        if self._sent is not None and sequence > self._sent + 1:
            self.account.leave_out(self._sent + 1, sequence - 1)
        self._sent = sequence
        self.account.send()

    def _died(self) -> None:
        if self._kind is None and not self.account.seen:
            where = self._conf if self._conf is not None else os.environ
            hosts = where.get("EPICS_PVA_ADDR_LIST") or "the local network"
            raise Unavailable(
                f"no frame of {self.name} within {self._patience_s:g} s: nobody serves the channel where it was asked"
                f" for ({hosts}), or it has none yet; check its name, that its server runs, and EPICS_PVA_ADDR_LIST"
            )
        self._be(SourceState.DIED, f"away for more than {self._patience_s:g} s")

    def _frame(self, value: Any) -> Frame | None:
        """The next frame, None where there is none to send."""
        if not value.getID().startswith(ndarray.TYPE):
            raise InvalidFrame(
                f"{self.name} is {value.getID() or 'a structure'}, not an NTNDArray; a camera's channel of frames, such"
                " as PREFIX:Pva1:Image, is wanted",
                "channel",
            )
        if ndarray.is_empty(value):
            return None
        stamp = ndarray.stamp(value)
        sequence = self._sequence(stamp)
        if sequence is None:
            return None
        try:
            said = ndarray.attributes(value)
            image = self._corrected(ndarray.image(value, said))
            calibration = self._calibrated(said)
        except InvalidFrame as error:
            if self._kind is None and error.field.startswith("calibration"):
                raise
            self.account.drop(NOT_A_FRAME)
            self._note(f"not a frame: {error}")
            return None
        self._note_kind(image, calibration)
        return Frame(image, sequence, calibration, stamp.time)

    def _corrected(self, image: NDArray[Any]) -> NDArray[Any]:
        shape = (image.shape[0], image.shape[1])
        self._detector.check_shape(shape)
        return self._detector.correct(image) if self._detector.corrects(shape) else image

    def _sequence(self, stamp: ndarray.Stamp) -> int | None:
        before = self._numbers.last
        arrival = self._numbers.arrival(stamp.number, stamp.time_s)
        if arrival.shown_again:
            return None
        if arrival.found:
            # It was seen when it was missed.
            self.account.drop(LOST_AT_SOURCE, -1)
        else:
            self.account.see()
        if arrival.dropped:
            self.account.drop(arrival.dropped)
            return None
        if arrival.lost:
            self.account.lose(arrival.lost)
        if arrival.restarted:
            self._be(SourceState.RESTARTED, f"uniqueId {stamp.number} after {before}; goes on as {arrival.sequence}")
            self._clock = _Clock()
        else:
            self._be(SourceState.RUNNING)
        if (jump_s := self._clock.jump(stamp.time_s)) is not None:
            self._note(f"the camera's clock jumps by {jump_s:+.1f} s")
        return arrival.sequence

    def _calibrated(self, said: Mapping[str, Any]) -> Calibration:
        calibration = self._attributes.calibration(said, self._stated)
        if calibration is None:
            there = ", ".join(sorted(said)) or "none"
            raise InvalidFrame(
                f"calibration.sampling_A: the frames of {self.name} have no pixel size in an attribute"
                f" {self._attributes.sampling} (there are: {there}); state it, or name the attribute and its unit",
                "calibration.sampling_A",
            )
        calibration = self._detector.calibration(calibration)
        if calibration != self._calibration:
            calibration.message()
            self._calibration = calibration
        return calibration

    def _note_kind(self, image: NDArray[Any], calibration: Calibration) -> None:
        kind = (image.shape, image.dtype, calibration.sampling_A)
        if self._kind is not None and kind != self._kind:
            self._be(SourceState.CHANGED, f"{_told(*self._kind)} before, {_told(*kind)} now")
        self._kind = kind

    def _be(self, state: SourceState, detail: str = "") -> None:
        if state is self.state and not detail:
            return
        self.state, self.detail = state, detail
        if self.on_state is not None:
            self.on_state(state, detail)

    def _note(self, note: str) -> None:
        """Each once, and not for ever."""
        if note not in self._noted and len(self._noted) < MOST_NOTES:
            self._noted.add(note)
            if self.on_note is not None:
                self.on_note(note)

    def close(self) -> None:
        """End `frames`, from any thread."""
        self._closed.set()
        self._wake.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Clock:
    """Sees when the camera's clock jumps, beside one that does not."""

    def __init__(self) -> None:
        self._camera_s: float | None = None
        self._here_s = 0.0

    def jump(self, time_s: float | None) -> float | None:
        """By how much the camera's clock jumped since the frame before [s], None where it did not."""
        before_s, here_before_s = self._camera_s, self._here_s
        self._camera_s, self._here_s = time_s, time.monotonic()
        if time_s is None or before_s is None:
            return None
        step_s = time_s - before_s
        ahead_s = step_s - (self._here_s - here_before_s)
        return step_s if step_s < 0 else ahead_s if ahead_s > CLOCK_JUMP_S else None


def _told(shape: tuple[int, int], dtype: np.dtype[Any], sampling_A: float) -> str:
    return f"{shape[1]} x {shape[0]} {dtype} at {sampling_A:g} Å/px"
