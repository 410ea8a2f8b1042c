"""Where `segdepth track` takes its frames from."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from segdepth.calibration import Calibration, Frame, Policy
from segdepth.detector import Detector
from segdepth.files import Movie


@dataclass(frozen=True)
class TrackSource:
    """Frames of a file, or of something that runs.

    name: for people; stem: what its results' files are called; movie: of a file; total: how many frames, None where
    nobody knows; calibration: for frames that bring none; close: ends a running source, from any thread.
    """

    name: str
    stem: str
    frames: Iterable[Frame | NDArray[Any]]
    calibration: Calibration | None = None
    movie: Movie | None = None
    total: int | None = None
    close: Callable[[], None] = lambda: None

    @property
    def live(self) -> bool:
        """Whether its frames come when they come, and nobody can have them again."""
        return self.movie is None

    @property
    def policy(self) -> Policy:
        """A running source does not wait; a file does."""
        return "drop_oldest" if self.live else "block"


@contextmanager
def open_source(source: str, camera: Detector, sampling_A: float | None) -> Iterator[TrackSource]:
    """The source of that name. Raises UnreadableFile, and what a running source does."""
    with camera.open_movie(source, sampling_A) as movie:
        yield TrackSource(movie.path.name, movie.path.stem, movie, movie.calibration, movie, len(movie))
