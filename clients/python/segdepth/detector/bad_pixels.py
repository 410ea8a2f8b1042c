"""Pixels of a detector that say nothing of the specimen."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import InvalidFrame


@dataclass(frozen=True, eq=False)
class BadPixels:
    """Pixels that are dead, hot or missing.

    mask: [height, width], not 0 where one is; pixels: (x, y) of single ones; rows, columns: whole lines of the image,
    by y and by x. All count from 0 at the top left.
    """

    mask: NDArray[Any] | None = None
    pixels: tuple[tuple[int, int], ...] = ()
    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()

    def of(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """All of them in an image [height, width]. InvalidFrame for one that lies outside."""
        bad = np.zeros(shape, bool) if self.mask is None else np.asarray(self.mask) != 0
        height, width = shape
        outside = [f"[{x}, {y}]" for x, y in self.pixels if not (0 <= x < width and 0 <= y < height)]
        outside += [f"row {y}" for y in self.rows if not 0 <= y < height]
        outside += [f"column {x}" for x in self.columns if not 0 <= x < width]
        if outside:
            raise InvalidFrame(
                f"bad_pixels: {outside[0]} lies outside of an image of {width} x {height} px", "bad_pixels"
            )
        for x, y in self.pixels:
            bad[y, x] = True
        bad[list(self.rows), :] = True
        bad[:, list(self.columns)] = True
        return bad
