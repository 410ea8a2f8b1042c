"""Frames as bytes of the wire, with one copy of the pixels instead of protobuf's three.

A message may be written in parts, field by field: the small fields by protobuf, the pixels and the nesting by hand.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth_protos import contract
from segdepth_protos.v1 import estimator_pb2, frame_pb2

_LENGTH_DELIMITED = 2


def encode(
    image: NDArray[Any],
    sequence: int,
    calibration: frame_pb2.Calibration | None = None,
    capture_time: datetime | None = None,
) -> tuple[bytes, bytes]:
    """An array [height, width] as (all fields but the pixels, the pixels): joined they are a serialised Frame.

    Copies the pixels, so that a camera may reuse its buffer. Raises contract.InvalidFrame.
    """
    if image.ndim != 2:
        raise contract.InvalidFrame("frame", f"an array of shape {image.shape} is not one frame [height, width]")
    name = contract.data_type(image.dtype)
    height, width = image.shape
    frame = frame_pb2.Frame(sequence=sequence, height=height, width=width, dtype=name)
    if calibration is not None:
        frame.calibration.CopyFrom(calibration)
    if capture_time is not None:
        frame.capture_time.FromDatetime(capture_time.astimezone(UTC))
    wire_dtype = contract.DTYPES[name]
    _check_size(height, width, wire_dtype)
    pixels = (image if image.dtype == wire_dtype else image.astype(wire_dtype)).tobytes()
    return frame.SerializeToString() + _PIXELS + varint(len(pixels)), pixels


def _check_size(height: int, width: int, dtype: np.dtype[Any]) -> None:
    # The contract's own words for a frame that is no picture or does not fit a message, before its pixels are copied.
    if min(height, width) < 2 or height * width * dtype.itemsize > contract.FRAME_BYTES:
        contract.check_frame(frame_pb2.Frame(height=height, width=width, dtype=contract.data_type(dtype)))


def pack(frames: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Encoded frames as one serialised EstimateStreamRequest."""
    parts: list[bytes] = []
    total = 0
    for head, pixels in frames:
        size = len(head) + len(pixels)
        prefix = _FRAME + varint(size) + head
        total += len(prefix) + len(pixels)
        parts += (prefix, pixels)
    return b"".join((_PACK, varint(total), *parts))


def varint(value: int) -> bytes:
    """A length as protobuf writes it: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _tag(message: Any, field: str) -> bytes:
    return varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | _LENGTH_DELIMITED)


_PIXELS = _tag(frame_pb2.Frame, "data")
_FRAME = _tag(estimator_pb2.FramePack, "frames")
_PACK = _tag(estimator_pb2.EstimateStreamRequest, "frames")
