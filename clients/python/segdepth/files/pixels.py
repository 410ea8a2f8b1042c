"""Pixel types of files to those of the wire, without changing a value that matters."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import UnreadableFile

_SENT_AS: dict[str, str] = {
    "b1": "u1",
    "u1": "u1",
    "i1": "i2",
    "u2": "u2",
    "i2": "i2",
    "f2": "f2",
    "f4": "f4",
    # These only where every value fits: see Converter.
    "u4": "f4",
    "i4": "f4",
    "u8": "f4",
    "i8": "f4",
    "f8": "f4",
}

_EXACT_IN_F32 = 2**24
"""Integers up to here are exact as f32."""


class Converter:
    """Converts frames of one stored type.

    8, 16 bit integers, f16 and f32 are kept (i8 as i16). Wider integers become f32 where that is exact, f64 becomes
    f32, rounded by at most 6e-8 of its value. Raises UnreadableFile for any other type, and for values that do not fit.
    """

    def __init__(self, stored: np.dtype[Any]):
        name = _SENT_AS.get(stored.str[1:] if stored.kind != "b" else "b1")
        if name is None:
            raise UnreadableFile(f"pixels of type {stored} are not a picture; convert to u8, u16, i16, f16 or f32")
        self.to: np.dtype[Any] = np.dtype(name)
        self._checked = (stored.kind in "iuf" and stored.itemsize > self.to.itemsize) or stored.str[1:] in ("u4", "i4")

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """A frame in the type `to`."""
        if self._checked:
            self._check(image)
        return np.ascontiguousarray(image, self.to)

    def _check(self, image: NDArray[Any]) -> None:
        if image.dtype.kind in "iu":
            if image.size and (int(image.max()) > _EXACT_IN_F32 or int(image.min()) < -_EXACT_IN_F32):
                raise UnreadableFile(
                    f"values from {image.min()} to {image.max()} do not fit f32 exactly; convert the file to u16 or f32"
                )
            return
        finite = image[np.isfinite(image)]
        if finite.size and np.abs(finite).max() > np.finfo("f4").max:
            raise UnreadableFile(f"values up to {np.abs(finite).max():g} do not fit f32; scale the file")
