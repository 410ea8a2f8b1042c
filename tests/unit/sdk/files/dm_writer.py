"""A writer of DM3 and DM4 files, from their documented layout: a tree of named tags, all numbers of it big-endian.

Version 3 counts in u32 and version 4 in u64; the values of tags are little-endian.
"""

import struct
from typing import Any

import numpy as np

TAG_TYPES = {"i2": 2, "i4": 3, "u2": 4, "u4": 5, "f4": 6, "f8": 7, "b1": 8, "i1": 9, "u1": 10}
DATA_TYPES = {
    "i2": 1,
    "f4": 2,
    "c8": 3,
    "u1": 6,
    "i4": 7,
    "i1": 9,
    "u2": 10,
    "u4": 11,
    "f8": 12,
    "c16": 13,
    "b1": 14,
}
RGB = 23


def dm_file(images: list[dict[str, Any]], version: int = 4, thumbnail: bool = True) -> bytes:
    """A file of `images`, see `dm_image`; the first is the thumbnail unless told otherwise."""
    pictures = [dm_image(np.zeros((8, 8), "u4"), data_type=RGB), *images] if thumbnail else images
    tree = {"ImageList": pictures, "Thumbnails": [{"ImageIndex": 0}] if thumbnail else []}
    body = _group(tree, version)
    head = struct.pack(">IQI" if version == 4 else ">III", version, len(body), 1)
    return head + body + bytes(8)


def dm_image(
    pixels: np.ndarray,
    scales: tuple[float, ...] = (0.01, 0.01, 0.01),
    units: tuple[str, ...] = ("nm", "nm", ""),
    data_type: int | None = None,
    brightness: tuple[float, str] = (1.0, ""),
    **tags: Any,
) -> dict[str, Any]:
    """An image's tags; `scales` and `units` are those of x, y and frames; `tags` are its ImageTags."""
    data = pixels.astype(pixels.dtype.newbyteorder("<"))
    # Complex numbers are structures in a file, here they are their bytes.
    raw = data.ravel() if data.dtype.kind != "c" else data.ravel().view("<f4")
    dimensions = [
        {"Origin": np.float32(0), "Scale": np.float32(scale), "Units": unit}
        for scale, unit, _ in zip(scales, units, pixels.shape, strict=False)
    ]
    return {
        "ImageData": {
            "Calibrations": {
                "Brightness": {"Scale": np.float32(brightness[0]), "Units": brightness[1]},
                "Dimension": dimensions,
            },
            "Data": raw,
            "DataType": DATA_TYPES[pixels.dtype.str[1:]] if data_type is None else data_type,
            "Dimensions": [np.uint32(size) for size in reversed(pixels.shape)],
        },
        "ImageTags": tags,
        "Name": "picture",
    }


def _group(tags: dict[str, Any] | list[Any], version: int) -> bytes:
    entries = list(tags.items()) if isinstance(tags, dict) else [("", value) for value in tags]
    head = struct.pack(">bbQ" if version == 4 else ">bbI", 1, 0, len(entries))
    return head + b"".join(_entry(name, value, version) for name, value in entries)


def _entry(name: str, value: Any, version: int) -> bytes:
    nested = isinstance(value, dict | list)
    body = _group(value, version) if nested else _value(value, version)
    head = struct.pack(">BH", 20 if nested else 21, len(name)) + name.encode("latin-1")
    return head + (struct.pack(">Q", len(body)) if version == 4 else b"") + body


def _value(value: Any, version: int) -> bytes:
    if isinstance(value, str):
        # Text is an array of u16.
        value = np.frombuffer(value.encode("utf-16-le"), "<u2")
    if isinstance(value, int):
        value = np.uint32(value)
    if isinstance(value, float):
        value = np.float64(value)
    kind = TAG_TYPES[value.dtype.str[1:]]
    info = [kind] if value.ndim == 0 else [20, kind, value.size]
    count = "Q" if version == 4 else "I"
    return b"%%%%" + struct.pack(f">{1 + len(info)}{count}", len(info), *info) + value.tobytes()
