"""A movie's frames pooled: the same column's posteriors of several frames combined into one.

Columns are the same where they lie within half an ångström in the frame that a group begins with. Drift is not tracked:
register a drifting movie first.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import NotSupported
from segdepth.models import ModelInfo, ModelVersion, PoolingNumbers
from segdepth.results import SPECIES, Answer, FrameResult
from segdepth_protos import contract
from segdepth_protos.pooling import interval, pooled

MATCH_A = 0.5
"""Positions of a column in two frames may differ by this [Å]: less than half the smallest distance of two columns."""

FOUND_SHARE = 0.5
"""A column is one if at least this share of the frames has it."""

REGISTERED_SHARE = 0.5
"""A frame that shares fewer of its columns with the first of its group has moved, and is left out."""


@dataclass(frozen=True, eq=False)
class PooledColumns:
    """Columns of a group of frames, arrays of one entry each, sorted by y, then x; positions in the first frame."""

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    species: NDArray[np.uint8]
    probabilities: NDArray[np.float64]
    """Pooled posterior [column, 11] of 0, 1, ... 9, 10 or more atoms."""
    count: NDArray[np.int64]
    lo90: NDArray[np.int64]
    hi90: NDArray[np.int64]
    abstained: NDArray[np.bool_]
    p_hop: NDArray[np.float64]
    """Probability that the column changed during these frames."""
    frames: NDArray[np.int64]
    """Frames in which the column was found."""

    def __len__(self) -> int:
        return len(self.count)

    @property
    def p_count(self) -> NDArray[np.float64]:
        """Posterior of `count`."""
        return np.asarray(self.probabilities[np.arange(len(self)), self.count])

    def species_names(self) -> list[str]:
        """Name of each column's species."""
        return [SPECIES[value] for value in self.species]


@dataclass(frozen=True, eq=False)
class PooledFrames:
    """What frames `first` to `last` of a movie say together."""

    first: int
    last: int
    frames: int
    """Frames that were pooled."""
    refused: int
    """Frames without an answer: refused, or in a gap."""
    moved: int
    """Answered frames left out because too few of their columns lie where the first frame's do."""
    sampling_A: float
    columns: PooledColumns


def numbers_of(models: Iterable[ModelInfo], version: ModelVersion) -> PoolingNumbers:
    """The numbers of the model that answered. Raises NotSupported where it has none."""
    for info in models:
        if (info.version.family, info.version.version) == (version.family, version.version) and info.pooling:
            return info.pooling
    raise NotSupported(
        f"{version.family} {version.version} was released without what pooling needs; calibrate and release it anew"
        " (segdepth-train calibrate), or take the frames one by one"
    )


class Pool:
    """Collects the answers to a movie and pools every `frames` of them that follow each other."""

    def __init__(self, numbers: PoolingNumbers, frames: int):
        if frames < 2:
            raise ValueError(f"{frames} frames: pooling takes two or more")
        self._numbers, self._size = numbers, frames
        self._results: list[FrameResult] = []
        self._first: int | None = None
        self._last = 0
        self._refused = 0

    def add(self, answer: Answer) -> PooledFrames | None:
        """The next answer; returns a group when it is complete."""
        first, number = (answer.sequence, 1) if isinstance(answer, FrameResult) else (answer.first, len(answer))
        self._first = first if self._first is None else self._first
        self._last = first + number - 1
        if isinstance(answer, FrameResult) and not answer.refused:
            self._results.append(answer)
        else:
            self._refused += number
        return self.finish() if len(self._results) == self._size else None

    def finish(self) -> PooledFrames | None:
        """What is left of the movie, if any frame of it was answered."""
        results, first, refused = self._results, self._first, self._refused
        self._results, self._first, self._refused = [], None, 0
        if not results or first is None:
            return None
        together, moved = registered(results)
        columns = combined(together, self._numbers)
        return PooledFrames(first, self._last, len(together), refused, moved, results[0].sampling_A, columns)


def pool(answers: Iterable[Answer], numbers: PoolingNumbers, frames: int) -> Iterator[PooledFrames]:
    """Pool every `frames` answered frames of a stream; what is left at its end is pooled too.

    Raises ValueError for fewer than two frames.
    """
    collected = Pool(numbers, frames)
    for answer in answers:
        if group := collected.add(answer):
            yield group
    if rest := collected.finish():
        yield rest


def positions(result: FrameResult) -> NDArray[np.float64]:
    """Of the columns [N, 2] in Å."""
    return np.column_stack([result.columns.x_A, result.columns.y_A])


def registered(results: list[FrameResult]) -> tuple[list[tuple[FrameResult, NDArray[np.int64]]], int]:
    """Frames whose columns lie where the first one's do, each with the first one's index of its columns (-1 = new).

    And how many frames do not.
    """
    first = positions(results[0])
    together = []
    for result in results:
        index = nearest(positions(result), first, MATCH_A)
        if result is results[0] or (index >= 0).sum() >= REGISTERED_SHARE * max(len(first), len(index)):
            together.append((result, index))
    return together, len(results) - len(together)


def combined(together: list[tuple[FrameResult, NDArray[np.int64]]], numbers: PoolingNumbers) -> PooledColumns:
    """The pooled columns of registered frames; what the first one misses is taken from the next that has it.

    Raises ValueError where the frames name species of which the model has no prior.
    """
    xy, tracks = tracked(together)
    posteriors = np.full((len(together), len(xy), contract.CLASSES), np.nan)
    votes = np.zeros((len(xy), len(numbers.prior) + 1), np.int64)
    for number, ((result, _), track) in enumerate(zip(together, tracks, strict=True)):
        posteriors[number, track] = result.columns.probabilities
        votes[track, result.columns.species] += 1
    species = votes[:, 1:].argmax(axis=1)
    dose = float(np.median([_dose(result) for result, _ in together]))
    said = pooled(posteriors, numbers.prior[species], numbers.correlation_at(dose), numbers.hop)
    count = said.posterior.argmax(axis=1)
    lo90, hi90 = interval(said.posterior)
    keep = (said.frames >= FOUND_SHARE * len(together)) & (count > 0)
    order = np.flatnonzero(keep)[np.lexsort((xy[keep, 0], xy[keep, 1]))]
    sampling_A = together[0][0].sampling_A
    return PooledColumns(
        x_px=xy[order, 0] / sampling_A,
        y_px=xy[order, 1] / sampling_A,
        species=(species[order] + 1).astype(np.uint8),
        probabilities=said.posterior[order],
        count=count[order],
        lo90=lo90[order],
        hi90=hi90[order],
        abstained=said.posterior.max(axis=1)[order] < numbers.abstain_below,
        p_hop=said.hopping[order],
        frames=said.frames[order],
    )


def tracked(
    together: list[tuple[FrameResult, NDArray[np.int64]]],
) -> tuple[NDArray[np.float64], list[NDArray[np.int64]]]:
    """Positions [Å] of all columns that any frame has, and for each frame which of them its own columns are."""
    known = positions(together[0][0])
    tracks = []
    for result, _ in together:
        xy = positions(result)
        index = nearest(xy, known, MATCH_A)
        new = np.flatnonzero(index < 0)
        index[new] = len(known) + np.arange(len(new))
        known = np.concatenate([known, xy[new]])
        tracks.append(index)
    return known, tracks


def nearest(ours: NDArray[np.float64], theirs: NDArray[np.float64], reach: float) -> NDArray[np.int64]:
    """For each position of ours [n, 2] the index of the position of theirs that is the nearest one to it and it to that
    one, within reach; -1 without."""
    result = np.full(len(ours), -1)
    if not (len(ours) and len(theirs)):
        return result
    forth, back = _closest(ours, theirs, reach), _closest(theirs, ours, reach)
    mutual = (forth >= 0) & (back[forth] == np.arange(len(ours)))
    result[mutual] = forth[mutual]
    return result


def _closest(ours: NDArray[np.float64], theirs: NDArray[np.float64], reach: float) -> NDArray[np.int64]:
    """Index of the closest of theirs within reach, -1 without: compared with those in a strip of equal height alone."""
    order = np.argsort(theirs[:, 1], kind="stable")
    sorted_y = theirs[order, 1]
    low, high = (np.searchsorted(sorted_y, ours[:, 1] + side, "left") for side in (-reach, reach + 1e-12))
    result = np.full(len(ours), -1)
    for number, (first, last) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        if first == last:
            continue
        strip = order[first:last]
        distance = np.hypot(*(theirs[strip] - ours[number]).T)
        best = int(distance.argmin())
        if distance[best] <= reach:
            result[number] = strip[best]
    return result


def _dose(result: FrameResult) -> float:
    """What the gate measured [e/Å²]."""
    return next((check.value for check in result.domain.checks if check.name == "snr"), math.inf)
