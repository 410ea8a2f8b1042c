"""Answers against the known truth: which columns were found, what was counted, whether the confidence was earned."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from segdepth.results import FrameResult

REACH_A = 0.6
"""A column found farther than this from a true one is another [Å]; Ce and O are 1.353 Å apart."""

BORDER_A = 1.5
"""True columns nearer to the frame's border than this are left out: the frame shows half of their surroundings [Å]."""

MOST = 10
"""Count of a column of ten or more atoms."""

BINS = 10
"""Bins of confidence in the expected calibration error."""


@dataclass(frozen=True)
class TrueFrame:
    """What a frame shows: dose [e/Å²], None without noise; of N columns position x, y [N, 2] [Å], count, species."""

    dose: float | None
    position_A: NDArray[np.float64]
    count: NDArray[np.int64]
    species: NDArray[np.str_]


@dataclass(frozen=True)
class Tally:
    """For each true column what the depth map says at its centre, and the column found there, if any was.

    `p_count`, `right`, `covered` and `abstained` are of the found columns alone.
    """

    true_count: NDArray[np.int64]
    centre_count: NDArray[np.int64]
    found: NDArray[np.bool_]
    p_count: NDArray[np.float64]
    right: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    species_right: NDArray[np.bool_]
    abstained: NDArray[np.bool_]


@dataclass(frozen=True)
class Score:
    """Shares of all true columns: exact, within_1 and found; of the found ones: the rest. `ece`: of `p_count`."""

    columns: int
    exact: float
    within_1: float
    found: float
    right: float
    stated: float
    covered_90: float
    species: float
    abstained: float
    ece: float

    @property
    def margin(self) -> float:
        """Half of the 95 % interval of `exact` (normal approximation of the binomial)."""
        return 1.96 * math.sqrt(self.exact * (1 - self.exact) / self.columns)


def read_truth(path: Path) -> list[TrueFrame]:
    """The truth of a movie, frame by frame."""
    return [
        TrueFrame(
            dose=frame["dose"],
            position_A=np.array([[x, y] for x, y, _, _ in frame["columns"]], np.float64).reshape(-1, 2),
            count=np.array([min(count, MOST) for _, _, count, _ in frame["columns"]], np.int64),
            species=np.array([species for _, _, _, species in frame["columns"]], np.str_),
        )
        for frame in json.loads(path.read_text())["frames"]
    ]


def compare(result: FrameResult, truth: TrueFrame) -> Tally:
    """Tally the true columns of a frame, but for those at its border. Nothing is found in a refused frame.

    The frame must have been estimated with its depth map.
    """
    size_A = np.array(result.shape[::-1]) * result.sampling_A
    inside = ((truth.position_A > BORDER_A) & (truth.position_A < size_A - BORDER_A)).all(axis=1)
    position_A, count, species = truth.position_A[inside], truth.count[inside], truth.species[inside]

    index, found = nearest(result, position_A)
    columns, there = result.columns, count[found]
    names = np.array(columns.species_names(), np.str_)
    return Tally(
        true_count=count,
        centre_count=centre_counts(result, position_A),
        found=found,
        p_count=columns.p_count[index].astype(np.float64),
        right=columns.count[index] == there,
        covered=(columns.lo90[index] <= there) & (there <= columns.hi90[index]),
        species_right=names[index] == species[found],
        abstained=columns.abstained[index],
    )


def nearest(result: FrameResult, position_A: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The found column that each true one and no other is nearest to: its index [found ones], and whether [N]."""
    columns = result.columns
    found = np.zeros(len(position_A), bool)
    if len(columns) == 0 or len(position_A) == 0:
        return np.zeros(0, np.int64), found
    # Positions of the truth count from the frame's corner pixel's centre, as those of the columns do.
    distance_A, owner = KDTree(position_A).query(np.stack([columns.x_A, columns.y_A], axis=1))
    of_true = np.full(len(position_A), -1)
    for column in np.argsort(-distance_A):  # The nearest one is written last and stays.
        if distance_A[column] <= REACH_A:
            of_true[owner[column]] = column
    found = of_true >= 0
    return of_true[found], found


def centre_counts(result: FrameResult, position_A: NDArray[np.float64]) -> NDArray[np.int64]:
    """What the depth map says at the pixel of each position; -1 throughout a refused frame."""
    if result.depth_map is None:
        raise ValueError("the frame was estimated without its depth map")
    if result.refused:
        return np.full(len(position_A), -1)
    x, y = np.rint(position_A / result.sampling_A).astype(int).T
    counts: NDArray[np.int64] = result.depth_map[y, x].astype(np.int64)
    return counts


def score(tallies: Sequence[Tally]) -> Score:
    """All frames of a dose together."""

    def all_of(name: str) -> NDArray[np.float64]:
        return np.concatenate([getattr(tally, name) for tally in tallies]).astype(np.float64)

    def share(values: NDArray[np.float64]) -> float:
        return float(values.mean()) if len(values) else math.nan

    off_by = np.abs(all_of("centre_count") - all_of("true_count"))
    seen = all_of("centre_count") > 0  # Background at a column's centre is not "one atom off".
    return Score(
        columns=len(off_by),
        exact=share((off_by == 0).astype(np.float64)),
        within_1=share(((off_by <= 1) & seen).astype(np.float64)),
        found=share(all_of("found")),
        right=share(all_of("right")),
        stated=share(all_of("p_count")),
        covered_90=share(all_of("covered")),
        species=share(all_of("species_right")),
        abstained=share(all_of("abstained")),
        ece=calibration_error(all_of("p_count"), all_of("right")),
    )


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Expected calibration error: mean over equal bins of |confidence - accuracy|, weighted (Guo et al. 2017)."""
    if len(right) == 0:
        return math.nan
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gap = np.bincount(bins, confidence - right, BINS)
    return float(np.abs(gap).sum() / len(right))
