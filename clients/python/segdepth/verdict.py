"""Whether a frame may be believed, and which question it failed."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from segdepth_protos.v1 import frame_pb2


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
    """One question asked of a frame. A bound that is None is open.

    Outside `lower` to `upper` the frame is refused, outside `ok_lower` to `ok_upper` suspect.
    """

    name: str
    status: Status
    value: float
    lower: float | None
    upper: float | None
    unit: str
    message: str
    ok_lower: float | None = None
    ok_upper: float | None = None

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Lower and upper one, inside of which the check would not have had its status."""
        return (self.lower, self.upper) if self.status is Status.REFUSED else (self.ok_lower, self.ok_upper)

    def __repr__(self) -> str:
        bounds = ", ".join(
            f"{name}={bound:.6g}" for name, bound in (("lower", self.lower), ("upper", self.upper)) if bound is not None
        )
        parts = (f"{self.name!r}", f"status={self.status.value!r}", f"value={self.value:.6g}", bounds)
        return f"Check({', '.join(filter(None, parts))}, unit={self.unit!r})"


@dataclass(frozen=True)
class DomainVerdict:
    """Whether the frame is one that the model was trained for: the worst status of all checks."""

    status: Status
    checks: tuple[Check, ...]

    @classmethod
    def from_message(cls, verdict: frame_pb2.DomainVerdict) -> "DomainVerdict":
        """From the wire."""
        return cls(_status(verdict.status), tuple(_check(check) for check in verdict.checks))

    def __repr__(self) -> str:
        why = f", why={self.why()!r}" if self.status is not Status.OK else ""
        return f"DomainVerdict(status={self.status.value!r}, checks={len(self.checks)}{why})"

    def why(self) -> str:
        """The messages of the checks that are not ok, in a line."""
        return "; ".join(check.message or check.name for check in self.checks if check.status is not Status.OK)


def _check(check: frame_pb2.DomainCheck) -> Check:
    def bound(name: Literal["lower", "upper", "ok_lower", "ok_upper"]) -> float | None:
        return getattr(check, name) if check.HasField(name) else None

    lower, upper, ok_lower, ok_upper = bound("lower"), bound("upper"), bound("ok_lower"), bound("ok_upper")
    return Check(
        name=check.name,
        status=_status(check.status),
        value=check.value,
        lower=lower,
        upper=upper,
        unit=check.unit,
        message=check.message,
        ok_lower=lower if ok_lower is None else ok_lower,
        ok_upper=upper if ok_upper is None else ok_upper,
    )
