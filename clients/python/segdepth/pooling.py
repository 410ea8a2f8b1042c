"""A movie's frames pooled: what several frames, and the model's answer to their sum, say of the same column.

Columns are the same where they lie within half an ångström of each other. Drift is not tracked: register a drifting
movie first.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from segdepth.arguments import checked, whole
from segdepth.calibration import Calibration, Options
from segdepth.columns import SPECIES, counted, named
from segdepth.errors import InvalidFrame, NotSupported
from segdepth.models import ModelInfo, ModelVersion, PoolingNumbers
from segdepth.results import Answer, FrameResult, Gap
from segdepth.tracking import Tracks
from segdepth.verdict import Status, worst
from segdepth_protos import contract
from segdepth_protos.count_interval import count_interval
from segdepth_protos.matching import MATCH_A, match
from segdepth_protos.pooling import pooled


@dataclass(frozen=True, eq=False, repr=False)
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
    """Frames in which the column was found; 0 where only their sum shows it."""
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

    def __repr__(self) -> str:
        return f"PooledColumns({counted(self.elements, self.species, self.count, self.abstained)})"


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
    summed: bool
    """Whether the model was asked about the frames' sum, too, and did not refuse it."""
    sampling_A: float
    model: ModelVersion
    columns: PooledColumns
    status: Status = Status.OK
    """The worst verdict of the frames that were pooled, and of their sum."""


class Images(Protocol):
    """A movie's frames by their sequence numbers: an array [frame, height, width], a list, a file's Movie."""

    def __getitem__(self, sequence: int, /) -> NDArray[Any]:
        """The frame [height, width]."""
        ...


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


class AnsweredFrame(NamedTuple):
    """What pooling keeps of an answered frame, whose maps would fill the memory: columns, and the measured dose."""

    sequence: int
    calibration: Calibration
    xy_A: NDArray[np.float64]
    species: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    dose: float
    elements: tuple[str, ...] = SPECIES
    status: Status = Status.OK

    @classmethod
    def of(cls, result: FrameResult) -> "AnsweredFrame":
        """Of an answer that is not refused."""
        columns = result.columns
        dose = next((check.value for check in result.domain.checks if check.name == "snr"), math.inf)
        xy_A = np.column_stack([columns.x_A, columns.y_A])
        return cls(
            *(result.sequence, result.calibration, xy_A, columns.species, columns.probabilities, dose),
            *(columns.elements, result.domain.status),
        )


STILL_A = 0.1
"""Frames that lie further [Å] from their mean position than this are not added up: the sum would be blurred."""


class Group:
    """Frames `first` to `last` of a movie, which are pooled together; `seen` are those that were answered.

    Frames that do not lie where most do are left out.
    """

    def __init__(
        self,
        seen: list[AnsweredFrame],
        first: int,
        last: int,
        refused: int,
        model: ModelVersion,
        numbers: PoolingNumbers,
    ):
        self.first, self.last, self.refused, self.model = first, last, refused, model
        self._numbers = numbers
        self._tracks, self._kept = _registered(seen)
        self._moved = len(seen) - len(self._kept)

    def __len__(self) -> int:
        """Frames that are pooled."""
        return len(self._kept)

    @property
    def _any(self) -> AnsweredFrame:
        """One of the frames, for what they have in common."""
        return self._kept[0][0]

    @property
    def drift_A(self) -> float:
        """The furthest that a frame lies from where its columns lie in the mean of all [Å]."""
        apart = [one.xy_A - self._tracks.xy_A[index] for one, index in self._kept if len(index)]
        return max((float(np.hypot(*offset.mean(axis=0))) for offset in apart), default=0.0)

    def summed(self, images: Images, options: Options) -> tuple[NDArray[Any], Calibration, Options] | None:
        """What to ask `estimate` of: the frames' sum, how it was taken, and the model that answered them.

        None where a sum says no more than the frames (one alone, or some that drift) or is larger than a frame may be.
        """
        if len(self) == 1 or self.drift_A > STILL_A:
            return None
        total: NDArray[Any] = sum((images[one.sequence].astype(np.float64) for one, _ in self._kept), np.zeros(()))
        counts = total.min() >= 0 and total.max() <= np.iinfo(np.uint16).max and (total == np.round(total)).all()
        total = total.astype(np.uint16 if counts else np.float32)
        if total.nbytes > contract.FRAME_BYTES:
            return None
        calibration = self._any.calibration
        if calibration.dose_per_A2 is not None:
            calibration = replace(calibration, dose_per_A2=calibration.dose_per_A2 * len(self))
        return total, calibration, replace(options, model=self.model.family, version=self.model.version, strict=False)

    def pooled(self, summed: FrameResult | None = None) -> PooledFrames:
        """What the frames say together; `summed`: the answer to their sum, which counts better than each of them."""
        total = None if summed is None or summed.refused else AnsweredFrame.of(summed)
        return PooledFrames(
            first=self.first,
            last=self.last,
            frames=len(self),
            refused=self.refused,
            moved=self._moved,
            summed=total is not None,
            sampling_A=self._any.calibration.sampling_A,
            model=self.model,
            columns=self._columns(total),
            status=worst([one.status for one, _ in self._kept] + ([total.status] if total else [])),
        )

    def _columns(self, total: AnsweredFrame | None) -> PooledColumns:
        """A frame that misses a column says nothing of it: what hides one (noise, an edge) is not what a count is told
        by. A column that only the sum shows is one, too."""
        known, species_of = len(self._tracks.found), len(self._numbers.prior)
        at = np.empty(0, np.int64) if total is None else match(total.xy_A, self._tracks.xy_A, MATCH_A)
        at[at < 0] = known + np.arange((at < 0).sum())
        number = max(known, int(at.max(initial=-1)) + 1)
        posteriors = np.full((len(self), number, contract.CLASSES), np.nan)
        votes = np.zeros((number, species_of + 1), np.int64)
        xy_A = np.zeros((number, 2))
        xy_A[:known] = self._tracks.xy_A
        for row, (one, index) in enumerate(self._kept):
            posteriors[row, index] = one.probabilities
            votes[index, one.species] += 1
        of_sum = None
        if total is not None:
            of_sum = np.full((number, contract.CLASSES), np.nan)
            of_sum[at] = total.probabilities
            votes[at, total.species] += len(self)
            xy_A[at[at >= known]] = total.xy_A[at >= known]
        species = votes[:, 1:].argmax(axis=1)
        dose = float(np.median([one.dose for one, _ in self._kept]))
        prior, correlation = np.array(self._numbers.prior)[species], self._numbers.correlation_at(dose)
        said = pooled(posteriors, prior, correlation, self._numbers.hop, of_sum)
        count = said.posterior.argmax(axis=1)
        lo90, hi90 = count_interval(said.posterior)
        xy_px = xy_A / self._any.calibration.sampling_A
        keep = said.seen & (count > 0)
        order = np.flatnonzero(keep)[np.lexsort((xy_px[keep, 0], xy_px[keep, 1]))]
        return PooledColumns(
            x_px=xy_px[order, 0],
            y_px=xy_px[order, 1],
            species=(species[order] + 1).astype(np.uint8),
            probabilities=said.posterior[order],
            count=count[order],
            lo90=lo90[order],
            hi90=hi90[order],
            abstained=said.posterior.max(axis=1)[order] < self._numbers.abstain_below,
            p_hop=said.hopping[order],
            frames=said.frames[order],
            elements=self._any.elements,
        )


TrackedFrames = list[tuple[AnsweredFrame, NDArray[np.int64]]]
"""Frames, and which track each of their columns is."""


def _registered(seen: list[AnsweredFrame]) -> tuple[Tracks, TrackedFrames]:
    """Tracks through the frames that lie where most do. The first may be the one that has moved, or be empty."""
    best: tuple[Tracks, TrackedFrames] = Tracks(), []
    for first in range(len(seen)):
        tracks, kept = Tracks(), []
        for one in (seen[first], *seen[:first], *seen[first + 1 :]):
            index = tracks.add(one.xy_A)
            if index is not None:
                kept.append((one, index))
        if len(kept) > len(best[1]):
            best = tracks, sorted(kept, key=lambda pair: pair[0].sequence)
        if 2 * len(kept) > len(seen):
            break
    return best


class Pool:
    """Collects the answers to a movie and groups every `frames` of them that follow each other.

    Where another model takes over, or another kind of frame, the group before it ends early: what two models say is not
    pooled, nor what two samplings show. Raises InvalidFrame for fewer than two frames.
    """

    def __init__(self, numbers: Numbers, frames: int):
        if whole(frames, "frames") < 2:
            raise InvalidFrame(f"frames: {frames} is too few, pooling takes two or more", "frames")
        self._ask, self._size = numbers, frames
        self._model: ModelVersion | None = None
        self._kind: tuple[object, ...] = ()
        self._numbers: PoolingNumbers | None = None
        self._seen: list[AnsweredFrame] = []
        self._first: int | None = None
        self._last = 0
        self._refused = 0

    def add(self, answer: Answer) -> Group | None:
        """The next answer; returns a group when it is complete. Raises NotSupported for a model that cannot pool."""
        checked(answer, (FrameResult, Gap), "answers", "an answer of a stream: a FrameResult or a Gap")
        answered = isinstance(answer, FrameResult) and not answer.refused
        ended = None
        if isinstance(answer, FrameResult) and answered and (kind := kind_of(answer)) != self._kind:
            numbers = self._ask(answer.model) if callable(self._ask) else self._ask
            ended = self.finish()
            self._model, self._kind, self._numbers = answer.model, kind, numbers
        first, number = (answer.sequence, 1) if isinstance(answer, FrameResult) else (answer.first, len(answer))
        self._first = first if self._first is None else self._first
        self._last = first + number - 1
        if isinstance(answer, FrameResult) and answered:
            self._seen.append(AnsweredFrame.of(answer))
        else:
            self._refused += number
        return self.finish() if len(self._seen) == self._size else ended

    def finish(self) -> Group | None:
        """What is left of the movie, if any frame of it was answered."""
        if not self._seen or self._first is None or self._model is None or self._numbers is None:
            return None
        seen, first, refused = self._seen, self._first, self._refused
        self._seen, self._first, self._refused = [], None, 0
        return Group(seen, first, self._last, refused, self._model, self._numbers)


def kind_of(result: FrameResult) -> tuple[object, ...]:
    """What frames that are pooled together have in common."""
    return result.model.family, result.model.version, result.shape, result.sampling_A


def pool(answers: Iterable[Answer], numbers: Numbers, frames: int) -> Iterator[PooledFrames]:
    """Pool every `frames` answered frames of a stream; what is left at its end is pooled too.

    Raises InvalidFrame for fewer than two frames, NotSupported for a model that cannot pool. `Client.pool` asks the
    server for the numbers by itself, and about the frames' sum: that counts better.
    """
    return (group.pooled() for group in groups(answers, Pool(numbers, frames)))


def groups(answers: Iterable[Answer], collected: Pool) -> Iterator[Group]:
    """The groups of a stream's answers; what is left at its end is one too, and before a model that cannot pool."""
    for answer in answers:
        try:
            group = collected.add(answer)
        except NotSupported:
            if rest := collected.finish():
                yield rest
            raise
        if group:
            yield group
    if rest := collected.finish():
        yield rest
