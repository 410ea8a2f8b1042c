"""A movie's frames pooled: the same column's posteriors of several frames combined into one.

Columns are the same where they lie within half an ångström of each other. Drift is not tracked: register a drifting
movie first.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segdepth.columns import SPECIES, named
from segdepth.errors import NotSupported
from segdepth.models import ModelInfo, ModelVersion, PoolingNumbers
from segdepth.results import Answer, FrameResult
from segdepth.tracking import Tracks
from segdepth_protos import contract
from segdepth_protos.pooling import interval, pooled

FOUND_SHARE = 0.5
"""A column is one if at least this share of the frames has it."""


@dataclass(frozen=True, eq=False)
class PooledColumns:
    """Columns of a group of frames, arrays of one entry each, sorted by y, then x; positions are means over them."""

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
    elements: tuple[str, ...] = SPECIES
    """What the model's columns may be of."""

    def __len__(self) -> int:
        return len(self.count)

    @property
    def p_count(self) -> NDArray[np.float64]:
        """Posterior of `count`."""
        return np.asarray(self.probabilities[np.arange(len(self)), self.count])

    def species_names(self) -> list[str]:
        """The element of each column."""
        return named(self.species, self.elements)


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
    """Answered frames left out because too few of their columns lie where those of the frames before do."""
    sampling_A: float
    model: ModelVersion
    columns: PooledColumns


Numbers = PoolingNumbers | Callable[[ModelVersion], PoolingNumbers]
"""A model's numbers, or what gives those of whichever model answers."""


def numbers_of(models: Iterable[ModelInfo], version: ModelVersion) -> PoolingNumbers:
    """The numbers of the model that answered. Raises NotSupported where it has none."""
    for info in models:
        if (info.version.family, info.version.version) == (version.family, version.version) and info.pooling:
            return info.pooling
    raise NotSupported(
        f"{version.family} {version.version} was released without what pooling needs; calibrate and release it anew"
        " (segdepth-train calibrate), or take the frames one by one"
    )


class Seen(NamedTuple):
    """What pooling keeps of an answered frame, whose maps would fill the memory: columns, and the measured dose."""

    xy_A: NDArray[np.float64]
    species: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    dose: float
    sampling_A: float
    elements: tuple[str, ...] = SPECIES

    @classmethod
    def of(cls, result: FrameResult) -> "Seen":
        """Of an answer that is not refused."""
        columns = result.columns
        dose = next((check.value for check in result.domain.checks if check.name == "snr"), math.inf)
        xy_A = np.column_stack([columns.x_A, columns.y_A])
        return cls(xy_A, columns.species, columns.probabilities, dose, result.sampling_A, columns.elements)


class Pool:
    """Collects the answers to a movie and pools every `frames` of them that follow each other.

    Where another model takes over, the group before it ends early: posteriors of two models are not pooled.
    Raises ValueError for fewer than two frames.
    """

    def __init__(self, numbers: Numbers, frames: int):
        if frames < 2:
            raise ValueError(f"frames: {frames} is too few, pooling takes two or more")
        self._ask, self._size = numbers, frames
        self._model: ModelVersion | None = None
        self._numbers: PoolingNumbers | None = None
        self._seen: list[Seen] = []
        self._first: int | None = None
        self._last = 0
        self._refused = 0

    def add(self, answer: Answer) -> PooledFrames | None:
        """The next answer; returns a group when it is complete. Raises NotSupported for a model that cannot pool."""
        answered = isinstance(answer, FrameResult) and not answer.refused
        ended = None
        if isinstance(answer, FrameResult) and answered and not self._same(answer.model):
            ended = self.finish()
            self._model = answer.model
            self._numbers = self._ask(answer.model) if callable(self._ask) else self._ask
        first, number = (answer.sequence, 1) if isinstance(answer, FrameResult) else (answer.first, len(answer))
        self._first = first if self._first is None else self._first
        self._last = first + number - 1
        if isinstance(answer, FrameResult) and answered:
            self._seen.append(Seen.of(answer))
        else:
            self._refused += number
        return self.finish() if len(self._seen) == self._size else ended

    def _same(self, model: ModelVersion) -> bool:
        ours = self._model
        return ours is not None and (ours.family, ours.version) == (model.family, model.version)

    def finish(self) -> PooledFrames | None:
        """What is left of the movie, if any frame of it was answered."""
        if not self._seen or self._first is None or self._model is None or self._numbers is None:
            return None
        seen, first, refused = self._seen, self._first, self._refused
        self._seen, self._first, self._refused = [], None, 0
        columns, frames = combined(seen, self._numbers)
        moved = len(seen) - frames
        return PooledFrames(first, self._last, frames, refused, moved, seen[0].sampling_A, self._model, columns)


def pool(answers: Iterable[Answer], numbers: Numbers, frames: int) -> Iterator[PooledFrames]:
    """Pool every `frames` answered frames of a stream; what is left at its end is pooled too.

    Raises ValueError for fewer than two frames, NotSupported for a model that cannot pool. `Client.pool` asks the
    server for the numbers by itself.
    """
    return _groups(answers, Pool(numbers, frames))


def _groups(answers: Iterable[Answer], collected: Pool) -> Iterator[PooledFrames]:
    for answer in answers:
        if group := collected.add(answer):
            yield group
    if rest := collected.finish():
        yield rest


def combined(seen: list[Seen], numbers: PoolingNumbers) -> tuple[PooledColumns, int]:
    """The pooled columns of frames, and how many of the frames lie where those before them do: the others are left out.

    A frame that misses a column says nothing of it: what hides one (noise, an edge) is not what a count is told by.
    """
    tracks, kept = Tracks(), []
    for one in seen:
        index = tracks.add(one.xy_A)
        if index is not None:
            kept.append((one, index))
    posteriors = np.full((len(kept), len(tracks.found), contract.CLASSES), np.nan)
    votes = np.zeros((len(tracks.found), len(numbers.prior) + 1), np.int64)
    for number, (one, index) in enumerate(kept):
        posteriors[number, index] = one.probabilities
        votes[index, one.species] += 1
    species = votes[:, 1 : len(numbers.prior) + 1].argmax(axis=1)
    dose = float(np.median([one.dose for one, _ in kept]))
    said = pooled(posteriors, np.array(numbers.prior)[species], numbers.correlation_at(dose), numbers.hop)
    count = said.posterior.argmax(axis=1)
    lo90, hi90 = interval(said.posterior)
    xy_px = tracks.xy_A / seen[0].sampling_A
    keep = (said.frames >= FOUND_SHARE * len(kept)) & (count > 0)
    order = np.flatnonzero(keep)[np.lexsort((xy_px[keep, 0], xy_px[keep, 1]))]
    columns = PooledColumns(
        x_px=xy_px[order, 0],
        y_px=xy_px[order, 1],
        species=(species[order] + 1).astype(np.uint8),
        probabilities=said.posterior[order],
        count=count[order],
        lo90=lo90[order],
        hi90=hi90[order],
        abstained=said.posterior.max(axis=1)[order] < numbers.abstain_below,
        p_hop=said.hopping[order],
        frames=said.frames[order],
        elements=seen[0].elements,
    )
    return columns, len(kept)
