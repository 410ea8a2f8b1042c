"""Which steps are announced as changes: beyond the stated rate of false alarms, and where they happened.

Suffixes: N tracks.
"""

import math
from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segdepth.tracks.chains import MOST_PIECES
from segdepth.tracks.occupancy import STEPS_D, Counts, step_probability
from segdepth.tracks.settings import Tracking
from segdepth.tracks.steps import WINDOW, Evidence, Steps

Array = NDArray[Any]


class Alarms(NamedTuple):
    """Of columns that keep their atoms, a share `rate` per frame has a log Bayes factor above `at`, and e^-slope times
    that share one that is higher by one. Normal noise would have a slope of 1."""

    at: float
    rate: float
    slope: float

    def log_rate(self, total: float) -> float:
        """Logarithm of the share above a log Bayes factor, per column and frame."""
        return math.log(self.rate) - self.slope * (total - self.at)

    def threshold(self, rate: float) -> float:
        """The log Bayes factor that this share exceeds."""
        return self.at + math.log(self.rate / rate) / self.slope


SETTLED, LIVE = Alarms(4.0, 7e-4, 0.6), Alarms(7.0, 7e-4, 0.5)
"""Measured on simulated movies: where evidence must last, and, far into long ones, where each frame is another
chance."""

TRUE_PER_UNIT = 0.05
"""Of true changes, the share whose log Bayes factor lies between one value and one higher by one, where noise is seen:
they spread over some 20."""

SETTLED_FRAMES = 12
"""Frames for which evidence must last before a change is announced, where there is time to wait."""

LOOKED_FRAMES = 4
"""Changes are looked for every so many frames; what is seen of one in fewer is seldom enough."""

NEIGHBOUR_A, NEIGHBOUR_FRAMES, NEIGHBOUR_SHARE = 3.5, 5, 0.7
"""A column's change shows in the image of those around it at the same time: there it is weaker than this share."""


LEAST_LIKELY = 1e-3
"""Moments less likely than this beside the likeliest are not told."""


class Event(NamedTuple):
    """A change of a track. first: the frame, counted from the segment's first, in which the new count is shown most
    likely first; moment: probability of each of the frames from `earliest` on to be that one; p_changed: that there was
    a change; before, after: the likeliest counts when it was announced."""

    track: int
    first: int
    earliest: int
    moment: Array
    p_changed: float
    before: int
    after: int

    def happened(self, time: int) -> float:
        """Probability that it had happened by a frame."""
        return float(self.moment[: max(0, time - self.earliest + 1)].sum())

    @property
    def over(self) -> int:
        """The frame by which it has happened, if it has."""
        return self.earliest + len(self.moment) - 1

    def between(self) -> tuple[int, int]:
        """Frames between which it happened with a probability of 0.90: no more than 0.05 before and after."""
        sums = np.cumsum(self.moment)
        low, high = np.searchsorted(sums, 0.05), np.searchsorted(sums, 0.95)
        return self.earliest + int(low), self.earliest + min(int(high), len(sums) - 1)


class Changes:
    """Looks for changes frame by frame, and moves levels and counts where there is one."""

    def __init__(self, settings: Tracking, steps: Steps, counts: Counts):
        self._settings, self._steps, self._counts = settings, steps, counts
        self._alarms = SETTLED if settings.lag_frames >= SETTLED_FRAMES else LIVE
        self.threshold = self._alarms.threshold(settings.false_alarms)
        self._patience = SETTLED_FRAMES if settings.lag_frames >= SETTLED_FRAMES else 0
        self._since = np.zeros(0, np.int64)
        self.over = np.zeros(0, np.int64)
        """The frame by which each row's last change has happened, if it has; -1 without one."""
        self._recent: deque[tuple[int, float, float, float]] = deque(maxlen=1000)
        """Moment, position and evidence of changes announced."""
        self.events: dict[int, list[Event]] = {}
        """Of each track, in the order of their moments."""
        self.appeared_at: dict[int, Event] = {}
        """Of tracks that were not there at first."""

    def grow(self, number: int) -> None:
        """Rows for new tracks."""
        self._since = np.concatenate([self._since, np.full(number, -1)])
        self.over = np.concatenate([self.over, np.full(number, -1)])

    def keep(self, rows_N: Array) -> None:
        """Only these rows go on (a mask)."""
        self._since, self.over = self._since[rows_N], self.over[rows_N]

    def look(
        self, track_N: Array, xy_N2: Array, response_N: Array, usable_N: Array, *, last: bool = False
    ) -> list[Event]:
        """Changes that are sure since this frame. xy: where the columns stand [Å]; response_N: how much
        the model's count moves for an atom; last: no frame follows, so that none need be waited for."""
        skipped = self._steps.frame % LOOKED_FRAMES
        # Where nothing waits to be sure, the last frame may have been looked at.
        done = not skipped and not self._patience if last else skipped
        if not self._settings.hop_rate or done:
            return []
        rows, evidence = self._steps.evidence(self.threshold)
        over = (evidence.total > self.threshold) & usable_N[rows]
        time = self._steps.frame
        waiting = np.full(len(self._since), -1)
        waiting[rows[over]] = np.where(self._since[rows[over]] < 0, time, self._since[rows[over]])
        self._since = waiting
        rows, evidence = rows[over], Evidence(evidence.total[over], evidence.back[over])
        ready = last | (time - self._since[rows] >= self._patience)
        announced = []
        for index in np.argsort(-evidence.total, kind="stable"):
            if not ready[index]:
                continue
            row, back = int(rows[index]), int(evidence.back[index].argmax())
            if not self._a_neighbours(row, back, evidence.total[index], rows, evidence, xy_N2):
                announced.append(
                    self._change(row, back, int(track_N[row]), xy_N2[row], evidence, int(index), float(response_N[row]))
                )
            self._steps.begin(row, back)
            self._since[row] = -1
        return announced

    def _a_neighbours(self, row: int, back: int, total: float, rows: Array, evidence: Evidence, xy_N2: Array) -> bool:
        """Whether what this column shows is another one's change nearby."""
        moment = self._steps.frame - back
        near = (np.hypot(*(xy_N2[rows] - xy_N2[row]).T) < NEIGHBOUR_A) & (rows != row)
        near &= np.abs(self._steps.frame - evidence.back.argmax(axis=1) - moment) <= NEIGHBOUR_FRAMES
        if (total < NEIGHBOUR_SHARE * evidence.total[near]).any():
            return True
        return any(
            abs(first - moment) <= NEIGHBOUR_FRAMES
            and np.hypot(x - xy_N2[row, 0], y - xy_N2[row, 1]) < NEIGHBOUR_A
            and total < NEIGHBOUR_SHARE * other
            for first, x, y, other in self._recent
        )

    def _change(
        self, row: int, back: int, track: int, xy_2: Array, evidence: Evidence, index: int, response: float
    ) -> Event:
        height = float(self._steps.height(row, back)[0])
        p_changed = self._probability(float(evidence.total[index]))
        step_D = p_changed * step_probability(height, response)
        step_D[STEPS_D == 0] += 1 - p_changed
        self._counts.change(row, back, step_D)
        likely = np.exp(evidence.back[index] - evidence.back[index].max())
        lags = np.flatnonzero(likely > LEAST_LIKELY)
        likely = likely[lags[0] : lags[-1] + 1][::-1]
        time = self._steps.frame
        counts = self._counts.around(row, len(self._counts.pieces[row]) - 1)
        event = Event(track, time - back, time - int(lags[-1]), likely / likely.sum(), p_changed, *counts)
        self.over[row] = event.over
        self._remember(event, xy_2, float(evidence.total[index]))
        return event

    def appeared(self, track: int, first: int, watched: int, count: int) -> Event:
        """A column was found from frame `first` on where `watched` frames before showed none."""
        event = Event(track, first, first, np.ones(1), 1 - 1 / (1 + watched), 0, count)
        self.appeared_at[track] = event
        return event

    def _remember(self, event: Event, xy_2: Array, total: float) -> None:
        events = self.events.setdefault(event.track, [])
        events.append(event)
        # As many as there are pieces of the track's time.
        del events[:-MOST_PIECES]
        while self._recent and self._recent[0][0] < self._steps.frame - WINDOW - NEIGHBOUR_FRAMES:
            self._recent.popleft()
        self._recent.append((event.first, float(xy_2[0]), float(xy_2[1]), total))

    def _probability(self, total: float) -> float:
        """Of a change, from its log Bayes factor: how often one is as strong, beside how often noise is."""
        change = math.log(self._settings.hop_rate * TRUE_PER_UNIT)
        noise = math.log(self._alarms.slope) + self._alarms.log_rate(total)
        return 1 / (1 + math.exp(-min(max(change - noise, -50.0), 50.0)))
