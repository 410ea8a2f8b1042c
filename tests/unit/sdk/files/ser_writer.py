"""A writer of SER series, from their documented layout, and of the EMI file beside them."""

import struct
from pathlib import Path

import numpy as np

TYPES = {"u1": 1, "u2": 2, "u4": 3, "i1": 4, "i2": 5, "i4": 6, "f4": 7, "f8": 8, "c8": 9}
IMAGES, SPECTRA = 0x4122, 0x4120


def ser_file(
    elements: np.ndarray, delta: tuple[float, float] = (1e-11, 1e-11), version: int = 0x0220, scan: int = 1, start=0
) -> bytes:
    """A series of `elements`, images [n, height, width] or spectra [n, length].

    delta: size of a pixel in x and y [m] (or of a channel); scan: dimensions of the scan; start: time of the first
    element [s], two seconds pass to the next.
    """
    wide = version >= 0x0220
    images = elements.ndim == 3
    head = struct.pack("<3h", 0x4949, 0x0197, version)
    head += struct.pack("<4i", IMAGES if images else SPECTRA, 0x4152, len(elements), len(elements))
    dimensions = b"".join(_dimension(len(elements)) for _ in range(scan))
    first = len(head) + (8 if wide else 4) + 4 + len(dimensions)
    bodies = [_element(element, delta) for element in elements]
    tags = [struct.pack("<hhI", 0x4152, 0, start + 2 * number) for number in range(len(elements))]
    table_size = 2 * len(elements) * (8 if wide else 4)
    places, place = [], first + table_size
    for body in [*bodies, *tags]:
        places.append(place)
        place += len(body)
    table = np.array(places, "<i8" if wide else "<i4").tobytes()
    return head + struct.pack("<qi" if wide else "<ii", first, scan) + dimensions + table + b"".join(bodies + tags)


def emi_file(path: Path, voltage: str = "200000") -> None:
    """Binary and XML, mixed."""
    conditions = f"<MicroscopeConditions><AcceleratingVoltage>{voltage}</AcceleratingVoltage></MicroscopeConditions>"
    info = f"<ObjectInfo><ExperimentalConditions>{conditions}</ExperimentalConditions></ObjectInfo>"
    path.write_bytes(b"JK\0\2" + bytes(40) + info.encode() + b"\xff" * 9)


def _dimension(size: int) -> bytes:
    return struct.pack("<iddii", size, 0.0, 1.0, 0, 6) + b"Number" + struct.pack("<i", 0)


def _element(element: np.ndarray, delta: tuple[float, float]) -> bytes:
    kind = TYPES[element.dtype.str[1:]]
    if element.ndim == 1:
        return struct.pack("<ddihi", 0.0, delta[0], 0, kind, len(element)) + element.tobytes()
    height, width = element.shape
    head = struct.pack("<ddiddihii", 0.0, delta[0], 0, 0.0, delta[1], 0, kind, width, height)
    # The lowest row comes first.
    return head + element[::-1].tobytes()
