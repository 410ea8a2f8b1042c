"""A movie's answers, one after the other, as columns through time."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from segdepth.models import ModelVersion, PoolingNumbers
from segdepth.results import Answer, FrameResult, Gap
from segdepth.tracks.changes import Event
from segdepth.tracks.results import Change, TrackedColumns, TrackedFrame, TrackState
from segdepth.tracks.segment import Observed, Seen, Segment
from segdepth.tracks.settings import Tracking
from segdepth.tracks.sites import LEAST_COLUMNS
from segdepth.tracks.sums import Sum

Array = NDArray[Any]

GAP_FRAMES = 1000
"""Frames of a gap that are told at once."""

LOST_FRAMES = 3
"""Frames in a row that lie on no track, but on each other's: then tracking begins anew with them."""


class Tracker:
    """Tracks the columns of a movie: add its answers in order, with the frames that they are to.

    What comes back are the frames in order, each once, as soon as as many frames as asked for have followed it. Memory
    does not grow with the movie.
    """

    def __init__(self, settings: Tracking | None = None):
        self._settings = settings or Tracking()
        self._numbers: dict[tuple[str, str], PoolingNumbers] = {}
        self._segment: Segment | None = None
        self._kind: tuple[object, ...] = ()
        self._index, self._next_track = 0, 0
        self._model: ModelVersion | None = None
        """Of the frames now."""
        self._waiting: deque[TrackedFrame | Seen] = deque()
        self._events: list[Event] = []
        """Changes that no frame has told of."""
        self._unanswered = 0
        self._strays: Segment | None = None
        """What lies on no track, tracked by itself."""
        self._strays_unanswered = 0
        self._sums: WeakSet[Sum] = WeakSet()
        """Of the segment now, those that are not answered yet."""
        self._why = ""
        """Why the first of them lies on none."""

    def knows(self, model: ModelVersion) -> bool:
        """Whether the numbers of a model have been handed over."""
        return (model.family, model.version) in self._numbers

    def learn(self, model: ModelVersion, numbers: PoolingNumbers) -> None:
        """A model's own numbers: needed before its first answer is added."""
        self._numbers[model.family, model.version] = numbers

    @property
    def model(self) -> ModelVersion:
        """The model that answered last."""
        assert self._model is not None, "no frame has been answered"
        return self._model

    def add(self, answer: Answer, image: Array | None = None) -> list[TrackedFrame]:
        """The next answer, and the frame [height, width] that a result is the answer to; frames that are done with.

        A result whose frame is not at hand (any more) is lost. A gap should be of no more frames than memory holds: see
        `in_parts`.
        """
        if isinstance(answer, Gap):
            for sequence in range(answer.first, answer.last + 1):
                self._wait(
                    TrackedFrame(sequence, TrackState.MISSING, f"{answer.reason.value}: {answer.detail}".rstrip(": "))
                )
            return self._done()
        if answer.refused:
            self._wait(TrackedFrame(answer.sequence, TrackState.REFUSED, answer.domain.why(), model=answer.model))
            return self._done()
        if image is None:
            why = "the frame itself was not kept: its answer came too late"
            self._wait(TrackedFrame(answer.sequence, TrackState.LOST, why, model=answer.model))
            return self._done()
        return self._result(answer, np.asarray(image))

    def _result(self, answer: FrameResult, image: Array) -> list[TrackedFrame]:
        frame = Observed.of(answer)
        kind = answer.model.family, answer.model.version, answer.shape, answer.sampling_A
        done: list[TrackedFrame] = []
        if kind != self._kind and len(frame.xy_A) < LEAST_COLUMNS:
            why = f"only {len(frame.xy_A)} columns are in the field: with fewer than {LEAST_COLUMNS} nothing is tracked"
            self._wait(TrackedFrame(frame.sequence, TrackState.LOST, why, model=answer.model))
            return self._done()
        if kind != self._kind:
            numbers = self._numbers[answer.model.family, answer.model.version]
            done = self._end()
            self._kind, self._model = kind, answer.model
            self._begin(Segment(frame, numbers, self._settings, self._next_track))
        assert self._segment is not None
        seen = self._segment.add(frame, image, self._unanswered)
        if seen is None:
            return done + self._lost(frame, image)
        self._wait(seen)
        self._strays, self._unanswered = None, 0
        self._events += self._segment.told()
        return done + self._done()

    def _begin(self, segment: Segment) -> None:
        self._index += self._segment is not None
        self._segment, self._strays, self._unanswered = segment, None, 0
        self._sums.clear()

    def _lost(self, frame: Observed, image: Array) -> list[TrackedFrame]:
        """A frame that lies on no track: one that follows several like it begins tracking anew."""
        assert self._segment is not None
        seen = None
        if len(frame.xy_A) < LEAST_COLUMNS:
            self._strays = None
        elif self._strays is not None:
            seen = self._strays.add(frame, image, self._strays_unanswered)
        if seen is None:
            self._why = self._segment.sites.why_not(frame.xy_A, self._unanswered)
            if len(frame.xy_A) >= LEAST_COLUMNS:
                self._strays = Segment(frame, self._segment.numbers, self._settings, self._segment.next_track)
                self._strays.add(frame, image, 0)
        elif self._strays is not None and self._strays.time >= LOST_FRAMES:
            done, strays = self._end(), self._strays
            self._begin(strays)
            self._wait(seen)
            return done + self._done()
        self._wait(TrackedFrame(frame.sequence, TrackState.LOST, self._why, model=self._model))
        self._strays_unanswered = 0
        return self._done()

    def _wait(self, frame: TrackedFrame | Seen) -> None:
        if isinstance(frame, TrackedFrame):
            self._unanswered += 1
            self._strays_unanswered += 1
        self._waiting.append(frame)

    def take_sum(self) -> Sum | None:
        """Frames added up that the model should be asked about, if some are complete: hand over what it says."""
        total = None if self._segment is None else self._segment.take_sum()
        if total is not None:
            self._sums.add(total)
        return total

    def add_sum(self, total: Sum, result: FrameResult) -> None:
        """What the model says of a sum that `take_sum` gave, now or earlier; a refused one says nothing, nor does one
        of a segment that has ended."""
        if self._segment is not None and total in self._sums and not result.refused:
            self._segment.add_sum(total, Observed.of(result))
        self._sums.discard(total)

    def finish(self) -> list[TrackedFrame]:
        """No answer follows: the frames that are left."""
        return self._end()

    def _end(self) -> list[TrackedFrame]:
        if self._segment is None:
            return self._out(len(self._waiting))
        self._segment.finish()
        self._events += self._segment.told()
        done = self._out(len(self._waiting))
        if done and (left := self._changes_by(self._segment.time)):
            # Those that only the end made sure, of frames that are told already: what waited has no track.
            done[-1] = replace(done[-1], changes=(*done[-1].changes, *left))
        self._events.clear()
        self._next_track = self._segment.next_track
        return done

    def _done(self) -> list[TrackedFrame]:
        lag = self._settings.lag_frames
        if len(self._waiting) < 2 * lag:
            return []
        return self._out(max(len(self._waiting) - lag, lag) if lag else len(self._waiting))

    def _out(self, number: int) -> list[TrackedFrame]:
        """The first frames that wait, as far as they are known."""
        out = [self._waiting.popleft() for _ in range(number)]
        seen = [one for one in out if isinstance(one, Seen)]
        columns = dict(zip(map(id, seen), self._segment.columns(seen), strict=True)) if self._segment and seen else {}
        return [one if isinstance(one, TrackedFrame) else self._tracked(one, columns[id(one)]) for one in out]

    def _tracked(self, seen: Seen, columns: TrackedColumns) -> TrackedFrame:
        return TrackedFrame(
            sequence=seen.sequence,
            state=TrackState.TRACKED,
            segment=self._index,
            drift_A=(float(seen.placement.shift_A[0]), float(seen.placement.shift_A[1])),
            drift_error_A=seen.placement.error_A,
            rotation_deg=float(np.degrees(seen.placement.turn_rad)),
            columns=columns,
            changes=self._changes_by(seen.time),
            model=self._model,
        )

    def _changes_by(self, time: int) -> tuple[Change, ...]:
        """Changes that happened by a frame, and that no earlier one has told of."""
        assert self._segment is not None
        due = [event for event in self._events if event.first <= time]
        self._events = [event for event in self._events if event.first > time]
        told = (self._segment.change(event) for event in sorted(due, key=lambda event: (event.first, event.track)))
        return tuple(change for change in told if change is not None)


def in_parts(answer: Answer) -> Iterator[Answer]:
    """An answer as `Tracker.add` takes it in bounded memory: a gap of a million frames as many short ones."""
    if not isinstance(answer, Gap):
        yield answer
        return
    for first in range(answer.first, answer.last + 1, GAP_FRAMES):
        yield replace(answer, first=first, last=min(first + GAP_FRAMES - 1, answer.last))
