"""Where the specimen's columns stand, and which of them a frame's columns are, however it drifts.

Suffixes: N sites, M columns found in a frame, 2 x and y.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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

CELL_A = 0.1
"""Cells of the map that says for each place which site is near."""

MAP_MARGIN_A = 8.0
"""Of the map beyond the outermost site, for those that a drift brings into the field."""

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


class Placement(NamedTuple):
    """How the specimen lies in a frame, and which site each of its columns is; -1 for a new one.

    shift_A: displacement [2] of the specimen against the first frame; error_A: its standard error; turn_rad: how far it
    is turned about `Sites.centre_A`; place_M2: the frame's columns where they would lie in the first frame [Å].
    """

    shift_A: Array
    error_A: float
    turn_rad: float
    site_M: NDArray[np.int64]
    place_M2: Array


class Sites:
    """The columns of a specimen seen so far, at the mean of where they were found, and where the last frame lay."""

    def __init__(self) -> None:
        self.xy_N2 = np.zeros((0, 2))
        """Positions in the first frame's coordinates [Å]."""
        self.species_N = np.zeros(0, np.int64)
        """As each was found first. Two species are as near to each other as drift may be between two frames."""
        self.found_N = np.zeros(0)
        """Frames in which each was found."""
        self.centre_A = np.zeros(2)
        self.shift_A, self.turn_rad = np.zeros(2), 0.0
        self._speed_A, self._frames = np.zeros(2), 1
        """Displacement from frame to frame, and how many frames back the one before the last placed lies."""
        self._usual_score = 1.0
        self._map: Array | None = None
        self._distance = np.zeros((0, 0), np.float32)
        self._corner_A = np.zeros(2)
        self._moved_since = 0

    def __len__(self) -> int:
        return len(self.xy_N2)

    def in_frame(self, shift_A: Array, turn_rad: float, rows: int | slice = slice(None)) -> Array:
        """Where sites lie in a frame in Å [N, 2], or one of them [2]."""
        return _turned(self.xy_N2[rows] - self.centre_A, turn_rad) + self.centre_A + shift_A

    def place(self, xy_M2: Array, species_M: Array, unanswered: int = 0) -> Placement | None:
        """Where a frame lies whose columns of some species are at xy [Å]; None if that cannot be told.

        unanswered: frames since the last one that was placed.
        """
        if len(self) < LEAST_COLUMNS or len(xy_M2) < LEAST_COLUMNS:
            return None
        self._frames = unanswered + 1
        expected_A = self.shift_A + self._speed_A * self._frames
        nearby = self._fitted(xy_M2, species_M, expected_A, self.turn_rad)
        if unanswered == 0:
            if nearby is not None and self._score(nearby) > USUAL_SHARE * self._usual_score:
                return nearby
            # A jump by some period of the lattice shows at the specimen's edges alone.
            return self._searched(xy_M2, species_M, expected_A, SEARCHED_MOST_A) or nearby
        # Nobody watched meanwhile: what fits may be one lattice period off.
        reach_A = min(SEARCHED_A + SEARCHED_MORE_A * unanswered, SEARCHED_MOST_A)
        found = self._searched(xy_M2, species_M, expected_A, reach_A)
        as_expected = nearby is not None and np.hypot(*(nearby.shift_A - expected_A)) < FIRST_REACH_A / 2
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
        middle = xy_M2.mean(axis=0)
        turned_M2 = _turned(xy_M2 - middle, -turn_rad) + middle
        for shift_A in _peaks(turned_M2, self.xy_N2 + self.shift_A, SEARCHED_A, TURNED_COLUMNS)[:3]:
            site_M = self._nearest(turned_M2 - self.shift_A - shift_A, REACH_A)
            if (site_M >= 0).mean() > TURNED_SHARE:
                return True
        return False

    def accept(self, placement: Placement, species_M: Array) -> NDArray[np.int64]:
        """Take a placed frame in; returns the site of each of its columns, new sites last."""
        self._speed_A += 0.2 * ((placement.shift_A - self.shift_A) / self._frames - self._speed_A)
        self.shift_A, self.turn_rad = placement.shift_A, placement.turn_rad
        self._usual_score += 0.1 * (self._score(placement) - self._usual_score)
        site_M = placement.site_M.copy()
        new = np.flatnonzero(site_M < 0)
        site_M[new] = len(self) + np.arange(len(new))
        if len(new):
            self.xy_N2 = np.concatenate([self.xy_N2, placement.place_M2[new]])
            self.species_N = np.concatenate([self.species_N, species_M[new]])
            self.found_N = np.concatenate([self.found_N, np.zeros(len(new))])
            if self._map is not None:
                self._draw(site_M[new])
        self.found_N[site_M] += 1
        # A running mean; never stiff, so that a lattice that relaxes is followed.
        weight = 1 / np.minimum(self.found_N[site_M], 100)
        self.xy_N2[site_M] += weight[:, None] * (placement.place_M2 - self.xy_N2[site_M])
        self._moved_since += 1
        if self._moved_since >= min(64, int(self.found_N.max())):
            self._map = None
        return site_M

    def begin(self, xy_M2: Array, species_M: Array) -> None:
        """Take the first frame in: its columns are the sites."""
        self.species_N = species_M.astype(np.int64)
        self.xy_N2, self.found_N = xy_M2.astype(float).copy(), np.ones(len(xy_M2))
        self.centre_A = xy_M2.mean(axis=0) if len(xy_M2) else np.zeros(2)
        self._map = None

    def keep(self, rows_N: Array) -> None:
        """Only these sites go on (a mask)."""
        gone_M2 = self.xy_N2[~rows_N]
        self.xy_N2, self.found_N = self.xy_N2[rows_N], self.found_N[rows_N]
        self.species_N = self.species_N[rows_N]
        if self._map is None or not len(gone_M2):
            return
        place = np.append(np.where(rows_N, np.cumsum(rows_N) - 1, -1), -1)
        self._map = place[self._map]
        self._distance[self._map < 0] = np.inf
        # Cells that those gone had taken from their neighbours are the neighbours' again.
        apart = np.abs(self.xy_N2[:, None] - gone_M2[None]).max(axis=2, initial=0)
        neighbours = np.flatnonzero((apart < 2 * FIRST_REACH_A + 4 * CELL_A).any(axis=1))
        if len(neighbours):
            self._draw(neighbours)

    def _fitted(self, xy_M2: Array, species_M: Array, shift_A: Array, turn_rad: float) -> Placement | None:
        """Placement near a guess, by repeated matching of columns to sites of their species; None if too few match."""
        for reach_A, least in (
            (CLOSE_REACH_A, NEARLY_SHARE),
            (FIRST_REACH_A, LEAST_SHARE),
            (CLOSE_REACH_A, LEAST_SHARE),
        ):
            place_M2 = _turned(xy_M2 - shift_A - self.centre_A, -turn_rad) + self.centre_A
            site_M, _ = self._near(place_M2, reach_A)
            shared = (site_M >= 0) & (self.species_N[site_M] == species_M)
            enough = shared.sum() >= max(LEAST_COLUMNS, least * len(xy_M2))
            if not enough and least == LEAST_SHARE:
                return None
            if not enough:
                continue
            apart_M2 = place_M2[shared] - self.xy_N2[site_M[shared]]
            arm_M2 = self.xy_N2[site_M[shared]] - self.centre_A
            turn, move = _rigid(apart_M2, arm_M2)
            turn_rad += float(turn)
            shift_A = shift_A + _turned(move[None], turn_rad)[0]
            if least == NEARLY_SHARE:
                break
        place_M2 = _turned(xy_M2 - shift_A - self.centre_A, -turn_rad) + self.centre_A
        site_M = self._nearest(place_M2, REACH_A)
        shared = (site_M >= 0) & (self.species_N[site_M] == species_M)
        if not self._enough(place_M2, int(shared.sum())) or abs(turn_rad - self.turn_rad) > TURN_MOST_RAD:
            return None
        apart_M2 = place_M2[shared] - self.xy_N2[site_M[shared]]
        error_A = float(np.sqrt((apart_M2**2).mean() / max(shared.sum() - 2, 1)))
        return Placement(shift_A, error_A, turn_rad, site_M, place_M2)

    def _enough(self, place_M2: Array, shared: int) -> bool:
        """Whether that many columns are shared of those that both have where the frame lies."""
        low, high = place_M2.min(axis=0), place_M2.max(axis=0)
        steady = 2 * self.found_N >= min(self.found_N.max(initial=0), 20)
        ours = int((steady & ((self.xy_N2 > low) & (self.xy_N2 < high)).all(axis=1)).sum())
        known_low, known_high = self.xy_N2.min(axis=0), self.xy_N2.max(axis=0)
        theirs = int(((place_M2 > known_low - 1) & (place_M2 < known_high + 1)).all(axis=1).sum())
        return shared >= LEAST_COLUMNS and shared >= SHARED_SHARE * max(ours, theirs)

    def _nearest(self, place_M2: Array, reach_A: float) -> NDArray[np.int64]:
        """The site of each place within reach, -1 without; of several places for one site the nearest."""
        site_M, distance_M = self._near(place_M2, reach_A)
        here = np.flatnonzero(site_M >= 0)
        order = here[np.argsort(-distance_M[here], kind="stable")]
        # The nearest is written last.
        owner_N = np.full(len(self), -1)
        owner_N[site_M[order]] = order
        site_M[here[owner_N[site_M[here]] != here]] = -1
        return site_M

    def _near(self, place_M2: Array, reach_A: float) -> tuple[NDArray[np.int64], Array]:
        """The site nearest to each place and its distance [Å]; -1 for those without one in reach."""
        if self._map is None:
            self._draw_map()
        assert self._map is not None
        height, width = self._map.shape
        x_M, y_M = np.floor((place_M2 - self._corner_A) / CELL_A).astype(np.int64).T
        inside = (x_M >= 0) & (x_M < width) & (y_M >= 0) & (y_M < height)
        site_M = np.where(inside, self._map[np.where(inside, y_M, 0), np.where(inside, x_M, 0)], -1)
        apart_M2 = place_M2 - self.xy_N2[site_M]
        distance_M = np.hypot(apart_M2[:, 0], apart_M2[:, 1])
        site_M[distance_M > reach_A] = -1
        return site_M, distance_M

    def _draw_map(self) -> None:
        """For each cell the nearest site within FIRST_REACH_A of it."""
        self._moved_since = 0
        self._corner_A = self.xy_N2.min(axis=0) - MAP_MARGIN_A
        width, height = np.ceil((self.xy_N2.max(axis=0) + MAP_MARGIN_A - self._corner_A) / CELL_A).astype(np.int64)
        self._map = np.full((height, width), -1)
        self._distance = np.full((height, width), np.inf, np.float32)
        self._draw(np.arange(len(self)))

    def _draw(self, rows: NDArray[np.int64]) -> None:
        """Enter sites into the map; one outside of it is reason to draw a new one."""
        assert self._map is not None
        reach = int(np.ceil(FIRST_REACH_A / CELL_A)) + 1
        cell_N2 = np.floor((self.xy_N2[rows] - self._corner_A) / CELL_A).astype(np.int64)
        if ((cell_N2 < reach) | (cell_N2 + reach >= self._map.shape[::-1])).any():
            self._map = None
            return
        steps = np.arange(-reach, reach + 1)
        x, y = np.broadcast_arrays(cell_N2[:, 0, None, None] + steps, cell_N2[:, 1, None, None] + steps[:, None])
        apart_x = self._corner_A[0] + (x + 0.5) * CELL_A - self.xy_N2[rows, 0, None, None]
        apart_y = self._corner_A[1] + (y + 0.5) * CELL_A - self.xy_N2[rows, 1, None, None]
        distance = np.hypot(apart_x, apart_y).astype(np.float32)
        site = np.broadcast_to(rows[:, None, None], x.shape)
        nearer = distance < self._distance[y, x]
        # Of several the nearest is written last.
        order = np.argsort(-distance[nearer], kind="stable")
        x, y, distance, site = x[nearer][order], y[nearer][order], distance[nearer][order], site[nearer][order]
        self._distance[y, x], self._map[y, x] = distance, site

    def _searched(self, xy_M2: Array, species_M: Array, expected_A: Array, reach_A: float) -> Placement | None:
        """The placement that shares most columns around where the frame is expected, if it shares about as many as
        frames do, and no other does as well."""
        turned_M2 = _turned(xy_M2 - self.centre_A, -self.turn_rad) + self.centre_A
        fits = [
            fit
            for shift_A in _peaks(turned_M2, self.xy_N2 + _turned(expected_A[None], -self.turn_rad), reach_A)
            if (
                fit := self._fitted(
                    xy_M2, species_M, expected_A + _turned(shift_A[None], self.turn_rad)[0], self.turn_rad
                )
            )
        ]
        if not fits:
            return None
        shared = np.array([self._score(fit) for fit in fits])
        best = fits[int(shared.argmax())]
        elsewhere = [np.hypot(*(fit.shift_A - best.shift_A)) > FIRST_REACH_A for fit in fits]
        rival = max((score for score, other in zip(shared, elsewhere, strict=True) if other), default=0.0)
        fits_well = shared.max() > JUMPED_SHARE * self._usual_score
        return best if fits_well and rival < AMBIGUOUS * shared.max() else None

    def _score(self, fit: Placement) -> float:
        """Columns shared, less those that only one of the two has where both could."""
        shared = int((fit.site_M >= 0).sum())
        low, high = fit.place_M2.min(axis=0), fit.place_M2.max(axis=0)
        ours = int(((self.xy_N2 > low) & (self.xy_N2 < high)).all(axis=1).sum())
        return 2 * shared / max(ours + len(fit.place_M2), 1)


def _peaks(xy_M2: Array, sites_N2: Array, reach_A: float, columns: int = 150) -> list[Array]:
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
        result.append(np.median(apart[near], axis=0))
        wide[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = 0
    return result


def _turned(xy_N2: Array, turn_rad: float) -> Array:
    """Vectors turned by an angle from x towards y."""
    cos, sin = np.cos(turn_rad), np.sin(turn_rad)
    return np.asarray(xy_N2 @ np.array([[cos, sin], [-sin, cos]]))


def _rigid(apart_N2: Array, arm_N2: Array) -> tuple[float, Array]:
    """Turn and displacement that explain how far points lie apart, by least squares."""
    mean, arm_mean = apart_N2.mean(axis=0), arm_N2.mean(axis=0)
    loose, lever = apart_N2 - mean, arm_N2 - arm_mean
    turn = float((lever[:, 0] * loose[:, 1] - lever[:, 1] * loose[:, 0]).sum() / max((lever**2).sum(), 1e-9))
    return turn, mean - turn * np.array([-arm_mean[1], arm_mean[0]])
