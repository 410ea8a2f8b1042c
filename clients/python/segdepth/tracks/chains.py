"""The Markov chains of all tracks with changes at once: a live camera's tracks have some each, and every frame asks.

Suffixes: R tracks with changes, P pieces of a track's time, K classes.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segdepth_protos import pooling
from segdepth_protos.contract import CLASSES

Array = NDArray[Any]

REFRESHED_FRAMES = 16
"""Frames after which what a track's past says of its present is worked out anew: it changes as slowly as its weight."""

MOST_PIECES = 12
"""Pieces of a track's time that are kept apart."""


class Tempering(NamedTuple):
    """How what several frames say combines, and what their registered sums say: correlations of the model's error from
    frame to frame, and from sum to sum."""

    frames: float
    sums: float

    def of(self, frames: Array, number: Array | float, sums: Array, sums_number: Array | float) -> Array:
        """What frames say [..., K], tempered for so many; their sums instead, where there are some."""
        beta, beta_sums = pooling.worth(number, self.frames), pooling.worth(sums_number, self.sums)
        summed = np.asarray(sums_number)[..., None] > 0
        return np.where(summed, sums * beta_sums[..., None], frames * beta[..., None])


class Piece(NamedTuple):
    """What is known of a track between two of its changes.

    frames, sums: log p(n|i) / p(n) [K] added up over frames and over registered sums of frames, `number` and
    `sums_number` of them; step: probability [D] of each change of the count at its end.
    """

    frames: Array
    number: float
    sums: Array
    sums_number: float
    step: Array


class Own(NamedTuple):
    """What is known of each track since its last change, as of `Piece`; prior: log, of the first piece kept [N, K]."""

    prior: Array
    frames: Array
    number: Array
    sums: Array
    sums_number: Array


STEP_OF = np.arange(CLASSES)[None, :] - np.arange(CLASSES)[:, None] + CLASSES - 1
"""Which step leads from one count to another [K, K]."""


class Chains:
    """Pieces of the tracks that have some, packed."""

    def __init__(self, tempering: Tempering):
        self._tempering = tempering
        self.rows = np.zeros(0, np.int64)
        """Of the tracks with changes, in the order of their first [R]."""
        self._place: dict[int, int] = {}
        self._pieces = np.zeros(0, np.int64)
        self._frames, self._sums = np.zeros((2, 0, MOST_PIECES, CLASSES))
        self._number, self._sums_number = np.zeros((2, 0, MOST_PIECES))
        self._move = np.zeros((0, MOST_PIECES, CLASSES, CLASSES))
        self._begun = np.zeros((0, CLASSES))
        """Log probability of counts after each track's last change, given the frames before it [R, K]."""
        self._age = 0
        self._stale: set[int] = set()
        """Which of them are to be worked out anew."""

    def put(self, row: int, pieces: list[Piece]) -> None:
        """The pieces of a track, other ones than before."""
        place = self._place.setdefault(row, len(self._place))
        self._stale.add(place)
        if place == len(self.rows):
            self.rows, self._pieces = np.append(self.rows, row), np.append(self._pieces, 0)
            if place == len(self._number):
                self._extend(max(16, place))
        self._pieces[place] = len(pieces)
        for index, piece in enumerate(pieces):
            self._frames[place, index], self._number[place, index] = piece.frames, piece.number
            self._sums[place, index], self._sums_number[place, index] = piece.sums, piece.sums_number
            self._move[place, index] = piece.step[STEP_OF]

    def _extend(self, more: int) -> None:
        for name in ("_frames", "_sums", "_number", "_sums_number", "_move", "_begun"):
            values = getattr(self, name)
            setattr(self, name, np.concatenate([values, np.zeros((more, *values.shape[1:]))]))

    def keep(self, rows_N: Array) -> None:
        """Only these tracks go on (a mask)."""
        here = np.flatnonzero(rows_N[self.rows])
        self._stale = set(range(len(here)))
        self.rows = (np.cumsum(rows_N) - 1)[self.rows[here]]
        self._place = {int(row): place for place, row in enumerate(self.rows)}
        for name in ("_pieces", "_frames", "_sums", "_number", "_sums_number", "_move", "_begun"):
            setattr(self, name, getattr(self, name)[here])

    def posterior(self, own: Own) -> Array:
        """Posterior of each of `rows` now [R, K], asked for with every frame."""
        self._age += 1
        if self._age >= REFRESHED_FRAMES:
            self._stale, self._age = set(range(len(self.rows))), 0
        if self._stale:
            at = np.array(sorted(self._stale))
            told, last = self._told(own, at), (np.arange(len(at)), self._pieces[at])
            self._begun[at] = self._forward(own, at, told)[last] - told[last]
            self._stale.clear()
        return normal(self._begun[: len(self.rows)] + self._own(own))

    def _own(self, own: Own) -> Array:
        """What the frames since each track's last change say [R, K], tempered for a track of all its frames."""
        rows = self.rows
        of_frames = self._number[: len(rows)].sum(axis=1) + own.number[rows]
        return self._tempering.of(own.frames[rows], of_frames, own.sums[rows], own.sums_number[rows])

    def through(self, own: Own, row: int | None = None) -> tuple[Array, Array]:
        """Posterior of each of `rows` in each piece of its time [R, P, K], given all frames, and the number of its
        changes [R] (Rabiner, 1989); of one alone of them."""
        at = np.arange(len(self.rows)) if row is None else np.array([self._place[row]])
        told, pieces = self._told(own, at), self._pieces[at]
        log = self._forward(own, at, told)
        backward = np.zeros((len(pieces), CLASSES))
        for index in range(told.shape[1] - 2, -1, -1):
            after = moved(backward + told[:, index + 1], self._move[at, index].swapaxes(1, 2))
            backward = np.where((index < pieces)[:, None], after, 0.0)
            log[:, index] += backward
        return normal(log), pieces

    def _told(self, own: Own, at: Array) -> Array:
        """What each piece says [R, P, K], tempered for a track of all its frames; at: which of `rows`."""
        number, pieces, rows = len(at), self._pieces[at], self.rows[at]
        most = int(pieces.max(initial=0))
        here = np.arange(most) < pieces[:, None]
        frames, sums = np.zeros((2, number, most + 1, CLASSES))
        frames[:, :most], sums[:, :most] = self._frames[at, :most], self._sums[at, :most]
        of_frames, of_sums = np.zeros((2, number, most + 1))
        of_frames[:, :most] = np.where(here, self._number[at, :most], 0)
        of_sums[:, :most] = self._sums_number[at, :most]
        last = np.arange(number), pieces
        frames[last], sums[last] = own.frames[rows], own.sums[rows]
        of_frames[last], of_sums[last] = own.number[rows], own.sums_number[rows]
        return self._tempering.of(frames, of_frames.sum(axis=1, keepdims=True), sums, of_sums)

    def _forward(self, own: Own, at: Array, told: Array) -> Array:
        """Log probability of counts in each piece, given the frames up to its end [R, P, K]."""
        log = np.zeros(told.shape)
        log[:, 0] = own.prior[self.rows[at]] + told[:, 0]
        for index in range(told.shape[1] - 1):
            log[:, index + 1] = moved(log[:, index], self._move[at, index]) + told[:, index + 1]
        return log


def moved(log_RK: Array, move_RKK: Array) -> Array:
    """Log probabilities of counts after a step; beyond the ends there is nothing, or ten or more."""
    likely = np.exp(log_RK - log_RK.max(axis=1, keepdims=True))
    after = np.matmul(likely[:, None], move_RKK)[:, 0]
    # What follows a track's last piece is nobody's, and nothing.
    least = np.maximum(pooling.SMALLEST * after.max(axis=1, keepdims=True), np.finfo(float).tiny)
    return np.asarray(np.log(np.maximum(after, least)))


def normal(log: Array) -> Array:
    """Probabilities, that add up to 1 over the last axis."""
    # numpy is several times as fast along the first axis as along a last one that is short.
    first = np.ascontiguousarray(np.moveaxis(log, -1, 0))
    likely = np.exp(first - first.max(axis=0))
    likely /= likely.sum(axis=0)
    return np.ascontiguousarray(np.moveaxis(likely, 0, -1))
