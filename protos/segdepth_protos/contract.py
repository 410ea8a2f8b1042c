"""The rules of the frame contract that a message's type cannot state.

Every room that touches a frame (SDK, gateway, replica, local mode) asks here, so that the same frame gets the same
answer everywhere.
"""

import math
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth_protos.v1 import frame_pb2 as pb

AUTO = "auto"
"""Instead of a family's name: the family whose lattice the frame shows."""

CLASSES = 11
"""Classes of the depth head: 0 (background) to 9 atoms, and ten or more."""

REFUSED_DEPTH = 255
"""Value of the depth map throughout a refused frame."""

PACK_BYTES = 4 * 1024 * 1024
"""A pack of several frames is no larger than this."""

MESSAGE_BYTES = 64 * 1024 * 1024
"""Largest gRPC message, on both sides."""

FRAME_BYTES = MESSAGE_BYTES - 64 * 1024
"""Largest single frame: what a message holds, less room for its other fields."""

SAMPLING_LIMITS = (0.005, 5.0)
"""Sampling [Å/px] outside of which a number is a slip of the unit (nm, pm), not a pixel size."""

MISSING_SAMPLING = 1.0
"""A silent 1.0 Å/px is what a blank header says: refused."""

MTF_VALUES = (2, 4096)
"""Numbers that a modulation transfer may have, from zero frequency to Nyquist's."""

MTF_LARGEST = 1.5
"""A sharpened detector's may rise above 1, but no further."""

MTF_AT_ZERO = (0.9, 1.1)
"""Its first value: a modulation transfer is 1 at zero frequency, but for how it was measured."""

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
)

DTYPES: dict[pb.DataType.ValueType, np.dtype[Any]] = {
    pb.DATA_TYPE_U8: np.dtype("u1"),
    pb.DATA_TYPE_U16: np.dtype("<u2"),
    pb.DATA_TYPE_I16: np.dtype("<i2"),
    pb.DATA_TYPE_F32: np.dtype("<f4"),
    pb.DATA_TYPE_F16: np.dtype("<f2"),
}


class UnknownModel(LookupError):
    """No such family or version in the store, or not allowed to serve. The message says which there are."""


class OutsideDomain(RuntimeError):
    """A frame outside what the model knows, where the caller asked for `strict`. FAILED_PRECONDITION on the wire."""


class InvalidFrame(ValueError):
    """A frame that is not a frame. `field` names the culprit, the message says what would be right."""

    def __init__(self, field: str, message: str):
        super().__init__(f"{field}: {message}")
        self.field = field
        self._message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self._message)


def check_calibration(calibration: pb.Calibration) -> None:
    """Raise InvalidFrame unless the sampling is stated and can be a pixel size."""
    sampling = calibration.sampling_angstrom_per_px
    low, high = SAMPLING_LIMITS
    if sampling == 0:
        raise InvalidFrame(
            "calibration.sampling_angstrom_per_px",
            "missing; state the pixel size at the specimen in Å/px (typically 0.05-0.25)",
        )
    if sampling == MISSING_SAMPLING:
        raise InvalidFrame(
            "calibration.sampling_angstrom_per_px",
            "exactly 1.0 Å/px is the default of a blank header, not a measured pixel size; state the true one",
        )
    if not (math.isfinite(sampling) and low <= sampling <= high):
        raise InvalidFrame(
            "calibration.sampling_angstrom_per_px",
            f"{sampling:g} Å/px cannot be a pixel size at the specimen ({low:g}-{high:g} Å/px); is the unit nm or pm?",
        )
    for field, value in (
        ("counts_per_electron", calibration.counts_per_electron),
        ("dose_electrons_per_angstrom2", calibration.dose_electrons_per_angstrom2),
        ("beam_energy_kev", calibration.beam_energy_kev),
    ):
        if calibration.HasField(field) and not (math.isfinite(value) and value > 0):  # type: ignore[arg-type]
            raise InvalidFrame(f"calibration.{field}", f"{value:g} is not a positive number; leave it out if unknown")
    for field, value in (
        ("spherical_aberration_um", calibration.spherical_aberration_um),
        ("black_level", calibration.black_level),
    ):
        if not math.isfinite(value):
            raise InvalidFrame(f"calibration.{field}", f"{value:g} is not a number; leave it out if unknown")
    if calibration.modulation_transfer:
        _check_mtf(calibration.modulation_transfer)


def _check_mtf(values: Sequence[float]) -> None:
    field = "calibration.modulation_transfer"
    fewest, most = MTF_VALUES
    if not fewest <= len(values) <= most:
        raise InvalidFrame(
            field, f"{len(values)} values; send {fewest} to {most}, evenly spaced from 0 to the Nyquist frequency"
        )
    low, high = MTF_AT_ZERO
    if not low <= values[0] <= high:
        raise InvalidFrame(field, f"{values[0]:g} at zero frequency, where it is 1 by definition; divide by that value")
    wrong = next((value for value in values if not 0 <= value <= MTF_LARGEST), None)
    if wrong is not None:
        raise InvalidFrame(field, f"{wrong:g} is no transfer; each value is from 0 to {MTF_LARGEST:g}")


def check_frame(frame: pb.Frame) -> None:
    """Raise InvalidFrame unless dtype, shape and length agree. Reads no pixel."""
    dtype = DTYPES.get(frame.dtype)
    if dtype is None:
        raise InvalidFrame("frame.dtype", f"{frame.dtype} is unknown; send one of U8, U16, I16, F32, F16")
    if frame.height < 2 or frame.width < 2:
        raise InvalidFrame("frame.height, frame.width", f"{frame.height}x{frame.width} px is not a picture")
    need = frame.height * frame.width * dtype.itemsize
    if need > FRAME_BYTES:
        raise InvalidFrame(
            "frame.height, frame.width",
            f"{frame.height}x{frame.width} {dtype} is {need / 1e6:.0f} MB, a frame may have {FRAME_BYTES / 1e6:.0f} MB;"
            " send it in parts or binned",
        )
    if len(frame.data) != need:
        raise InvalidFrame(
            "frame.data",
            f"{len(frame.data)} bytes, but {frame.height}x{frame.width} {dtype} has {need}",
        )


def decode_pixels(frame: pb.Frame) -> NDArray[Any]:
    """Pixels of a checked frame [height, width], without a copy (read-only)."""
    return np.frombuffer(frame.data, DTYPES[frame.dtype]).reshape(frame.height, frame.width)


def data_type(dtype: np.dtype[Any]) -> pb.DataType.ValueType:
    """The wire's name of a numpy dtype, InvalidFrame if it has none."""
    for name, known in DTYPES.items():
        if known == dtype.newbyteorder("<"):
            return name
    raise InvalidFrame("frame.dtype", f"{dtype} is not a pixel type; convert to u8, u16, i16, f32 or f16")


def encode_frame(image: NDArray[Any], sequence: int, calibration: pb.Calibration | None = None) -> pb.Frame:
    """An array [height, width] as a frame."""
    if image.ndim != 2:
        raise InvalidFrame("frame", f"an array of shape {image.shape} is not one frame [height, width]")
    name = data_type(image.dtype)
    frame = pb.Frame(
        sequence=sequence,
        height=image.shape[0],
        width=image.shape[1],
        dtype=name,
        data=np.ascontiguousarray(image, DTYPES[name]).tobytes(),
    )
    if calibration is not None:
        frame.calibration.CopyFrom(calibration)
    return frame


def is_loopback(host: str) -> bool:
    """Whether an address is reachable from this machine alone. A name other than localhost is taken not to be."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
