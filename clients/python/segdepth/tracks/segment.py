"""A stretch of frames that show one specimen in one way: its sites, their counts, and their changes.

Suffixes: N tracks, M columns found in a frame, K classes.
"""

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segdepth.calibration import Calibration
from segdepth.columns import SPECIES, named
from segdepth.models import PoolingNumbers
from segdepth.results import FrameResult
from segdepth.tracks.changes import Changes, Event
from segdepth.tracks.figures import FIGURES, expected_count, intensities
from segdepth.tracks.occupancy import Counts, response_at
from segdepth.tracks.results import Change, TrackedColumns
from segdepth.tracks.settings import Tracking
from segdepth.tracks.sites import Placement, Sites
from segdepth.tracks.steps import WINDOW, Steps
from segdepth.tracks.sums import Sum, Summing
from segdepth_protos.contract import CLASSES
from segdepth_protos.matching import MATCH_A, match

Array = NDArray[Any]

BORDER_A = 1.5
"""Nearer to the frame's edge than this, a column that is not found is not missed."""

CONFIRMED_FOUND, CONFIRMED_SHARE = 3, 0.5
"""A site is a column once it was found in so many frames, and in this share of those that could show it."""

TENTATIVE_FRAMES = 12
"""Frames after which a site that is none is forgotten."""

WATCHED_LEAST, WATCHED_BORDER_A = 8, 3.0
"""Frames that must have shown a place, this far from their edges, without a column before one is said to have appeared
there."""

REMEMBERED = 2 * WINDOW
"""Frames whose placement is remembered, to tell when a change was and since when a place was watched."""


NO_ATOMS = np.eye(1, CLASSES, dtype=np.float32)


class Observed(NamedTuple):
    """What tracking keeps of an answered frame, whose maps would fill the memory."""

    sequence: int
    calibration: Calibration
    shape: tuple[int, int]
    xy_A: Array
    species: NDArray[np.uint8]
    probabilities: Array
    dose: float
    elements: tuple[str, ...] = SPECIES

    @classmethod
    def of(cls, result: FrameResult) -> "Observed":
        """Of an answer that is not refused."""
        columns = result.columns
        dose = next((check.value for check in result.message.domain.checks if check.name == "snr"), float("inf"))
        xy_A = np.column_stack([columns.x_A, columns.y_A])
        return cls(
            *(result.sequence, result.calibration, result.shape, xy_A, columns.species, columns.probabilities, dose),
            columns.elements,
        )


class Seen(NamedTuple):
    """A placed frame that waits for what follows it. time: frames of the segment before it; track: those in its field,
    and for each where it stands [Å] and whether the frame shows it."""

    sequence: int
    time: int
    placement: Placement
    track: NDArray[np.int64]
    xy_A: Array
    found: NDArray[np.bool_]


class Segment:
    """Sites, counts and changes of one stretch."""

    def __init__(self, first: Observed, numbers: PoolingNumbers, settings: Tracking, first_track: int):
        self.calibration, self.shape, self.elements = first.calibration, first.shape, first.elements
        self.numbers = numbers
        self.sites = Sites()
        self._steps = Steps(FIGURES)
        self._counts = Counts(np.array(numbers.prior), numbers.correlation_at(first.dose))
        self._response = np.array([response_at(first.dose, species) for species in range(len(numbers.prior))])
        self._changes = Changes(settings, self._steps, self._counts)
        self._may_change = settings.hop_rate > 0
        self._summing = Summing(settings.summed_frames) if settings.summed_frames else None
        self._sum: Sum | None = None
        self._told: list[Event] = []
        """Changes that no frame has told of."""
        self.time = 0
        """Frames placed so far."""
        self._next_track = first_track
        self._track = np.zeros(0, np.int64)
        self._votes = np.zeros((0, len(numbers.prior) + 1))
        self._watched = np.zeros(0)
        """Frames that could show a site."""
        self._confirmed = np.zeros(0, bool)
        self._born = np.zeros(0, np.int64)
        self._history: deque[tuple[int, Array, float]] = deque(maxlen=REMEMBERED + 3 * settings.lag_frames)
        """Number, displacement and turn of the frames placed."""

    @property
    def next_track(self) -> int:
        """The number that no track has yet."""
        return self._next_track

    @property
    def tracks(self) -> int:
        """Columns that are there or were."""
        return int(self._confirmed.sum())

    def add(self, frame: Observed, image: Array, unanswered: int) -> Seen | None:
        """Take one more frame in; None if it lies on no track. unanswered: frames since the last one that did."""
        if self.time == 0:
            placement = self.sites.begin(frame.xy_A, frame.species)
            self._grow(frame.species)
            site_M = placement.site_M
        else:
            placed = self.sites.place(frame.xy_A, frame.species, unanswered)
            if placed is None:
                return None
            placement = placed
            self._grow(frame.species[placement.site_M < 0])
            site_M = self.sites.accept(placement, frame.species)
        return self._count(frame, image, placement, site_M)

    def _grow(self, species: NDArray[np.uint8]) -> None:
        number = len(species)
        if not number:
            return
        index = _index(species)
        self._steps.grow(index)
        self._counts.grow(index)
        self._changes.grow(number)
        self._track = np.concatenate([self._track, self._next_track + np.arange(number)])
        self._next_track += number
        self._votes = np.concatenate([self._votes, np.zeros((number, self._votes.shape[1]))])
        self._watched = np.concatenate([self._watched, np.zeros(number)])
        self._confirmed = np.concatenate([self._confirmed, np.zeros(number, bool)])
        self._born = np.concatenate([self._born, np.full(number, self.time)])

    def _count(self, frame: Observed, image: Array, placement: Placement, site_M: NDArray[np.int64]) -> Seen:
        """What a placed frame says of each site in its field."""
        xy_A = self.sites.in_frame(placement.shift_A, placement.turn_rad)
        border_A = self._from_border_A(xy_A)
        rows = np.flatnonzero(border_A >= BORDER_A)
        column = np.full(len(self._track), -1)
        column[site_M] = np.arange(len(site_M))
        # At the edge, where columns are not asked for, what is found once is no column either.
        self._watched += (column >= 0) | (border_A >= 0)
        self._votes[site_M, frame.species] += 1
        column = column[rows]
        found = column >= 0
        # -1 is what follows the last column: one that is not found has no atoms here.
        probabilities = np.concatenate([frame.probabilities, NO_ATOMS])[column]
        sampling_A = frame.calibration.sampling_A
        x_px, y_px = (xy_A[rows] / sampling_A).T
        self._steps.add(rows, np.vstack([expected_count(probabilities), intensities(image, x_px, y_px, sampling_A)]))
        taken_for = _index(frame.species[column[found]])
        self._counts.add(rows[found], probabilities[found], taken_for, rows[~found])
        species = _index(self.species())
        self._counts.believe(species)
        self._history.append((frame.sequence, placement.shift_A, placement.turn_rad))
        self.time += 1
        self._confirm()
        shown_A = xy_A[rows]
        shown_A[found] = frame.xy_A[column[found]]
        seen = Seen(frame.sequence, self.time - 1, placement, self._track[rows], shown_A, found)
        if self._summing is not None:
            where = placement.shift_A, placement.turn_rad
            self._sum = self._summing.add(image, frame.calibration, self.time - 1, *where)
        self._look(species)
        self._forget()
        return seen

    def _from_border_A(self, xy_A: Array, shape: tuple[int, int] | None = None) -> Array:
        """How far inside a frame's border places lie [Å]; less than 0 outside. shape: another than the movie's."""
        height, width = shape or self.shape
        sampling_A = self.calibration.sampling_A
        x_A, y_A = xy_A[:, 0], xy_A[:, 1]
        across_A = np.minimum(x_A, (width - 1) * sampling_A - x_A)
        return np.minimum(across_A, np.minimum(y_A, (height - 1) * sampling_A - y_A))

    def _confirm(self) -> None:
        found = self.sites.found_N
        now = ~self._confirmed & (found >= CONFIRMED_FOUND) & (found >= CONFIRMED_SHARE * self._watched)
        for row in np.flatnonzero(now & (self._born > 0) & self._may_change):
            self._appeared(int(row))
        self._confirmed |= now

    def _appeared(self, row: int) -> None:
        """A new column, where frames before showed none: its atoms came meanwhile."""
        back = self.time - int(self._born[row])
        before = list(self._history)[:-back][-WINDOW:]
        if not before:
            return
        _, shifts_A, turns_rad = map(np.array, zip(*before, strict=True))
        at_A = self.sites.through_frames(row, shifts_A, turns_rad)
        watched = int((self._from_border_A(at_A) >= WATCHED_BORDER_A).sum())
        count = int(self._counts.first_posterior(row).argmax())
        if watched >= WATCHED_LEAST and count:
            self._told.append(self._changes.appeared(int(self._track[row]), int(self._born[row]), watched, count))

    def _look(self, species: NDArray[np.int64], *, last: bool = False) -> None:
        response = self._response[species]
        self._told += self._changes.look(self._track, self.sites.xy_N2, response, self._confirmed, last=last)

    def _forget(self) -> None:
        """Sites that turned out to be none go."""
        lost = ~self._confirmed & (self._watched >= TENTATIVE_FRAMES)
        if lost.any():
            self.keep(~lost)

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Only these tracks go on (a mask)."""
        self.sites.keep(rows)
        self._steps.keep(rows)
        self._counts.keep(rows)
        self._changes.keep(rows)
        for name in ("_track", "_votes", "_watched", "_confirmed", "_born"):
            setattr(self, name, getattr(self, name)[rows])

    def take_sum(self) -> Sum | None:
        """Frames added up, if they are complete since the last frame."""
        total, self._sum = self._sum, None
        return total

    def add_sum(self, total: Sum, answer: Observed) -> None:
        """What the model says of them. Columns that only the sum shows are none of the movie's."""
        xy_A = answer.xy_A + np.array(total.origin_px) * self.calibration.sampling_A
        at_N2 = self.sites.in_frame(total.shift_A, total.turn_rad)
        site = match(xy_A, at_N2, MATCH_A)
        known = (site >= 0) & (self._from_border_A(answer.xy_A, answer.shape) >= BORDER_A)
        taken_for = _index(answer.species[known])
        self._counts.add_sum(site[known], answer.probabilities[known], taken_for, total.first, total.last)

    def finish(self) -> None:
        """No frame follows: what waited to be sure is decided."""
        if self.time:
            self._look(_index(self.species()), last=True)

    def told(self) -> list[Event]:
        """Changes that were found since this was last asked."""
        told, self._told = self._told, []
        return told

    def species(self) -> NDArray[np.uint8]:
        """Of each track, as most frames say: 1 is the first of `elements`."""
        return np.asarray(self._votes[:, 1:].argmax(axis=1) + 1, np.uint8)

    def columns(self, seen: list[Seen]) -> list[TrackedColumns]:
        """Tracks of frames, given all that was added."""
        now, species, sampling_A = self._counts.posterior(), self.species(), self.calibration.sampling_A
        over = self._changes.over
        earliest = min((one.time for one in seen), default=0)
        through = self._counts.through_all() if (over >= earliest).any() else {}
        result = []
        for one in seen:
            rows = np.searchsorted(self._track, one.track)
            kept = (rows < len(self._track)) & (self._track[np.minimum(rows, len(self._track) - 1)] == one.track)
            kept[kept] = self._confirmed[rows[kept]]
            rows, xy_px = rows[kept], one.xy_A[kept] / sampling_A
            posterior, changed = now[rows], np.zeros(len(rows))
            # The others changed long before, if ever.
            for index in np.flatnonzero(over[rows] >= one.time):
                row = int(rows[index])
                posterior[index], changed[index] = self._at(row, one.time, through[row])
            columns = TrackedColumns(
                *(one.track[kept], xy_px[:, 0], xy_px[:, 1], one.found[kept], species[rows], posterior, changed),
                *(sampling_A, self.elements),
            )
            result.append(columns)
        return result

    def _at(self, row: int, time: int, through: Array) -> tuple[Array, float]:
        """Posterior of a row with changes at a time, and the probability that it changed just then."""
        events = self._changes.events[int(self._track[row])][-(len(through) - 1) :]
        done = next((index for index in range(len(events), 0, -1) if events[index - 1].over < time), 0)
        posterior, changed = through[done], 0.0
        for event, after in zip(events[done:], through[done + 1 :], strict=True):
            happened = event.happened(time)
            posterior = (1 - happened) * posterior + happened * after
            changed = max(changed, event.p_changed * (happened - event.happened(time - 1)))
        return posterior, changed

    def change(self, event: Event) -> Change | None:
        """An event for people, with what is known by now; None of a track that turned out to be none, or to have the
        same count as before."""
        row = int(np.searchsorted(self._track, event.track))
        if row == len(self._track) or self._track[row] != event.track:
            return None
        before, after = self._counts_around(row, event)
        if before == after:
            return None
        first, last = event.between()
        _, shift_A, turn_rad = self._placed(event.first)
        x_px, y_px = self.sites.in_frame(shift_A, turn_rad)[row] / self.calibration.sampling_A
        return Change(
            track=event.track,
            frame=self._placed(event.first)[0],
            # Frames without an answer before it may have been the first, too.
            first_frame=self._placed(first - 1)[0] + 1,
            last_frame=self._placed(last)[0],
            species=named(self.species()[[row]], self.elements)[0],
            before=before,
            after=after,
            p_changed=event.p_changed,
            x_px=float(x_px),
            y_px=float(y_px),
        )

    def _counts_around(self, row: int, event: Event) -> tuple[int, int]:
        """The likeliest two different counts before and after an event."""
        if event is self._changes.appeared_at.get(event.track):
            return 0, int(self._counts.first_posterior(row).argmax())
        pieces = self._counts.pieces[row]
        events = self._changes.events[event.track][-len(pieces) :]
        index = next((index for index, one in enumerate(events) if one is event), None)
        # Of a track that keeps changing, what is long past is not looked at again.
        return (event.before, event.after) if index is None else self._counts.around(row, index)

    def _placed(self, time: int) -> tuple[int, Array, float]:
        """Sequence number, displacement and turn of a frame of the recent past, or of the oldest that is remembered."""
        return self._history[max(0, time - (self.time - len(self._history)))]


def _index(species: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Of each column, which of the model's priors is its species'; an unknown one counts as the first."""
    return np.asarray(np.maximum(species.astype(np.int64) - 1, 0))
