"""What comes back: the answer to a frame, its columns, or the gap where no answer is.

Arrays are decoded when they are first looked at and share the message's memory: they are read-only, copy() them to
change them.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.calibration import Calibration
from segdepth.columns import SPECIES, Columns, array_from_wire
from segdepth.models import ChannelChange, ModelInfo, ModelVersion, Shadow, ShadowCounts
from segdepth.verdict import Check, DomainVerdict, Status
from segdepth_protos import contract
from segdepth_protos.conditions import Conditions, Measured
from segdepth_protos.v1 import estimator_pb2, frame_pb2

__all__ = [
    "Answer",
    "FrameResult",
    "Timings",
    "Gap",
    "GapReason",
    "Columns",
    "Conditions",
    "Measured",
    "SPECIES",
    "DomainVerdict",
    "Check",
    "Status",
    "ModelVersion",
    "ModelInfo",
    "Shadow",
    "ShadowCounts",
    "ChannelChange",
]


@dataclass(frozen=True)
class Timings:
    """Where the time of a frame went on the server [ms]."""

    queue_ms: float
    prepare_ms: float
    network_ms: float
    columns_ms: float
    total_ms: float


@dataclass(frozen=True, eq=False, repr=False)
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
        return ModelVersion.from_message(self.message.model)

    @property
    def refused(self) -> bool:
        """The frame is outside the model's domain: no columns, `domain` says why."""
        return self.message.domain.status == frame_pb2.DOMAIN_STATUS_REFUSED

    @cached_property
    def domain(self) -> DomainVerdict:
        """The verdict with its measured values and permitted ranges."""
        return DomainVerdict.from_message(self.message.domain)

    @cached_property
    def conditions(self) -> Conditions | None:
        """How the frame was taken, with errors; None where nothing tells (refused, no lattice, an older model)."""
        return Conditions.from_message(self.message.conditions) if self.message.HasField("conditions") else None

    @cached_property
    def columns(self) -> Columns:
        """The atomic columns."""
        return Columns(self.message.columns, self.sampling_A)

    def fields(self) -> dict[str, NDArray[Any]]:
        """Those of its `columns`, with the number of the `frame` first and its `status` last."""
        rows = len(self.columns)
        return {
            "frame": np.full(rows, self.sequence, np.int64),
            **self.columns.fields(),
            "status": np.full(rows, self.domain.status.value),
        }

    @cached_property
    def depth_map(self) -> NDArray[np.uint8] | None:
        """Most likely class of each pixel [height, width], 255 throughout a refused frame. None unless asked for."""
        return (
            array_from_wire(self.message.depth_map, "u1", *self.shape) if self.message.HasField("depth_map") else None
        )

    @cached_property
    def confidence_map(self) -> NDArray[np.float32] | None:
        """Probability of that class [height, width], NaN throughout a refused frame. None unless asked for."""
        if not self.message.HasField("confidence_map"):
            return None
        return array_from_wire(self.message.confidence_map, "<f4", *self.shape)

    @cached_property
    def probabilities(self) -> NDArray[np.float32] | None:
        """Probability of every class [11, height, width]. None unless asked for."""
        if not self.message.HasField("probabilities"):
            return None
        return array_from_wire(self.message.probabilities, "<f4", contract.CLASSES, *self.shape)

    @cached_property
    def timings(self) -> Timings:
        """Where the time went on the server."""
        t = self.message.timings
        return Timings(t.queue_ms, t.prepare_ms, t.network_ms, t.columns_ms, t.total_ms)

    def __repr__(self) -> str:
        return (
            f"FrameResult(sequence={self.sequence}, status={self.domain.status.value!r}, columns={len(self.columns)},"
            f" shape={self.shape}, sampling_A={self.sampling_A:g}, model={str(self.model)!r})"
        )

    # A message of protobuf has no pickle; its bytes do.
    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.message.SerializeToString(),)


def _unpickled(message: bytes) -> FrameResult:
    return FrameResult(frame_pb2.FrameResult.FromString(message))


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

    @property
    def sequence(self) -> int:
        """The number of its first frame: each kind of answer has one."""
        return self.first

    def __repr__(self) -> str:
        detail = f", detail={self.detail!r}" if self.detail else ""
        return f"Gap(first={self.first}, last={self.last}, reason={self.reason.value!r}{detail})"

    @classmethod
    def from_message(cls, gap: estimator_pb2.Gap) -> "Gap":
        """From the wire."""
        reason = _REASONS.get(gap.reason, GapReason.UNKNOWN)
        return cls(gap.first, gap.last, reason, gap.detail)


Answer = FrameResult | Gap
