"""How a picture was taken, and what is asked of it."""

from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal, TypeVar

from numpy.typing import NDArray

from segdepth.arguments import checked, flag, image_array, number, numbers, text
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
    spherical_aberration_um: C3 [µm], negative as in the negative-Cs technique; black_level: what a pixel reads that no
    electron reached [counts], 0 where the dark image is subtracted; modulation_transfer: of the detector [0-1], at
    spatial frequencies evenly spaced from 0 to Nyquist's.
    """

    sampling_A: float
    counts_per_electron: float | None = None
    dose_per_A2: float | None = None
    beam_energy_kev: float | None = None
    spherical_aberration_um: float | None = None
    black_level: float | None = None
    modulation_transfer: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.modulation_transfer is not None:
            values = numbers(self.modulation_transfer, "calibration.modulation_transfer")
            object.__setattr__(self, "modulation_transfer", values or None)

    def stated(self) -> dict[str, float | str]:
        """What is known, by name; of the modulation transfer, which may have thousands of values, how many it has."""
        known = {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}
        if self.modulation_transfer is not None:
            known["modulation_transfer"] = f"{len(self.modulation_transfer)} values"
        return known

    def __repr__(self) -> str:
        return f"Calibration({', '.join(f'{name}={value!r}' for name, value in self.stated().items())})"

    def message(self) -> frame_pb2.Calibration:
        """For the wire. InvalidFrame unless the sampling can be a pixel size (1.0 is a blank header's default)."""

        def optional(name: str) -> float | None:
            value = getattr(self, name)
            return None if value is None else number(value, f"calibration.{name}")

        message = frame_pb2.Calibration(
            sampling_angstrom_per_px=number(self.sampling_A, "calibration.sampling_A", PIXEL_SIZE),
            counts_per_electron=optional("counts_per_electron"),
            dose_electrons_per_angstrom2=optional("dose_per_A2"),
            beam_energy_kev=optional("beam_energy_kev"),
            spherical_aberration_um=optional("spherical_aberration_um"),
            black_level=optional("black_level"),
            modulation_transfer=self.modulation_transfer,
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
            optional("black_level"),
            tuple(message.modulation_transfer) or None,
        )


PIXEL_SIZE = "a pixel size in Å/px, such as 0.1"


def as_calibration(calibration: Calibration | float) -> Calibration:
    """A bare number is the sampling [Å/px]. InvalidType for what is neither."""
    if isinstance(calibration, Calibration):
        return calibration
    return Calibration(number(calibration, "calibration", f"{PIXEL_SIZE}, or a Calibration"))


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a stream with what differs from the stream: all but `image` may be left out.

    image: array [height, width] of u8, u16, i16, f16 or f32; sequence: strictly increasing within a stream, by
    default one more than the frame before; calibration: a bare number is the pixel size [Å/px].
    """

    image: NDArray[Any]
    sequence: int | None = None
    calibration: Calibration | float | None = None
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

    model: family, for example "ceo2-110" (adapted to the instrument titan "ceo2-110@titan"), by default the service's,
    or "auto", of each frame the one whose lattice it shows; version: exact, by default what `stable` points at; strict:
    a frame outside the model's domain is an error (a Gap in a stream) instead of a refused result.
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
        """For the wire. InvalidFrame for an unknown priority, InvalidType."""
        detail = checked(self.detail, Detail, "options.detail", "a Detail, such as Detail(depth_map=True)")
        return estimator_pb2.EstimateOptions(
            family=text(self.model, "options.model"),
            version=text(self.version, "options.version"),
            detail=frame_pb2.Detail(
                **{name: flag(value, f"options.detail.{name}") for name, value in vars(detail).items()}
            ),
            strict=flag(self.strict, "options.strict"),
            priority=_named(_PRIORITIES, "priority", self.priority),
        )


def as_options(options: Options | None) -> Options:
    """None is all by default. InvalidType for what is no Options."""
    if options is None:
        return Options()
    return checked(options, Options, "options", 'an Options, such as Options(model="ceo2-110")')


def estimate_request(
    image: NDArray[Any], calibration: Calibration | float, options: Options
) -> estimator_pb2.EstimateRequest:
    """What asks about one frame [height, width], for the wire. InvalidFrame, InvalidType."""
    try:
        frame = contract.encode_frame(image_array(image), 0, as_calibration(calibration).message())
        contract.check_frame(frame)
    except contract.InvalidFrame as error:
        raise from_contract(error) from None
    return estimator_pb2.EstimateRequest(frame=frame, options=options.message())


def stream_request(
    name: str,
    calibration: Calibration | float | None,
    options: Options | None,
    policy: Policy,
    frame_deadline_s: float | None,
) -> estimator_pb2.Open:
    """What opens a stream, for the wire. InvalidFrame for an unknown policy or a deadline that is none."""
    request = estimator_pb2.Open(
        stream=text(name, "name"),
        calibration=None if calibration is None else as_calibration(calibration).message(),
        options=as_options(options).message(),
        drop_policy=_named(_POLICIES, "policy", policy),
    )
    if frame_deadline_s is not None:
        seconds = number(frame_deadline_s, "frame_deadline_s", "a time in seconds")
        if not 0 < seconds < DAY_S:
            raise InvalidFrame(f"frame_deadline_s: {seconds:g} is not between 0 and a day", "frame_deadline_s")
        request.frame_deadline.FromNanoseconds(round(seconds * 1e9))
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
    if text(name, field) not in values:
        raise InvalidFrame(f"{field}: {name!r} is unknown; one of {', '.join(values)}", field=field)
    return values[name]
