"""How a picture was taken, and what is asked of it."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeVar

from numpy.typing import NDArray

from segdepth.errors import InvalidFrame, from_contract
from segdepth_protos import contract
from segdepth_protos.v1 import estimator_pb2, frame_pb2

Priority = Literal["interactive", "batch"]
Policy = Literal["block", "drop_oldest"]

DAY_S = 86_400.0


@dataclass(frozen=True)
class Calibration:
    """How a picture was taken. The pixel size is mandatory, the rest helps if known.

    sampling_A: pixel size at the specimen [Å/px]; counts_per_electron: detector counts for one incident electron;
    dose_per_A2: mean incident electrons in vacuum, per frame [e/Å²]; beam_energy_kev [keV];
    spherical_aberration_um: C3 [µm], negative as in the negative-Cs technique.
    """

    sampling_A: float
    counts_per_electron: float | None = None
    dose_per_A2: float | None = None
    beam_energy_kev: float | None = None
    spherical_aberration_um: float | None = None

    def message(self) -> frame_pb2.Calibration:
        """For the wire. InvalidFrame unless the sampling can be a pixel size (1.0 is a blank header's default)."""
        message = frame_pb2.Calibration(
            sampling_angstrom_per_px=self.sampling_A,
            counts_per_electron=self.counts_per_electron,
            dose_electrons_per_angstrom2=self.dose_per_A2,
            beam_energy_kev=self.beam_energy_kev,
            spherical_aberration_um=self.spherical_aberration_um,
        )
        try:
            contract.check_calibration(message)
        except contract.InvalidFrame as error:
            raise from_contract(error) from None
        return message

    @classmethod
    def from_message(cls, message: frame_pb2.Calibration) -> "Calibration":
        """From the wire."""

        def optional(name: str) -> float | None:
            return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]

        return cls(
            message.sampling_angstrom_per_px,
            optional("counts_per_electron"),
            optional("dose_electrons_per_angstrom2"),
            optional("beam_energy_kev"),
            optional("spherical_aberration_um"),
        )


def as_calibration(calibration: Calibration | float) -> Calibration:
    """A bare number is the sampling [Å/px]."""
    return calibration if isinstance(calibration, Calibration) else Calibration(float(calibration))


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a stream with what differs from the stream: all but `image` may be left out.

    image: array [height, width] of u8, u16, i16, f16 or f32; sequence: strictly increasing within a stream, by
    default one more than the frame before.
    """

    image: NDArray[Any]
    sequence: int | None = None
    calibration: Calibration | None = None
    capture_time: datetime | None = None


@dataclass(frozen=True)
class Detail:
    """What to send back besides the columns: arrays as large as the frame, and `probabilities` eleven times that."""

    depth_map: bool = False
    confidence_map: bool = False
    probabilities: bool = False


@dataclass(frozen=True)
class Options:
    """What is asked, the same for one frame and for a stream of them.

    model: family, for example "ceo2-110", by default the service's, or "auto", of each frame the one whose lattice it
    shows; version: exact, by default what `stable` points at; strict: a frame outside the model's domain is an error (a
    Gap in a stream) instead of a refused result.
    """

    model: str = ""
    version: str = ""
    detail: Detail = field(default_factory=Detail)
    strict: bool = False
    priority: Priority = "interactive"

    def with_detail(self, **changes: bool) -> "Options":
        """These options with other detail."""
        return replace(self, detail=replace(self.detail, **changes))

    def message(self) -> estimator_pb2.EstimateOptions:
        """For the wire. InvalidFrame for an unknown priority."""
        return estimator_pb2.EstimateOptions(
            family=self.model,
            version=self.version,
            detail=frame_pb2.Detail(
                depth_map=self.detail.depth_map,
                confidence_map=self.detail.confidence_map,
                probabilities=self.detail.probabilities,
            ),
            strict=self.strict,
            priority=_named(_PRIORITIES, "priority", self.priority),
        )


def stream_request(
    name: str,
    calibration: Calibration | float | None,
    options: Options | None,
    policy: Policy,
    frame_deadline_s: float | None,
) -> estimator_pb2.Open:
    """What opens a stream, for the wire. InvalidFrame for an unknown policy or a deadline that is none."""
    request = estimator_pb2.Open(
        stream=name,
        calibration=None if calibration is None else as_calibration(calibration).message(),
        options=(options or Options()).message(),
        drop_policy=_named(_POLICIES, "policy", policy),
    )
    if frame_deadline_s is not None:
        if not 0 < frame_deadline_s < DAY_S:
            raise InvalidFrame(f"frame_deadline_s: {frame_deadline_s:g} is not between 0 and a day", "frame_deadline_s")
        request.frame_deadline.FromNanoseconds(round(frame_deadline_s * 1e9))
    return request


_PRIORITIES = {
    "interactive": estimator_pb2.PRIORITY_INTERACTIVE,
    "batch": estimator_pb2.PRIORITY_BATCH,
}
_POLICIES = {
    "block": estimator_pb2.DROP_POLICY_BLOCK,
    "drop_oldest": estimator_pb2.DROP_POLICY_DROP_OLDEST,
}


V = TypeVar("V")


def _named(values: dict[str, V], field: str, name: str) -> V:
    if name not in values:
        raise InvalidFrame(f"{field}: {name!r} is unknown; one of {', '.join(values)}", field=field)
    return values[name]
