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

Figures come first in every array: what is done to one is done to all of its tracks in a row.

Suffixes: N tracks, C figures, L moments.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

WINDOW = 64
"""Frames back from now in which a step is looked for, and that levels are told from: over more of them columns wander
by as little as so many would tell of, as the specimen drifts over pixels and what surrounds it changes; false alarms
doubled."""

SCREEN = np.array([2, 3, 5, 8, 12, 18, 27, 41, 62])
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
        self._sum, self._seen = np.zeros((figures, 0)), np.zeros(0)
        self._sum_before, self._seen_before = np.zeros((figures, 0)), np.zeros(0)
        """Both at the last step."""
        self._last = np.zeros((figures, 0))
        """Of the last frame that showed each row, as it counted."""
        self._told = np.zeros((figures, 0))
        """The same, as it was."""
        self._squares, self._pairs = np.zeros((figures, 0)), np.zeros(0)
        self._products: dict[int, Array] = {}
        self._species = np.zeros(0, np.int64)
        self._members: dict[int, NDArray[np.int64]] = {}
        """Rows of each species."""
        self._precision = np.zeros((figures, figures, 0))
        self._sigma = np.ones((figures, 0))
        self._sums = np.zeros((WINDOW, figures, 0))
        self._counts = np.zeros((WINDOW, 0))

    def __len__(self) -> int:
        return len(self._seen)

    def grow(self, species_N: Array) -> None:
        """Rows for new tracks."""
        n, c = len(species_N), self._figures
        for name in ("_sum", "_sum_before", "_squares", "_sums", "_seen", "_seen_before", "_pairs", "_counts"):
            setattr(self, name, _more(getattr(self, name), n, 0.0))
        self._last, self._told = _more(self._last, n, np.nan), _more(self._told, n, np.nan)
        self._precision = _more(self._precision, n, np.eye(c)[:, :, None])
        self._sigma = _more(self._sigma, n, self._least[:, None])
        self._regroup(np.concatenate([self._species, species_N]))

    def keep(self, rows_N: Array) -> None:
        """Only these rows go on (a mask)."""
        for name in ("_sum", "_sum_before", "_squares", "_sums", "_seen", "_seen_before", "_pairs", "_counts"):
            setattr(self, name, getattr(self, name)[..., rows_N])
        self._last, self._told = self._last[:, rows_N], self._told[:, rows_N]
        self._precision, self._sigma = self._precision[..., rows_N], self._sigma[:, rows_N]
        self._regroup(self._species[rows_N])

    def _regroup(self, species_N: Array) -> None:
        self._species = species_N
        self._members = {int(species): np.flatnonzero(species_N == species) for species in np.unique(species_N)}

    @property
    def _least(self) -> Array:
        return np.array(NOISE_LEAST[: self._figures])

    def add(self, rows: Array, figures_CN: Array) -> None:
        """Figures of one more frame, of these rows; those with a NaN say nothing."""
        if self.frame % 8 == 0 or self.frame < 12:
            self._estimate_noise()
        told_CN = np.full(self._sum.shape, np.nan)
        told_CN[:, rows] = figures_CN
        known_N = np.isfinite(told_CN.sum(axis=0))
        level_CN = self.level(slice(None)).T
        settled_N = known_N & (self._seen - self._seen_before >= BEFORE_LEAST)
        self._take_out_common(told_CN, level_CN, settled_N)
        # Of two frames that show the same the second is no outlier: a level that is clipped climbs for long, and looks
        # like a second step.
        reach_CN = CLIPPED_SIGMA * self._sigma
        lowest_CN = np.fmin(level_CN, self._told) - reach_CN
        highest_CN = np.fmax(level_CN, self._told) + reach_CN
        figures_CN = np.where(settled_N, np.clip(told_CN, lowest_CN, highest_CN), told_CN)
        self._told = np.where(known_N, told_CN, self._told)
        self._remember_noise(known_N, figures_CN)
        self._sum += np.where(known_N, figures_CN, 0.0)
        self._seen += known_N
        self._last = np.where(known_N, figures_CN, self._last)
        self.frame += 1
        self._remember_sums()

    def _remember_sums(self) -> None:
        at = self.frame % WINDOW
        if self.frame >= WINDOW:
            forgotten_N = self._seen_before < self._counts[at]
            self._sum_before = np.where(forgotten_N, self._sums[at], self._sum_before)
            self._seen_before = np.where(forgotten_N, self._counts[at], self._seen_before)
        self._sums[at], self._counts[at] = self._sum, self._seen

    def level(self, rows: Array | slice) -> Array:
        """Mean figures of each row since its last step [N, C]; 0 before it was seen."""
        number = np.maximum(self._seen[rows] - self._seen_before[rows], 1)
        return np.asarray((self._sum[:, rows] - self._sum_before[:, rows]) / number).T

    def _take_out_common(self, told_CN: Array, level_CN: Array, settled_N: Array) -> None:
        """What all columns of a species do in this frame is the microscope, not a column."""
        for members in self._members.values():
            chosen = members[settled_N[members]]
            if len(chosen) >= COMMON_LEAST:
                told_CN[:, members] -= _median(told_CN[:, chosen] - level_CN[:, chosen])[:, None]

    def _remember_noise(self, known_N: Array, figures_CN: Array) -> None:
        apart_CN = (figures_CN - self._last) / np.sqrt(2)
        paired_N = known_N & (self._seen > 0)
        apart_CN[:, ~paired_N] = 0.0
        self._squares += apart_CN**2
        self._pairs += paired_N
        kept_N = np.where(self._pairs > NOISE_FRAMES, 0.5, 1.0)
        self._squares *= kept_N
        self._pairs *= kept_N
        scaled_CN = np.clip(apart_CN / self._sigma, -3, 3)
        for species, members in self._members.items():
            own = scaled_CN[:, members]
            before = self._products.get(species, np.eye(self._figures) * COMMON_LEAST)
            # Of some ten thousand columns and frames back: correlations are the camera's and the model's.
            self._products[species] = 0.98 * before + own @ own.T

    def _estimate_noise(self) -> None:
        """Noise of each row, drawn to that of its species where it was seen in few frames."""
        for species, members in self._members.items():
            squares, pairs = self._squares[:, members], self._pairs[members]
            seen = pairs >= 3
            if not seen.any():
                continue
            common = np.median(squares[:, seen] / pairs[seen], axis=1)[:, None]
            sigma = np.maximum(np.sqrt((OWN_FRAMES * common + squares) / (OWN_FRAMES + pairs)), self._least[:, None])
            products = self._products.get(species, np.eye(self._figures))
            # Figures that never move, as of a camera that repeats its frame, have no correlation.
            spread = np.sqrt(np.maximum(np.diag(products), LEAST_PRODUCT))
            correlation = products / np.outer(spread, spread) + 1e-3 * np.eye(self._figures)
            self._sigma[:, members] = sigma
            self._precision[..., members] = np.linalg.inv(correlation)[..., None] / (sigma[:, None] * sigma)

    def evidence(self, promising: float) -> tuple[Array, Evidence]:
        """Rows whose log Bayes factor of a step may be above `promising`, and it."""
        if self.frame < BEFORE_LEAST + AFTER_LEAST:
            return np.zeros(0, np.int64), Evidence(np.zeros(0), np.zeros((0, WINDOW)))
        screen = SCREEN[self.frame > SCREEN]
        # A step between two screened moments loses a part of its evidence.
        rows = np.flatnonzero(0.7 * self._log_factor(slice(None), screen).max(axis=0) > promising - 3.0)
        return rows, self.evidence_of(rows)

    def evidence_of(self, rows: Array) -> Evidence:
        """Log Bayes factors of these rows."""
        back = np.full((WINDOW, len(rows)), NOWHERE)
        lags = np.arange(1, min(WINDOW, self.frame))
        if len(lags) and len(rows):
            back[lags] = self._log_factor(rows, lags)
        highest = back.max(axis=0)
        return Evidence(highest + np.log(np.exp(back - highest).sum(axis=0)), back.T)

    def _log_factor(self, rows: Array | slice, lags_L: Array) -> Array:
        """log B of a step `lags_L` frames ago [L, N]: that many frames show the new level."""
        at = (self.frame - lags_L) % WINDOW
        sums, counts = self._sums[at][..., rows], self._counts[at][:, rows]
        before = np.maximum(counts - self._seen_before[rows], 0).astype(np.float32)
        after = (self._seen[rows] - counts).astype(np.float32)
        share = after / np.maximum(before + after, 1)
        # The difference of the means is this over n = n1 n2 / (n1 + n2); what is small is told in 32 bits.
        whole = (self._sum[:, rows] - self._sum_before[:, rows]).astype(np.float32)
        late = (self._sum[:, rows] - sums).astype(np.float32)
        late -= share[:, None] * whole
        number = before * share
        distance = _quadratic(late, self._precision[..., rows].astype(np.float32)) / np.maximum(number, 1e-3)
        freedom = (OWN_FRAMES + np.minimum(self._pairs[rows], NOISE_FRAMES)).astype(np.float32)
        gain = number * np.float32(STEP_SIGMA**2)
        factor = freedom * np.log1p(distance / freedom) * (gain / (1 + gain)) - self._figures * np.log1p(gain)
        return np.where((before < BEFORE_LEAST) | (after < AFTER_LEAST), NOWHERE, factor / 2)

    def height(self, row: int, back: int) -> Array:
        """Figures of a row since `back` frames ago, less those before [C]."""
        at = (self.frame - back) % WINDOW
        sums, count = self._sums[at, :, row], self._counts[at, row]
        after = (self._sum[:, row] - sums) / max(self._seen[row] - count, 1)
        before = (sums - self._sum_before[:, row]) / max(count - self._seen_before[row], 1)
        return np.asarray(after - before)

    def begin(self, row: int, back: int) -> None:
        """A step happened `back` frames ago: levels begin anew there."""
        at = (self.frame - back) % WINDOW
        self._sum_before[:, row], self._seen_before[row] = self._sums[at, :, row], self._counts[at, row]


def _quadratic(apart_LCN: Array, precision_CCN: Array) -> Array:
    """d' P d [L, N]; written out, as einsum takes several times as long for a few figures."""
    size = len(precision_CCN)
    total = np.zeros((len(apart_LCN), apart_LCN.shape[2]), apart_LCN.dtype)
    for a in range(size):
        # Both halves of a symmetric matrix at once.
        half = precision_CCN[a, a] * apart_LCN[:, a]
        for b in range(a + 1, size):
            half += 2 * precision_CCN[a, b] * apart_LCN[:, b]
        total += half * apart_LCN[:, a]
    return total


def _median(values_CN: Array) -> Array:
    """Of each figure [C]; the upper one of two in the middle: what is asked with each frame is a third as dear so."""
    middle = values_CN.shape[1] // 2
    return np.partition(values_CN, middle, axis=1)[:, middle]


def _more(values: Array, number: int, value: Array | float) -> Array:
    added = np.broadcast_to(value, (*values.shape[:-1], number))
    return np.concatenate([values, added], axis=-1)
