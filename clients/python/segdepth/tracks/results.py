"""What tracking says: of each frame its drift and its columns' occupancy, and of each column when it changed."""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from segdepth.columns import SPECIES, named
from segdepth.models import ModelVersion
from segdepth_protos.count_interval import count_interval

NO_POSITION = (float("nan"), float("nan"))


LIKELY = 0.5
"""Changes of this probability are more likely than not; films show no others."""


class TrackState(Enum):
    """What became of a frame."""

    TRACKED = "tracked"
    """Its columns were found on the tracks; it counts."""
    REFUSED = "refused"
    """Outside the model's domain: nothing is told of its columns."""
    MISSING = "missing"
    """It has no answer: a gap."""
    LOST = "lost"
    """Answered, but its columns lie on no track: the specimen turned, broke, left the field or jumped too far."""


@dataclass(frozen=True)
class Change:
    """A column's number of atoms changed, beyond the stated rate of false alarms.

    frame: the most likely first frame after the change; first_frame, last_frame: where that frame lies with a
    probability of 0.90; p_changed: that there was a change at all.
    """

    track: int
    frame: int
    first_frame: int
    last_frame: int
    species: str
    before: int
    after: int
    p_changed: float
    x_px: float
    y_px: float
    """Where the column stands in `frame`, as recorded."""


@dataclass(frozen=True, eq=False, repr=False)
class TrackedColumns:
    """The tracks in the field of one frame, arrays of one entry each, sorted by track."""

    track: NDArray[np.int64]
    """The same number in each frame is the same column. Numbers are never given to another one."""
    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    """Positions in the frame as recorded, (0, 0) the centre of the top-left pixel: where the column was found, or where
    its track says that it stands."""
    found: NDArray[np.bool_]
    """Whether this frame shows it."""
    species: NDArray[np.uint8]
    probabilities: NDArray[np.float64]
    """Posterior [n, 11] of 0, 1, ... 9, 10 or more atoms in this frame, given the frames around it."""
    p_changed: NDArray[np.float64]
    """Probability that the number of atoms is another one than in the frame before."""
    sampling_A: float
    elements: tuple[str, ...] = SPECIES

    def __len__(self) -> int:
        return len(self.track)

    @property
    def x_A(self) -> NDArray[np.float64]:
        """x_px times the sampling [Å]."""
        return self.x_px * self.sampling_A

    @property
    def y_A(self) -> NDArray[np.float64]:
        """y_px times the sampling [Å]."""
        return self.y_px * self.sampling_A

    @property
    def count(self) -> NDArray[np.int64]:
        """Most likely number of atoms; 0 where there is no column (any more), 10 is ten or more."""
        return self.probabilities.argmax(axis=1) if len(self) else np.zeros(0, np.int64)

    @property
    def p_count(self) -> NDArray[np.float64]:
        """Posterior of `count`."""
        return np.asarray(self.probabilities[np.arange(len(self)), self.count])

    @property
    def interval(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """lo90, hi90: the smallest contiguous set of counts that holds 0.90 of the posterior."""
        return count_interval(self.probabilities)

    def species_names(self) -> list[str]:
        """The element of each column."""
        return named(self.species, self.elements)

    def __repr__(self) -> str:
        return f"TrackedColumns(size={len(self)}, sampling_A={self.sampling_A:g})"


@dataclass(frozen=True, eq=False, repr=False)
class TrackedFrame:
    """One frame of a movie as tracking sees it.

    segment: counts up where tracking has to begin anew (another kind of frame, another specimen, another model);
    drift_A: by how much the specimen is displaced (x, y) against the first frame of its segment [Å], and its standard
    error; rotation_deg: by how much it is turned against that frame; changes: those that are known since this frame:
    when live, later than they happened.
    """

    sequence: int
    state: TrackState
    why: str = ""
    """Of a state other than `tracked`: its reason."""
    segment: int = 0
    drift_A: tuple[float, float] = NO_POSITION
    drift_error_A: float = float("nan")
    rotation_deg: float = float("nan")
    columns: TrackedColumns | None = None
    """None unless `tracked`."""
    changes: tuple[Change, ...] = field(default=())
    model: ModelVersion | None = None

    def __repr__(self) -> str:
        what = f", columns={len(self.columns)}" if self.columns is not None else f", why={self.why!r}"
        return f"TrackedFrame(sequence={self.sequence}, state={self.state.value!r}{what}, changes={len(self.changes)})"
