"""Where the specimen's columns stand, and which of them a frame's columns are, however it drifts.

Positions are complex numbers x + iy [Å] in here: to turn is to multiply, and each step is one call for all columns.

Suffixes: N sites, M columns found in a frame, 2 x and y.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segdepth.tracks.cells import Cells, pairs

Array = NDArray[Any]

REACH_A = 0.55
"""A column found this near to a site is that site's: less than half the smallest distance of two columns."""

CLOSE_REACH_A = 0.4
"""The same for what says how the frame lies, once that is nearly known: what lies further off is another column's."""

FIRST_REACH_A = 0.67
"""The same before the frame's own displacement is known: half the smallest distance of two columns."""

SHARED_SHARE = 0.5
"""A frame that shares fewer of its columns with the sites lies elsewhere."""

NEARLY_SHARE, LEAST_SHARE = 0.8, 0.3
"""Of a frame's columns: near sites where the guess is nearly right, and without which there is none."""

LEAST_COLUMNS = 8
"""Columns without which nothing is told of a displacement."""

MOVED_MOST_A = 0.1
"""A frame that lies no further than this from where it was guessed has the same sites near its columns."""

SEARCHED_A = 3.0
"""How far from where it is expected a frame is looked for after one without an answer; after each more, further by
SEARCHED_MORE_A."""

SEARCHED_MORE_A = 0.5
SEARCHED_MOST_A = 14.0
"""How far at most, and one that is not where it is expected though the frame before was."""

USUAL_SHARE, JUMPED_SHARE = 0.95, 0.9
"""A frame that fits its place so much worse than frames do may lie at another, where it must fit so much as well."""

AMBIGUOUS = 0.95
"""Two places of which the worse fits this well beside the better are not told apart."""

TURNS_DEG, TURNED_SHARE, TURNED_COLUMNS = 30, 0.7, 50
"""Turns that a lost frame is tried with, the share of its columns that must then lie on sites, and how many
are tried."""

TURN_MOST_RAD = np.radians(2.0)
"""From one frame to the next."""


MOVED_FRAMES = 64
"""Frames in which sites move so little that it is known which one is near; fewer while they are new."""


class Placement(NamedTuple):
    """How the specimen lies in a frame, and which site each of its columns is; -1 for a new one.

    shift_A: displacement [2] of the specimen against the first frame; error_A: its standard error; turn_rad: how far it
    is turned about the middle of the first frame's columns; place_M: the frame's columns where they would lie in the
    first frame; score: of the columns that both have where the frame lies, the share that they share.
    """

    shift_A: Array
    error_A: float
    turn_rad: float
    site_M: NDArray[np.int64]
    place_M: Array
    score: float


class Sites:
    """The columns of a specimen seen so far, at the mean of where they were found, and where the last frame lay."""

    def __init__(self) -> None:
        self._at_N = np.zeros(0, complex)
        """In the first frame's coordinates."""
        self.species_N = np.zeros(0, np.int64)
        """As each was found first. Two species are as near to each other as drift may be between two frames."""
        self.found_N = np.zeros(0)
        """Frames in which each was found."""
        self._centre = 0j
        self._shift, self.turn_rad = 0j, 0.0
        self._speed, self._frames = 0j, 1
        """Displacement from frame to frame, and how many frames back the one before the last placed lies."""
        self._usual_score = 1.0
        self._cells: Cells | None = None
        self._moved_since = 0
        """Frames since the cells were laid out."""

    def __len__(self) -> int:
        return len(self._at_N)

    @property
    def xy_N2(self) -> Array:
        """Positions in the first frame's coordinates [Å]."""
        return pairs(self._at_N)

    def in_frame(self, shift_A: Array, turn_rad: float) -> Array:
        """Where sites lie in a frame in Å [N, 2]."""
        return pairs(self._forth(self._at_N, complex(*shift_A), turn_rad))

    def through_frames(self, row: int, shifts_A: Array, turns_rad: Array) -> Array:
        """Where a site lies in each of some frames in Å [frame, 2]; shifts_A: [frame, 2]."""
        return pairs(self._forth(self._at_N[row], _complex(shifts_A), turns_rad))

    def place(self, xy_M2: Array, species_M: Array, unanswered: int = 0) -> Placement | None:
        """Where a frame lies whose columns of some species are at xy [Å]; None if that cannot be told.

        unanswered: frames since the last one that was placed.
        """
        if len(self) < LEAST_COLUMNS or len(xy_M2) < LEAST_COLUMNS:
            return None
        at_M = _complex(xy_M2)
        self._frames = unanswered + 1
        expected = self._shift + self._speed * self._frames
        nearby = self._fitted(at_M, species_M, expected, self.turn_rad)
        if unanswered == 0:
            if nearby is not None and nearby.score > USUAL_SHARE * self._usual_score:
                return nearby
            # A jump by some period of the lattice shows at the specimen's edges alone.
            return self._searched(at_M, species_M, expected, SEARCHED_MOST_A) or nearby
        # Nobody watched meanwhile: what fits may be one lattice period off.
        reach_A = min(SEARCHED_A + SEARCHED_MORE_A * unanswered, SEARCHED_MOST_A)
        found = self._searched(at_M, species_M, expected, reach_A)
        as_expected = nearby is not None and abs(complex(*nearby.shift_A) - expected) < FIRST_REACH_A / 2
        return found or (nearby if as_expected else None)

    def why_not(self, xy_M2: Array, unanswered: int) -> str:
        """Why a frame cannot be placed, for people."""
        if len(xy_M2) < LEAST_COLUMNS:
            return f"only {len(xy_M2)} columns are in the field, {LEAST_COLUMNS} tell where it lies"
        for degrees in sorted(range(-TURNS_DEG, TURNS_DEG + 1), key=abs):
            if abs(degrees) > 1 and self._fits_turned(xy_M2, np.radians(degrees)):
                return f"the specimen turned by some {degrees}° at once"
        if unanswered:
            frames = "a frame that tells" if unanswered == 1 else f"{unanswered} frames that tell"
            return f"after {frames} nothing of them it cannot be told which column is which"
        return "too few of its columns lie where the specimen's are: it jumped, broke, or left the field"

    def _fits_turned(self, xy_M2: Array, turn_rad: float) -> bool:
        at_M = _complex(xy_M2)
        middle = at_M.mean()
        turned_M = (at_M - middle) * np.exp(-1j * turn_rad) + middle
        for shift in _peaks(pairs(turned_M), pairs(self._at_N + self._shift), SEARCHED_A, TURNED_COLUMNS)[:3]:
            place_M = turned_M - self._shift - shift
            site_M = self._near(place_M)
            site_M = _owned(site_M, np.abs(place_M - self._at_N[site_M]), len(self))
            if (site_M >= 0).mean() > TURNED_SHARE:
                return True
        return False

    def accept(self, placement: Placement, species_M: Array) -> NDArray[np.int64]:
        """Take a placed frame in; returns the site of each of its columns, new sites last."""
        shift = complex(*placement.shift_A)
        self._speed += 0.2 * ((shift - self._shift) / self._frames - self._speed)
        self._shift, self.turn_rad = shift, placement.turn_rad
        self._usual_score += 0.1 * (placement.score - self._usual_score)
        site_M = placement.site_M
        new = np.flatnonzero(site_M < 0)
        if len(new):
            site_M = site_M.copy()
            site_M[new] = len(self) + np.arange(len(new))
            self._at_N = np.concatenate([self._at_N, placement.place_M[new]])
            self.species_N = np.concatenate([self.species_N, species_M[new]])
            self.found_N = np.concatenate([self.found_N, np.zeros(len(new))])
            self._cells = None
        self.found_N[site_M] += 1
        # A running mean; never stiff, so that a lattice that relaxes is followed.
        at_M = self._at_N[site_M]
        self._at_N[site_M] = at_M + (placement.place_M - at_M) / np.minimum(self.found_N[site_M], 100)
        self._moved_since += 1
        if self._moved_since >= min(MOVED_FRAMES, int(self.found_N.max())):
            self._cells = None
        return site_M

    def begin(self, xy_M2: Array, species_M: Array) -> Placement:
        """Take the first frame in: its columns are the sites."""
        self.species_N = species_M.astype(np.int64)
        self._at_N, self.found_N = _complex(xy_M2).copy(), np.ones(len(xy_M2))
        self._centre = complex(self._at_N.mean()) if len(xy_M2) else 0j
        self._cells = None
        return Placement(np.zeros(2), 0.0, 0.0, np.arange(len(self)), self._at_N, 1.0)

    def keep(self, rows_N: Array) -> None:
        """Only these sites go on (a mask)."""
        self._at_N, self.found_N = self._at_N[rows_N], self.found_N[rows_N]
        self.species_N = self.species_N[rows_N]
        self._cells = None

    def _fitted(self, at_M: Array, species_M: Array, shift: complex, turn_rad: float) -> Placement | None:
        """Placement near a guess, by repeated matching of columns to sites of their species; None if too few match."""
        place_M = self._back(at_M, shift, turn_rad)
        site_M = self._near(place_M)
        for reach_A, least in (
            (CLOSE_REACH_A, NEARLY_SHARE),
            (FIRST_REACH_A, LEAST_SHARE),
            (CLOSE_REACH_A, LEAST_SHARE),
        ):
            shared, known_M, apart_M = self._shared(place_M, site_M, species_M, reach_A)
            enough = len(shared) >= max(LEAST_COLUMNS, least * len(at_M))
            if not enough and least == LEAST_SHARE:
                return None
            if not enough:
                continue
            turn, move = _rigid(apart_M[shared], known_M[shared] - self._centre)
            turn_rad += turn
            move *= np.exp(1j * turn_rad)
            shift += move
            place_M = self._back(at_M, shift, turn_rad)
            if abs(move) > MOVED_MOST_A:
                site_M = self._near(place_M)
            if least == NEARLY_SHARE:
                break
        shared, _, apart_M = self._shared(place_M, site_M, species_M, REACH_A)
        site_M = _owned(site_M, np.abs(apart_M), len(self))
        enough, score = self._compared(place_M, len(shared), int(np.count_nonzero(site_M >= 0)))
        if not enough or abs(turn_rad - self.turn_rad) > TURN_MOST_RAD:
            return None
        square_A2 = np.vdot(apart_M[shared], apart_M[shared]).real / 2 / len(shared)
        error_A = float(np.sqrt(square_A2 / max(len(shared) - 2, 1)))
        return Placement(np.array([shift.real, shift.imag]), error_A, turn_rad, site_M, place_M, score)

    def _forth(self, at: Array, shift: Array | complex, turn_rad: Array | float) -> Array:
        """Where sites lie in a frame, or one in several."""
        return np.asarray((at - self._centre) * np.exp(1j * turn_rad) + (self._centre + shift))

    def _back(self, at_M: Array, shift: complex, turn_rad: float) -> Array:
        """Where a frame's columns would lie in the first frame."""
        return np.asarray((at_M - (shift + self._centre)) * np.exp(-1j * turn_rad) + self._centre)

    def _shared(
        self, place_M: Array, site_M: Array, species_M: Array, reach_A: float
    ) -> tuple[NDArray[np.int64], Array, Array]:
        """Which columns have a site of their species within reach; the site of each, and how far it lies from it."""
        known_M = self._at_N[site_M]
        apart_M = place_M - known_M
        apart_M[site_M < 0] = np.inf
        shared = np.flatnonzero((np.abs(apart_M) < reach_A) & (self.species_N[site_M] == species_M))
        return shared, known_M, apart_M

    def _compared(self, place_M: Array, shared: int, near: int) -> tuple[bool, float]:
        """Whether so many columns that are shared are enough of those that both have where the frame lies; and, of so
        many that lie near a site, the score."""
        low, high = _corners(place_M)
        ours_N = _between(self._at_N, low, high)
        steady_N = ours_N & (2 * self.found_N >= min(self.found_N.max(initial=0), 20))
        known_low, known_high = _corners(self._at_N)
        theirs = int(np.count_nonzero(_between(place_M, known_low - 1 - 1j, known_high + 1 + 1j)))
        enough = shared >= max(LEAST_COLUMNS, SHARED_SHARE * max(int(np.count_nonzero(steady_N)), theirs))
        # Less those that only one of the two has where both could.
        return enough, 2 * near / max(int(np.count_nonzero(ours_N)) + len(place_M), 1)

    def _near(self, place_M: Array) -> NDArray[np.int64]:
        """The site nearest to each place, -1 for those without one within FIRST_REACH_A."""
        if self._cells is None:
            # What was found most often is seen first.
            self._moved_since = 0
            self._cells = Cells(self._at_N, np.argsort(self.found_N, kind="stable"), FIRST_REACH_A)
        return self._cells.nearest(place_M)

    def _searched(self, at_M: Array, species_M: Array, expected: complex, reach_A: float) -> Placement | None:
        """The placement that shares most columns around where the frame is expected, if it shares about as many as
        frames do, and no other does as well."""
        turn = np.exp(1j * self.turn_rad)
        turned_M = (at_M - self._centre) / turn + self._centre
        fits = [
            fit
            for shift in _peaks(pairs(turned_M), pairs(self._at_N + expected / turn), reach_A)
            if (fit := self._fitted(at_M, species_M, expected + shift * turn, self.turn_rad))
        ]
        if not fits:
            return None
        scores = np.array([fit.score for fit in fits])
        best = fits[int(scores.argmax())]
        elsewhere = [np.hypot(*(fit.shift_A - best.shift_A)) > FIRST_REACH_A for fit in fits]
        rival = max((score for score, other in zip(scores, elsewhere, strict=True) if other), default=0.0)
        fits_well = scores.max() > JUMPED_SHARE * self._usual_score
        return best if fits_well and rival < AMBIGUOUS * scores.max() else None


def _peaks(xy_M2: Array, sites_N2: Array, reach_A: float, columns: int = 150) -> list[complex]:
    """Displacements of the middle columns against the sites that many pairs have, most frequent first."""
    step_A = 0.3
    middle = np.median(xy_M2, axis=0)
    some_M2 = xy_M2[np.argsort(np.hypot(*(xy_M2 - middle).T), kind="stable")[:columns]]
    apart = (some_M2[:, None] - sites_N2[None]).reshape(-1, 2)
    apart = apart[(np.abs(apart) < reach_A).all(axis=1)]
    if not len(apart):
        return []
    size = int(np.ceil(2 * reach_A / step_A)) + 1
    cells = np.floor((apart + reach_A) / step_A).astype(np.int64)
    votes = np.bincount(cells[:, 1] * size + cells[:, 0], minlength=size * size).reshape(size, size).astype(float)
    # A peak may lie on the border of cells.
    padded = np.pad(votes, 1)
    wide = np.sum([padded[y : y + size, x : x + size] for y in range(3) for x in range(3)], axis=0)
    result = []
    for _ in range(12):
        y, x = np.unravel_index(int(np.argmax(wide)), wide.shape)
        if wide[y, x] < LEAST_COLUMNS:
            break
        near = (np.abs(cells - (x, y)) <= 1).all(axis=1)
        result.append(complex(*np.median(apart[near], axis=0)))
        wide[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = 0
    return result


def _rigid(apart_M: Array, arm_M: Array) -> tuple[float, complex]:
    """Turn and displacement that explain how far points lie apart, by least squares."""
    mean, arm_mean = complex(apart_M.mean()), complex(arm_M.mean())
    lever = arm_M - arm_mean
    turn = float(np.vdot(lever, apart_M - mean).imag) / max(float(np.vdot(lever, lever).real), 1e-9)
    return turn, mean - 1j * turn * arm_mean


def _owned(site_M: NDArray[np.int64], distance_M: Array, sites: int) -> NDArray[np.int64]:
    """The site of each column within REACH_A, -1 without; of several columns at one site the nearest has it."""
    site_M = np.where(distance_M < REACH_A, site_M, -1)
    here = np.flatnonzero(site_M >= 0)
    if np.bincount(site_M[here], minlength=1).max() < 2:
        return site_M
    order = here[np.argsort(-distance_M[here], kind="stable")]
    # The nearest is written last.
    owner_N = np.full(sites, -1)
    owner_N[site_M[order]] = order
    site_M[here[owner_N[site_M[here]] != here]] = -1
    return site_M


def _complex(xy_M2: Array) -> Array:
    return np.ascontiguousarray(xy_M2, float).view(complex)[:, 0]


def _corners(at_M: Array) -> tuple[complex, complex]:
    x_M, y_M = at_M.real, at_M.imag
    return complex(x_M.min(), y_M.min()), complex(x_M.max(), y_M.max())


def _between(at_M: Array, low: complex, high: complex) -> NDArray[np.bool_]:
    x_M, y_M = at_M.real, at_M.imag
    return np.asarray((x_M > low.real) & (x_M < high.real) & (y_M > low.imag) & (y_M < high.imag))
