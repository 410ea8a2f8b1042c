"""A movie in the folder, opened while it may still be written."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.calibration import Calibration
from segdepth.detector import Detector
from segdepth.errors import InvalidFrame, UnreadableFile
from segdepth.files import Movie, open_movie
from segdepth.files.open_movie import check_size

DIGESTED_PIXELS = 65_536
"""Of a frame, evenly spread: noise makes any two frames differ in them."""


@dataclass(frozen=True)
class Opened:
    """A movie as it is stored, and the detector that corrects its frames. Close it, or use `with` on `movie`."""

    movie: Movie
    detector: Detector

    @classmethod
    def open(cls, path: Path, sampling_A: float | None, detector: Detector, *, growing: bool) -> "Opened":
        """Raises UnreadableFile, NotInstalled; also for frames of another shape than the detector's images."""
        movie = open_movie(path, sampling_A, growing=growing)
        try:
            detector.check_shape(movie.shape)
            if detector.corrects(movie.shape):
                # A corrected pixel has four bytes.
                check_size(movie.corrected(detector.correct, movie.calibration))
        except (InvalidFrame, UnreadableFile) as error:
            movie.close()
            raise UnreadableFile(f"{path}: {error}") from error
        return cls(movie, detector)

    @property
    def facts(self) -> str:
        """What must stay the same for as long as the movie grows."""
        height, width = self.movie.shape
        return f"{width} x {height} px of {self.movie.stored_dtype} at {self.calibration.sampling_A:g} Å/px"

    @property
    def calibration(self) -> Calibration:
        """Of every frame."""
        return self.detector.calibration(self.movie.calibration)

    def corrected(self, image: NDArray[Any]) -> NDArray[Any]:
        """A frame as it is sent."""
        return self.detector.correct(image) if self.detector.corrects(self.movie.shape) else image

    def written(self, index: int, image: NDArray[Any]) -> bool:
        """Whether frame `index` is there to its end.

        Writers that lay the whole file out beforehand leave zeros where no frame is yet. A last row of zeros is that of
        a whole frame only where a later frame has something.
        """
        if image[-1].any():
            return True
        later = {index + 1, len(self.movie) - 1} - {index}
        return any(self.movie.frame(other).any() for other in sorted(later) if other < len(self.movie))


def digest(image: NDArray[Any]) -> str:
    """Of a frame's pixels: the same for the same frame, whatever its file is called and whatever is appended to it."""
    pixels = np.ravel(image)[:: max(1, image.size // DIGESTED_PIXELS)]
    return blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16, key=str(image.shape).encode()).hexdigest()
