"""depth.tif and confidence.tif: a page a frame."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import NotInstalled
from segdepth.export.atomic import AtomicFile, cannot_write

_CLASSIC_TIFF_BYTES = 2**32 - 2**25
_LARGEST_RATIONAL = 2**32 - 1
_ANGSTROM_PER_CM = 1e8


class MapWriter:
    """A stack of maps, written as they come. `size` is the stack's expected size in bytes: large ones are BigTIFF."""

    def __init__(self, file: AtomicFile, size: int):
        try:
            import tifffile
        except ImportError as error:
            raise NotInstalled("TIFF output needs: pip install 'segdepth[export]'") from error
        self._file = file
        self._tiff = tifffile.TiffWriter(file.handle, bigtiff=size > _CLASSIC_TIFF_BYTES)

    def add(self, page: NDArray[Any], sampling_A: float) -> None:
        """The next page [height, width]."""
        description = json.dumps({"sampling_A_per_px": sampling_A})
        try:
            self._tiff.write(
                page,
                photometric="minisblack",
                contiguous=False,
                metadata=None,
                description=description,
                software="segdepth",
                **_resolution(sampling_A),
            )
        except OSError as error:
            raise cannot_write(self._file.path, error) from error

    def finish(self) -> None:
        """No page follows."""
        try:
            self._tiff.close()
        except OSError as error:
            raise cannot_write(self._file.path, error) from error
        self._file.finish()


def _resolution(sampling_A: float) -> dict[str, Any]:
    pixels_per_cm = _ANGSTROM_PER_CM / sampling_A
    # The tag's 32 bits end at 0.0233 Å/px; the description always holds the sampling.
    if pixels_per_cm > _LARGEST_RATIONAL:
        return {}
    return {"resolution": (pixels_per_cm, pixels_per_cm), "resolutionunit": "CENTIMETER"}


def no_depth(shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The page of a frame without an answer."""
    return np.full(shape, 255, np.uint8)


def no_confidence(shape: tuple[int, int]) -> NDArray[np.float32]:
    """The page of a frame without an answer."""
    return np.full(shape, np.nan, np.float32)
