"""depth.tif and confidence.tif: a page a frame, with the pixel size as ImageJ writes it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import NotInstalled
from segdepth.export.atomic import AtomicFile, cannot_write
from segdepth.files import Movie
from segdepth.results import Answer, FrameResult
from segdepth_protos.contract import REFUSED_DEPTH

DEPTH_SHOWN, CONFIDENCE_SHOWN = (0, 10), (0, 1)
"""What a viewer shows from black to white: 255 of a refused frame would make all others black."""

_CLASSIC_TIFF_BYTES = 2**32 - 2**25


def maps_of(answer: Answer, shape: tuple[int, int]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Depth and confidence [height, width] of each frame of an answer, 255 and NaN where there is none."""
    no_depth = np.full(shape, REFUSED_DEPTH, np.uint8)
    no_confidence = np.full(shape, np.nan, np.float32)
    if not isinstance(answer, FrameResult):
        for _ in range(len(answer)):
            yield no_depth, no_confidence
        return
    depth, confidence = answer.depth_map, answer.confidence_map
    yield no_depth if depth is None else depth, no_confidence if confidence is None else confidence


class TiffMaps:
    """The maps of a movie in two files. Raises CannotWrite."""

    def __init__(self, depth: AtomicFile, confidence: AtomicFile, movie: Movie):
        self._shape = movie.shape
        self._depth = MapWriter(depth, movie, np.dtype("u1"), DEPTH_SHOWN)
        self._confidence = MapWriter(confidence, movie, np.dtype("f4"), CONFIDENCE_SHOWN)

    def add(self, answer: Answer) -> None:
        """The next answer."""
        for depth, confidence in maps_of(answer, self._shape):
            self._depth.add(depth)
            self._confidence.add(confidence)

    def finish(self) -> None:
        """No frame follows."""
        self._depth.finish()
        self._confidence.finish()


class MapWriter:
    """A stack of maps, written as they come, one behind the other as ImageJ wants them. Large ones are BigTIFF."""

    def __init__(self, file: AtomicFile, movie: Movie, dtype: np.dtype[Any], shown: tuple[int, int]):
        try:
            import tifffile
        except ImportError as error:
            raise NotInstalled("TIFF output needs: pip install 'segdepth[export]'") from error
        size = len(movie) * movie.shape[0] * movie.shape[1] * dtype.itemsize
        self._file = file
        self._tiff = tifffile.TiffWriter(file.handle, bigtiff=size > _CLASSIC_TIFF_BYTES)
        self._pixels_per_nm = 10 / movie.calibration.sampling_A
        self._description = _imagej(len(movie), movie.header.interval_s, shown)

    def add(self, page: NDArray[Any]) -> None:
        """The next page [height, width]."""
        try:
            self._tiff.write(
                page,
                photometric="minisblack",
                contiguous=True,
                metadata=None,
                description=self._description,
                software="segdepth",
                resolution=(self._pixels_per_nm, self._pixels_per_nm),
                resolutionunit="NONE",
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


def _imagej(frames: int, interval_s: float | None, shown: tuple[int, int]) -> str:
    """ImageJ's description of a stack: its unit is that of the resolution tags."""
    lines = ["ImageJ=1.54f", "unit=nm", f"min={shown[0]}.0", f"max={shown[1]}.0"]
    if frames > 1:
        lines[1:1] = [f"images={frames}", f"frames={frames}", "hyperstack=true", "mode=grayscale", "loop=false"]
        lines += [f"finterval={interval_s:.9g}", "tunit=sec"] if interval_s else []
    return "\n".join([*lines, ""])
