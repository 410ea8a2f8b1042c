"""Counts of a track: what all its frames, and the registered sums of some, say of it; across its changes, too.

Frames count by the rule of `segdepth_protos.pooling`: each adds to the prior p(n) what it has `told`, log p(n|i)/p(n),
and k frames of a track are `worth` beta k independent ones. A change moves what was known: evidence for n before it is
evidence for n + d after it, for each step d as likely as the height of the step in the model's expected count says.
Counts are the hidden states of a Markov chain that moves at changes.

Suffixes: N tracks, K classes, D steps of a count.
"""

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.tracks.chains import MOST_PIECES, STEP_OF, Chains, Own, Piece, Tempering, moved, normal
from segdepth.tracks.steps import WINDOW
from segdepth_protos import pooling
from segdepth_protos.contract import CLASSES

Array = NDArray[Any]

MISSED = 0.03
"""Share of frames in which a column that is there is not found."""

SUMS_CORRELATION = 0.9
"""Of the model's error between registered sums of a movie: their noise is nearly gone, what it gets wrong stays."""

RECENT_SUMS = 8
"""Sums that a change found later may still be taken out of."""

STEPS_D = np.arange(1 - CLASSES, CLASSES)
"""By how many atoms a column may change."""

STEP_SHARE = 0.45
"""A step of one atom more is this much as likely as the one before, beforehand: most hops are of one atom."""

RESPONSE_DOSE = (200.0, 500.0, 2000.0)
RESPONSE = ((0.4, 0.5, 0.6), (0.07, 0.16, 0.35))
"""By how much the model's expected count moves when a column gets an atom more, at each dose [e/Å²]: of its first and
heavy species, and of others. What the surroundings let it expect holds it back. Measured on simulated movies for the
model ceo2-110, as is how much that differs from column to column:"""

RESPONSE_SPREAD, HEIGHT_SIGMA = 0.55, 0.1
"""Relative standard deviation of the response, and standard deviation of the height of a step [atoms]."""


def response_at(dose: float, species: int) -> float:
    """RESPONSE of a species (0 is the model's first), linear in the logarithm of the dose [e/Å²]."""
    return float(np.interp(np.log(max(dose, 1e-9)), np.log(RESPONSE_DOSE), RESPONSE[min(species, 1)]))


def step_probability(height: float, response: float) -> Array:
    """Probability of each step [D], given by how much the expected count moved; none stays."""
    sigma = np.hypot(RESPONSE_SPREAD * response * STEPS_D, HEIGHT_SIGMA)
    log = np.abs(STEPS_D) * np.log(STEP_SHARE) - ((height - response * STEPS_D) / sigma) ** 2 / 2 - np.log(sigma)
    log[STEPS_D == 0] = -np.inf
    likely = np.exp(log - log.max())
    return np.asarray(likely / likely.sum())


class Counts:
    """Evidence of N tracks, frame by frame. Rows are added and removed as tracks are."""

    def __init__(self, prior_SK: Array, correlation: float, sums_correlation: float = SUMS_CORRELATION):
        self._log_prior_SK = pooling.log_of(prior_SK)
        self._tempering = Tempering(correlation, sums_correlation)
        self._species = np.zeros(0, np.int64)
        self._prior = np.zeros((0, CLASSES))
        """Log prior of the first piece that is kept of each track [N, K]."""
        self._total, self._number = np.zeros((0, CLASSES)), np.zeros(0)
        self._begun, self._begun_number = np.zeros((0, CLASSES)), np.zeros(0)
        """Both at the last change."""
        self._changed = np.zeros(0, np.int64)
        """The frame of that."""
        self._sums, self._sums_number = np.zeros((0, CLASSES)), np.zeros(0)
        self._totals = np.zeros((WINDOW, 0, CLASSES), np.float32)
        self._numbers = np.zeros((WINDOW, 0))
        self._recent: deque[tuple[int, int, NDArray[np.int64], Array]] = deque(maxlen=RECENT_SUMS)
        self.pieces: dict[int, list[Piece]] = {}
        """Of rows with changes: what was before."""
        self._chains = Chains(self._tempering)
        self.frame = 0

    def __len__(self) -> int:
        return len(self._number)

    def grow(self, species_N: Array) -> None:
        """Rows for new tracks."""
        number = len(species_N)

        def more(values: Array) -> Array:
            return np.concatenate([values, np.zeros((number, *values.shape[1:]), values.dtype)])

        self._species = np.concatenate([self._species, species_N])
        self._prior = np.concatenate([self._prior, self._log_prior_SK[species_N]])
        self._total, self._begun, self._sums = more(self._total), more(self._begun), more(self._sums)
        self._number, self._begun_number = more(self._number), more(self._begun_number)
        self._sums_number, self._changed = more(self._sums_number), more(self._changed)
        self._totals = np.concatenate([self._totals, np.zeros((WINDOW, number, CLASSES), np.float32)], axis=1)
        self._numbers = np.concatenate([self._numbers, np.zeros((WINDOW, number))], axis=1)

    def keep(self, rows_N: Array) -> None:
        """Only these rows go on (a mask)."""
        place = np.cumsum(rows_N) - 1
        self.pieces = {int(place[row]): pieces for row, pieces in self.pieces.items() if rows_N[row]}
        self._chains.keep(rows_N)
        for entry in list(self._recent):
            first, last, rows, told = entry
            self._recent.remove(entry)
            self._recent.append((first, last, place[rows[rows_N[rows]]], told[rows_N[rows]]))
        for name in ("_species", "_prior", "_total", "_number", "_begun", "_begun_number", "_changed"):
            setattr(self, name, getattr(self, name)[rows_N])
        self._sums, self._sums_number = self._sums[rows_N], self._sums_number[rows_N]
        self._totals, self._numbers = self._totals[:, rows_N], self._numbers[:, rows_N]

    def believe(self, species_N: Array) -> None:
        """What the rows are by now: a frame may have taken one for another species."""
        for row in np.flatnonzero(species_N != self._species):
            self._prior[row] += self._log_prior_SK[species_N[row]] - self._log_prior_SK[self._species[row]]
        self._species = species_N

    def add(self, rows: Array, probabilities_NK: Array, species: Array, missed: Array) -> None:
        """Posteriors of one more frame, of these rows and of what it takes them for; `missed` rows should be in the
        frame, but are not found."""
        told = pooling.told(probabilities_NK, self._log_prior_SK[species])
        self._total[rows] += told
        self._number[rows] += 1
        self._total[missed, 1:] += np.log(MISSED)
        self._number[missed] += 1
        self.frame += 1
        self._totals[self.frame % WINDOW] = self._total
        self._numbers[self.frame % WINDOW] = self._number

    def add_sum(self, rows: Array, probabilities_NK: Array, species: Array, first: int, last: int) -> None:
        """Posteriors of the registered sum of frames `first` to `last`, of these rows and of what it takes them for."""
        # A sum over the last change says neither what was before nor what is after it.
        since = first >= self._changed[rows]
        rows = rows[since]
        told = pooling.told(probabilities_NK[since], self._log_prior_SK[species[since]])
        self._sums[rows] += told
        self._sums_number[rows] += 1
        self._recent.append((first, last, rows, told))

    def change(self, row: int, back: int, step_D: Array) -> None:
        """The count of a row changed `back` frames ago, by each step with that probability (none included)."""
        at, now = (self.frame - back) % WINDOW, self.frame - back
        after, after_number = np.zeros(CLASSES), 0.0
        before, before_number = self._sums[row].copy(), self._sums_number[row]
        for index, (first, last, rows, told) in enumerate(self._recent):
            here = np.flatnonzero(rows == row)
            if len(here) and last >= now:
                before -= told[here[0]]
                before_number -= 1
                if first >= now:
                    after += told[here[0]]
                    after_number += 1
                else:
                    others = rows != row
                    self._recent[index] = (first, last, rows[others], told[others])
        piece = Piece(
            self._totals[at, row] - self._begun[row],
            float(self._numbers[at, row] - self._begun_number[row]),
            before,
            float(before_number),
            step_D,
        )
        self.pieces.setdefault(row, []).append(piece)
        self._begun[row], self._begun_number[row] = self._totals[at, row], self._numbers[at, row]
        self._sums[row], self._sums_number[row] = after, after_number
        self._changed[row] = now
        self._forget(row)
        self._chains.put(row, self.pieces[row])

    def _forget(self, row: int) -> None:
        """Of a track that keeps changing, what is long past only says where its later counts begin."""
        pieces = self.pieces[row]
        while len(pieces) > MOST_PIECES:
            first = pieces.pop(0)
            worth = self._tempering.of(first.frames, first.number, first.sums, first.sums_number)
            self._prior[row] = moved((self._prior[row] + worth)[None], first.step[STEP_OF][None])[0]

    def posterior(self) -> Array:
        """Posterior of each row now [N, K], given all frames so far; of rows with changes since the last one."""
        own = self._own()
        result = normal(self._prior + self._tempering.of(own.frames, own.number, own.sums, own.sums_number))
        if self.pieces:
            result[self._chains.rows] = self._chains.posterior(own)
        return result

    def _own(self) -> Own:
        """What is known of each row since its last change."""
        frames, number = self._total - self._begun, self._number - self._begun_number
        return Own(self._prior, frames, number, self._sums, self._sums_number)

    def first_posterior(self, row: int) -> Array:
        """Posterior [K] of a row in the first piece of its time that is kept apart."""
        return np.asarray(self.through(row)[0]) if row in self.pieces else np.asarray(self.posterior()[row])

    def through_all(self) -> dict[int, Array]:
        """Posterior of each row with changes in each piece of its time [piece, K], given all frames."""
        if not self.pieces:
            return {}
        through, pieces = self._chains.through(self._own())
        rows = self._chains.rows.tolist()
        return {row: of[: number + 1] for row, of, number in zip(rows, through, pieces, strict=True)}

    def through(self, row: int) -> Array:
        """The same of one row."""
        through, pieces = self._chains.through(self._own(), row)
        return np.asarray(through[0, : pieces[0] + 1])

    def around(self, row: int, index: int) -> tuple[int, int]:
        """The likeliest count before the change at the end of a row's piece, and the likeliest other one after it."""
        through, step_D = self.through(row), self.pieces[row][index].step
        before = int(through[index].argmax())
        after = int(through[index + 1].argmax())
        if after != before:
            return before, after
        others = step_D[STEP_OF[before]] * through[index + 1]
        others[before] = 0.0
        return before, int(others.argmax())
