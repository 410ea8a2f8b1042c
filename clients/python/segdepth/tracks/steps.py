"""Steps in a column's figures: whether its number of atoms changed, when, and how sure that is.

What the model or the microscope gets wrong in every frame alike shifts a column's figures for good and is no step;
noise is different in each frame. So a column that keeps its atoms shows a level with noise, one that changes a step of
unknown moment and height. For a step after frame t, of height D ~ N(0, s² S) where S is the noise of one frame, the
Bayes factor against none is, with n = n1 n2 / (n1 + n2) of n1 frames before and n2 after and d the difference of their
means,

    log B(t) = (G n s² / (1 + n s²) - C log(1 + n s²)) / 2,    G = n d' S^-1 d,

and G is replaced by v log(1 + G / v) because S was itself estimated with v degrees of freedom (the heavier tails of
Hotelling's T²). The evidence for a step is the sum of B(t) over the frames of a window, each as likely beforehand: the
change-point model of Barry and Hartigan (J. Am. Stat. Assoc. 88, 309, 1993) for the last change of a track.

Suffixes: N tracks, C figures, L moments.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

WINDOW = 64
"""Frames back from now in which a step is looked for."""

SCREEN = np.array([2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 48, 63])
"""Frames back at which it is looked for in every frame; at all of them only where these are promising."""

STEP_SIGMA = 1.5
"""Standard deviation of a true step's figures, in units of a frame's noise, before it is seen."""

OWN_FRAMES = 12.0
"""Frames that the noise of all columns of a species counts for beside a column's own."""

NOISE_FRAMES = 200.0
"""Frames that a column's noise is remembered for."""

NOISE_LEAST = (0.25, 0.005, 0.005, 0.005)
"""Least standard deviation of each figure in a frame: a posterior that is sure of itself hardly moves, and its least
move is no step."""

CLIPPED_SIGMA = 5.0
"""No frame counts for more than this far from its column's level: the model's rare jumps are not normal noise."""

BEFORE_LEAST, AFTER_LEAST = 3, 2
"""Frames before and after a step without which it is not looked for."""

COMMON_LEAST = 10
"""Columns of a species from which what all of them do at once (defocus, brightness) is taken out."""

LEAST_PRODUCT = 1e-12

NOWHERE = -50.0


class Evidence(NamedTuple):
    """Log Bayes factor of a step [N], and of one l frames ago for l = 0 ... WINDOW - 1 [N, L]."""

    total: Array
    back: Array


class Steps:
    """Levels and noise of N tracks, frame by frame. Rows are added and removed as tracks are."""

    def __init__(self, figures: int) -> None:
        self._figures = figures
        self.frame = 0
        """Frames so far."""
        self._sum = np.zeros((0, figures))
        self._seen = np.zeros(0)
        self._sum_before = np.zeros((0, figures))
        self._seen_before = np.zeros(0)
        self._last = np.zeros((0, figures))
        """Of the last frame that showed each row, as it counted."""
        self._told = np.zeros((0, figures))
        """The same, as it was."""
        self._squares = np.zeros((0, figures))
        self._pairs = np.zeros(0)
        self._products: dict[int, Array] = {}
        self._species = np.zeros(0, np.int64)
        self._precision = np.zeros((0, figures, figures))
        self._sigma = np.ones((0, figures))
        self._sums = np.zeros((WINDOW, 0, figures))
        self._counts = np.zeros((WINDOW, 0))

    def __len__(self) -> int:
        return len(self._seen)

    def grow(self, species_N: Array) -> None:
        """Rows for new tracks."""
        n, c = len(species_N), self._figures
        self._sum, self._sum_before = _more(self._sum, n), _more(self._sum_before, n)
        self._seen, self._seen_before = _more(self._seen, n), _more(self._seen_before, n)
        self._last = np.concatenate([self._last, np.full((n, c), np.nan)])
        self._told = np.concatenate([self._told, np.full((n, c), np.nan)])
        self._squares, self._pairs = _more(self._squares, n), _more(self._pairs, n)
        self._species = np.concatenate([self._species, species_N])
        self._precision = np.concatenate([self._precision, np.broadcast_to(np.eye(c), (n, c, c))])
        self._sigma = np.concatenate([self._sigma, np.broadcast_to(self._least, (n, c))])
        self._sums = np.concatenate([self._sums, np.zeros((WINDOW, n, c))], axis=1)
        self._counts = np.concatenate([self._counts, np.zeros((WINDOW, n))], axis=1)

    def keep(self, rows_N: Array) -> None:
        """Only these rows go on (a mask)."""
        for name in (
            "_sum",
            "_sum_before",
            "_seen",
            "_seen_before",
            "_last",
            "_told",
            "_squares",
            "_pairs",
            "_species",
        ):
            setattr(self, name, getattr(self, name)[rows_N])
        self._precision, self._sigma = self._precision[rows_N], self._sigma[rows_N]
        self._sums, self._counts = self._sums[:, rows_N], self._counts[:, rows_N]

    @property
    def _least(self) -> Array:
        return np.array(NOISE_LEAST[: self._figures])

    def add(self, rows: Array, figures_NC: Array) -> None:
        """Figures of one more frame, of these rows; rows of NaN say nothing."""
        known = np.isfinite(figures_NC).all(axis=1)
        rows, figures_NC = rows[known], figures_NC[known]
        if self.frame % 8 == 0 or self.frame < 12:
            self._estimate_noise()
        figures_NC = self._without_common(rows, figures_NC)
        level = self.level(rows)
        settled = self._seen[rows] - self._seen_before[rows] >= BEFORE_LEAST
        reach = CLIPPED_SIGMA * self._sigma[rows[settled]]
        told, before = figures_NC[settled], self._told[rows[settled]]
        self._told[rows] = figures_NC
        # Of two frames that show the same the second is no outlier: a level that is clipped climbs for long, and looks
        # like a second step.
        lowest = np.fmin(level[settled], before) - reach
        highest = np.fmax(level[settled], before) + reach
        figures_NC[settled] = np.clip(told, lowest, highest)
        self._remember_noise(rows, figures_NC)
        self._sum[rows] += figures_NC
        self._seen[rows] += 1
        self._last[rows] = figures_NC
        self.frame += 1
        self._sums[self.frame % WINDOW] = self._sum
        self._counts[self.frame % WINDOW] = self._seen

    def level(self, rows: Array) -> Array:
        """Mean figures of each row since its last step; NaN before it was seen."""
        number = self._seen[rows] - self._seen_before[rows]
        total = self._sum[rows] - self._sum_before[rows]
        return np.asarray(np.where(number[:, None] > 0, total / np.maximum(number, 1)[:, None], np.nan))

    def _without_common(self, rows: Array, figures_NC: Array) -> Array:
        """Less what all columns of a species do in this frame: that is the microscope, not a column."""
        figures_NC = figures_NC.copy()
        apart = figures_NC - self.level(rows)
        usable = self._seen[rows] - self._seen_before[rows] >= BEFORE_LEAST
        for species in np.unique(self._species[rows]):
            chosen = usable & (self._species[rows] == species)
            if chosen.sum() >= COMMON_LEAST:
                figures_NC[self._species[rows] == species] -= np.median(apart[chosen], axis=0)
        return figures_NC

    def _remember_noise(self, rows: Array, figures_NC: Array) -> None:
        apart = (figures_NC - self._last[rows]) / np.sqrt(2)
        known = np.isfinite(apart).all(axis=1)
        rows, apart = rows[known], apart[known]
        self._squares[rows] += apart**2
        self._pairs[rows] += 1
        full = rows[self._pairs[rows] > NOISE_FRAMES]
        self._squares[full] /= 2
        self._pairs[full] /= 2
        scaled = np.clip(apart / self._sigma[rows], -3, 3)
        for species in np.unique(self._species[rows]):
            own = scaled[self._species[rows] == species]
            before = self._products.get(int(species), np.eye(self._figures) * COMMON_LEAST)
            # Of some ten thousand columns and frames back: correlations are the camera's and the model's.
            self._products[int(species)] = 0.98 * before + own.T @ own

    def _estimate_noise(self) -> None:
        """Noise of each row, drawn to that of its species where it was seen in few frames."""
        for species in np.unique(self._species):
            own = self._species == species
            seen = own & (self._pairs >= 3)
            if not seen.any():
                continue
            common = np.median(self._squares[seen] / self._pairs[seen, None], axis=0)
            variance = (OWN_FRAMES * common + self._squares[own]) / (OWN_FRAMES + self._pairs[own])[:, None]
            sigma = np.maximum(np.sqrt(variance), self._least)
            products = self._products.get(int(species), np.eye(self._figures))
            # Figures that never move, as of a camera that repeats its frame, have no correlation.
            spread = np.sqrt(np.maximum(np.diag(products), LEAST_PRODUCT))
            correlation = products / np.outer(spread, spread) + 1e-3 * np.eye(self._figures)
            self._sigma[own] = sigma
            self._precision[own] = np.linalg.inv(correlation) / (sigma[:, :, None] * sigma[:, None, :])

    def evidence(self, promising: float) -> tuple[Array, Evidence]:
        """Rows whose log Bayes factor of a step may be above `promising`, and it."""
        if self.frame < BEFORE_LEAST + AFTER_LEAST:
            return np.zeros(0, np.int64), Evidence(np.zeros(0), np.zeros((0, WINDOW)))
        every = np.arange(len(self))
        screen = SCREEN[self.frame > SCREEN]
        # A step between two screened moments loses a part of its evidence.
        rows = np.flatnonzero(0.7 * self._log_factor(every, screen).max(axis=0) > promising - 2.0)
        return rows, self.evidence_of(rows)

    def evidence_of(self, rows: Array) -> Evidence:
        """Log Bayes factors of these rows."""
        back = np.full((WINDOW, len(rows)), NOWHERE)
        lags = np.arange(1, min(WINDOW, self.frame))
        if len(lags) and len(rows):
            back[lags] = self._log_factor(rows, lags)
        highest = back.max(axis=0)
        return Evidence(highest + np.log(np.exp(back - highest).sum(axis=0)), back.T)

    def _log_factor(self, rows: Array, lags_L: Array) -> Array:
        """log B of a step `lags_L` frames ago [L, N]: that many frames show the new level."""
        at = (self.frame - lags_L) % WINDOW
        if len(rows) == len(self):
            sums, counts = self._sums[at], self._counts[at]
        else:
            sums, counts = self._sums[at[:, None], rows], self._counts[at[:, None], rows]
        before = counts - self._seen_before[rows]
        after = self._seen[rows] - counts
        apart = (self._sum[rows] - sums) / np.maximum(after, 1)[..., None]
        apart -= (sums - self._sum_before[rows]) / np.maximum(before, 1)[..., None]
        number = np.maximum(before * after / np.maximum(before + after, 1), 0)
        distance = number * _quadratic(apart, self._precision[rows])
        freedom = OWN_FRAMES + np.minimum(self._pairs[rows], NOISE_FRAMES)
        distance = freedom * np.log1p(distance / freedom)
        gain = number * STEP_SIGMA**2
        factor = (distance * gain / (1 + gain) - self._figures * np.log1p(gain)) / 2
        return np.where((before < BEFORE_LEAST) | (after < AFTER_LEAST), NOWHERE, factor)

    def height(self, row: int, back: int) -> Array:
        """Figures of a row since `back` frames ago, less those before [C]."""
        at = (self.frame - back) % WINDOW
        sums, count = self._sums[at, row], self._counts[at, row]
        after = (self._sum[row] - sums) / max(self._seen[row] - count, 1)
        before = (sums - self._sum_before[row]) / max(count - self._seen_before[row], 1)
        return np.asarray(after - before)

    def begin(self, row: int, back: int) -> None:
        """A step happened `back` frames ago: levels begin anew there."""
        at = (self.frame - back) % WINDOW
        self._sum_before[row], self._seen_before[row] = self._sums[at, row], self._counts[at, row]


def _quadratic(apart_LNC: Array, precision_NCC: Array) -> Array:
    """d' P d [L, N]; written out, as einsum takes several times as long for a few figures."""
    size = apart_LNC.shape[-1]
    total = np.zeros(apart_LNC.shape[:-1])
    for a in range(size):
        for b in range(a, size):
            total += (1 if a == b else 2) * precision_NCC[:, a, b] * apart_LNC[..., a] * apart_LNC[..., b]
    return total


def _more(values: Array, number: int) -> Array:
    return np.concatenate([values, np.zeros((number, *values.shape[1:]))])
