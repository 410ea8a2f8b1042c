"""What comes back: the answer to a frame, its columns, or the gap where no answer is.

Arrays are decoded when they are first looked at and share the message's memory: they are read-only, copy() them to
change them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.calibration import Calibration
from segdepth_protos import contract
from segdepth_protos.v1 import estimator_pb2, frame_pb2, models_pb2

SPECIES = ("?", "Ce", "O")
"""Names of the values of `Columns.species`."""


class Status(Enum):
    """Verdict on a frame or a check of it, from good to bad."""

    OK = "ok"
    SUSPECT = "suspect"
    REFUSED = "refused"


_STATUS = {
    frame_pb2.DOMAIN_STATUS_OK: Status.OK,
    frame_pb2.DOMAIN_STATUS_SUSPECT: Status.SUSPECT,
    frame_pb2.DOMAIN_STATUS_REFUSED: Status.REFUSED,
}


def _status(value: int) -> Status:
    # An unset verdict is not a good one: nothing was checked.
    return _STATUS.get(value, Status.SUSPECT)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class Check:
    """One question asked of a frame. A bound that is None is open."""

    name: str
    status: Status
    value: float
    lower: float | None
    upper: float | None
    unit: str
    message: str


@dataclass(frozen=True)
class DomainVerdict:
    """Whether the frame is one that the model was trained for: the worst status of all checks."""

    status: Status
    checks: tuple[Check, ...]

    def why(self) -> str:
        """The messages of the checks that are not ok, in a line."""
        return "; ".join(check.message or check.name for check in self.checks if check.status is not Status.OK)


@dataclass(frozen=True)
class ModelVersion:
    """The model that answered. `sha256` is that of its weights; `engine` for example torch-bf16."""

    family: str
    version: str
    sha256: str
    engine: str


@dataclass(frozen=True)
class Timings:
    """Where the time of a frame went on the server [ms]."""

    queue_ms: float
    prepare_ms: float
    network_ms: float
    columns_ms: float
    total_ms: float


@dataclass(frozen=True, eq=False)
class Columns:
    """The atomic columns of a frame, arrays of one entry each, sorted by y, then x."""

    table: frame_pb2.ColumnTable
    sampling_A: float

    def __len__(self) -> int:
        return self.table.size

    @cached_property
    def x_px(self) -> NDArray[np.float32]:
        """Position along a row [px]; 0 is the centre of the left-most pixel."""
        return _array(self.table.x_px, "<f4", len(self))

    @cached_property
    def y_px(self) -> NDArray[np.float32]:
        """Position along a column of the array [px]; 0 is the centre of the top-most pixel."""
        return _array(self.table.y_px, "<f4", len(self))

    @cached_property
    def x_A(self) -> NDArray[np.float64]:
        """x_px times the frame's own sampling [Å]."""
        return self.x_px * np.float64(self.sampling_A)

    @cached_property
    def y_A(self) -> NDArray[np.float64]:
        """y_px times the frame's own sampling [Å]."""
        return self.y_px * np.float64(self.sampling_A)

    @cached_property
    def species(self) -> NDArray[np.uint8]:
        """1 = Ce, 2 = O: indices of SPECIES."""
        return _array(self.table.species, "u1", len(self))

    @cached_property
    def count(self) -> NDArray[np.uint8]:
        """Most likely number of atoms, 10 = ten or more. Filled also where `abstained`."""
        return _array(self.table.count, "u1", len(self))

    @cached_property
    def lo90(self) -> NDArray[np.uint8]:
        """Lower end of the smallest contiguous set of counts that holds 0.90 of the posterior."""
        return _array(self.table.lo90, "u1", len(self))

    @cached_property
    def hi90(self) -> NDArray[np.uint8]:
        """Upper end of that set, inclusive."""
        return _array(self.table.hi90, "u1", len(self))

    @cached_property
    def abstained(self) -> NDArray[np.bool_]:
        """True where the posterior is too flat for the count to be used."""
        return _array(self.table.abstained, "u1", len(self)).astype(bool)

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """Posterior [column, 11] of 0, 1, ... 9, 10 or more atoms."""
        return _array(self.table.probabilities, "<f4", len(self), contract.CLASSES)

    @cached_property
    def p_count(self) -> NDArray[np.float32]:
        """Posterior of `count`."""
        return np.asarray(self.probabilities[np.arange(len(self)), self.count], np.float32)

    def species_names(self) -> Sequence[str]:
        """Ce or O for each column."""
        return [SPECIES[value] for value in self.species]


@dataclass(frozen=True, eq=False)
class FrameResult:
    """The answer to one frame."""

    message: frame_pb2.FrameResult

    @property
    def sequence(self) -> int:
        """The frame's number in its stream."""
        return self.message.sequence

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the frame [px]."""
        return self.message.height, self.message.width

    @cached_property
    def calibration(self) -> Calibration:
        """The calibration used."""
        return Calibration.from_message(self.message.calibration)

    @property
    def sampling_A(self) -> float:
        """Pixel size used [Å/px]."""
        return self.message.calibration.sampling_angstrom_per_px

    @cached_property
    def model(self) -> ModelVersion:
        """The model that answered."""
        return _model_version(self.message.model)

    @property
    def refused(self) -> bool:
        """The frame is outside the model's domain: no columns, `domain` says why."""
        return self.message.domain.status == frame_pb2.DOMAIN_STATUS_REFUSED

    @cached_property
    def domain(self) -> DomainVerdict:
        """The verdict with its measured values and permitted ranges."""
        verdict = self.message.domain
        return DomainVerdict(_status(verdict.status), tuple(_check(check) for check in verdict.checks))

    @cached_property
    def columns(self) -> Columns:
        """The atomic columns."""
        return Columns(self.message.columns, self.sampling_A)

    @cached_property
    def depth_map(self) -> NDArray[np.uint8] | None:
        """Most likely class of each pixel [height, width], 255 throughout a refused frame. None unless asked for."""
        return _array(self.message.depth_map, "u1", *self.shape) if self.message.HasField("depth_map") else None

    @cached_property
    def confidence_map(self) -> NDArray[np.float32] | None:
        """Probability of that class [height, width], NaN throughout a refused frame. None unless asked for."""
        if not self.message.HasField("confidence_map"):
            return None
        return _array(self.message.confidence_map, "<f4", *self.shape)

    @cached_property
    def probabilities(self) -> NDArray[np.float32] | None:
        """Probability of every class [11, height, width]. None unless asked for."""
        if not self.message.HasField("probabilities"):
            return None
        return _array(self.message.probabilities, "<f4", contract.CLASSES, *self.shape)

    @cached_property
    def timings(self) -> Timings:
        """Where the time went on the server."""
        t = self.message.timings
        return Timings(t.queue_ms, t.prepare_ms, t.network_ms, t.columns_ms, t.total_ms)

    def __repr__(self) -> str:
        what = "refused" if self.refused else f"{self.message.columns.size} columns"
        return f"FrameResult(sequence={self.sequence}, {what}, model={self.message.model.version!r})"


class GapReason(Enum):
    """Why there is no answer."""

    UNKNOWN = "unknown"
    NOT_SENT = "not sent"
    DROPPED = "dropped"
    DEADLINE = "deadline"
    INVALID = "invalid"
    REFUSED = "refused"
    FAILED = "failed"
    LOST = "lost"


_REASONS = {
    estimator_pb2.GAP_REASON_NOT_SENT: GapReason.NOT_SENT,
    estimator_pb2.GAP_REASON_DROPPED: GapReason.DROPPED,
    estimator_pb2.GAP_REASON_DEADLINE: GapReason.DEADLINE,
    estimator_pb2.GAP_REASON_INVALID: GapReason.INVALID,
    estimator_pb2.GAP_REASON_REFUSED: GapReason.REFUSED,
    estimator_pb2.GAP_REASON_FAILED: GapReason.FAILED,
    estimator_pb2.GAP_REASON_LOST: GapReason.LOST,
}


@dataclass(frozen=True)
class Gap:
    """Frames `first` to `last` (inclusive) have no answer, and why."""

    first: int
    last: int
    reason: GapReason
    detail: str = ""

    def __len__(self) -> int:
        return self.last - self.first + 1

    @classmethod
    def from_message(cls, gap: estimator_pb2.Gap) -> "Gap":
        """From the wire."""
        reason = _REASONS.get(gap.reason, GapReason.UNKNOWN)
        return cls(gap.first, gap.last, reason, gap.detail)


Answer = FrameResult | Gap


@dataclass(frozen=True)
class ModelInfo:
    """A model that the server has, the frames it takes, and whether it answers now."""

    version: ModelVersion
    created: datetime | None
    channels: tuple[str, ...]
    serving: bool
    problem: str
    sampling_range_A: tuple[float, float]
    field_lower_A: float
    description: str

    @classmethod
    def from_message(cls, model: models_pb2.Model) -> "ModelInfo":
        """From the wire."""
        return cls(
            version=_model_version(model.version),
            created=model.created.ToDatetime(UTC) if model.HasField("created") else None,
            channels=tuple(model.channels),
            serving=model.serving,
            problem=model.problem,
            sampling_range_A=(model.sampling_lower_angstrom_per_px, model.sampling_upper_angstrom_per_px),
            field_lower_A=model.field_lower_angstrom,
            description=model.description,
        )


@dataclass(frozen=True)
class ChannelChange:
    """Who pointed a channel at which version, when and why."""

    family: str
    channel: str
    from_version: str
    to_version: str
    time: datetime
    principal: str
    reason: str
    forced: bool

    @classmethod
    def from_message(cls, change: models_pb2.ChannelChange) -> "ChannelChange":
        """From the wire."""
        return cls(
            change.family,
            change.channel,
            change.from_version,
            change.to_version,
            change.time.ToDatetime(UTC),
            change.principal,
            change.reason,
            change.forced,
        )


def _model_version(model: frame_pb2.ModelVersion) -> ModelVersion:
    return ModelVersion(model.family, model.version, model.sha256, model.engine)


def _check(check: frame_pb2.DomainCheck) -> Check:
    return Check(
        name=check.name,
        status=_status(check.status),
        value=check.value,
        lower=check.lower if check.HasField("lower") else None,
        upper=check.upper if check.HasField("upper") else None,
        unit=check.unit,
        message=check.message,
    )


def _array(data: bytes, dtype: str, *shape: int) -> NDArray[Any]:
    return np.frombuffer(data, dtype).reshape(shape)
