"""A tracked movie to look at: frame | counts | what changed, as GIF and as MP4."""

import itertools
import math
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import CannotWrite, NotInstalled, SegDepthError, UnreadableFile
from segdepth.export.atomic import AtomicFile, cannot_write
from segdepth.export.track_history import History
from segdepth.files import Movie
from segdepth.tracks.results import LIKELY, Change

MOST_PICTURES = 300

LOOKED_AT = 9
"""Frames over the movie that settle what is black and what white."""

PLAYED_FPS = 12

QUALITY = 7.0
"""Of an MP4, 1-10."""

COPIED = 1 << 20
"""Bytes that are copied at once."""

Progress = Callable[[int, int], None]
"""Told how many pictures are drawn, and of how many."""


@dataclass(frozen=True)
class Thinned:
    """Which frames of `frames` are drawn: every `step`-th, the last with them."""

    frames: int
    step: int

    @classmethod
    def to(cls, frames: int, most: int) -> "Thinned":
        """At most `most` of them."""
        return cls(frames, max(1, math.ceil(frames / most)))

    def __contains__(self, index: int) -> bool:
        return (self.frames - 1 - index) % self.step == 0

    def __len__(self) -> int:
        return math.ceil(self.frames / self.step)

    def __str__(self) -> str:
        if self.step == 1:
            return f"all {self.frames} frames"
        ordinal = {2: "every second", 3: "every third"}.get(self.step, f"every {self.step}th")
        return f"{len(self)} of {self.frames} frames, {ordinal}"


def check_installed(formats: Collection[str]) -> None:
    """Raises NotInstalled where a library of one of the formats png, gif and mp4 is missing."""
    if not {"png", "gif", "mp4"}.isdisjoint(formats):
        _check_installed("drawing", "export,files", "matplotlib", "PIL")
    if "mp4" in formats:
        _check_installed("MP4 output", "mp4", "imageio_ffmpeg")


def _check_installed(what: str, extra: str, *libraries: str) -> None:
    try:
        for library in libraries:
            import_module(library)
    except ImportError as error:
        raise NotInstalled(f"{what} needs: pip install 'segdepth[{extra}]'") from error


def draw_movie(
    movie: Movie,
    history: History,
    changes: Sequence[Change],
    gif: AtomicFile | None,
    mp4: AtomicFile | None,
    interval_s: float | None = None,
    progress: Progress | None = None,
) -> Thinned | None:
    """Draw a movie's pictures once, into the files that are wanted; which frames they show, None for no frames at all.

    interval_s: from one frame to the next [s]; of libraries see `check_installed`. Raises CannotWrite; UnreadableFile
    where no frame of the movie can be read.
    """
    frames = sum(1 for _ in history)
    if not frames:
        return None
    thinned = Thinned.to(frames, MOST_PICTURES)
    pictures = _pictures(movie, history, changes, thinned, interval_s, progress)
    if mp4 is not None:
        pictures = _recorded(pictures, mp4)
    if gif is not None:
        _write_gif(pictures, gif)
    else:
        for _ in pictures:
            pass
    return thinned


def _pictures(
    movie: Movie,
    history: History,
    changes: Sequence[Change],
    thinned: Thinned,
    interval_s: float | None,
    progress: Progress | None,
) -> Iterator[Any]:
    from segdepth.export.track_panels import Brightness, Panels

    sampling_A = movie.calibration.sampling_A
    likely = [change for change in changes if change.p_changed >= LIKELY]
    panels = Panels(movie.shape, sampling_A, history.elements, likely, thinned.frames, interval_s)
    brightness = Brightness.of([panels.prepared(image) for image in _samples(movie)])
    drawn = 0
    for index, record in enumerate(history):
        if index not in thinned:
            continue
        image = readable(movie, record.sequence)
        yield panels.picture(None if image is None else brightness.grey(panels.prepared(image)), record)
        drawn += 1
        if progress:
            progress(drawn, len(thinned))


def _samples(movie: Movie) -> list[NDArray[Any]]:
    """A few frames over the movie. Raises UnreadableFile if none can be read."""
    at = np.unique(np.linspace(0, len(movie) - 1, LOOKED_AT).astype(int))
    found = [image for index in at if (image := readable(movie, int(index))) is not None]
    return found or [movie.frame(0)]


def readable(movie: Movie, index: int) -> NDArray[Any] | None:
    """A frame, None where its bytes are damaged: tracking has it as missing."""
    try:
        return movie.frame(index)
    except UnreadableFile:
        return None


def _write_gif(pictures: Iterator[Any], file: AtomicFile) -> None:
    """Of one palette for all: nothing flickers, and what stands still costs nothing."""
    from PIL import Image

    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette())
    reduced = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    first = next(reduced)
    look: dict[str, Any] = {"duration": round(100 / PLAYED_FPS) * 10, "loop": 0, "optimize": False}
    try:
        first.save(file.handle, "GIF", save_all=True, append_images=reduced, **look)
    except OSError as error:
        if isinstance(error, SegDepthError):
            raise
        raise cannot_write(file.path, error) from error
    file.finish()


def _palette() -> list[int]:
    """Colours of counts and of changes in every strength, and the rest greys."""
    from segdepth.export.track_panels import BACKGROUND, GAINED, LOST, TEXT, count_colours

    strengths = np.linspace(0.2, 1, 9)[:, None]
    faded = [strengths * np.array(one) + (1 - strengths) * np.array(BACKGROUND) for one in (LOST, GAINED)]
    known = np.concatenate([count_colours(), *faded, [BACKGROUND, TEXT]])
    greys = np.repeat(np.linspace(0, 255, 36)[:, None], 3, axis=1)
    return [int(value) for value in np.concatenate([known, greys]).ravel()]


def _recorded(pictures: Iterator[Any], file: AtomicFile) -> Iterator[Any]:
    """The same pictures, while they go into an MP4, too."""
    import imageio_ffmpeg

    first = next(pictures)
    sent = 0
    with _folder(file) as folder:
        made = Path(folder) / "movie.mp4"
        look: dict[str, Any] = {
            "fps": PLAYED_FPS,
            "quality": QUALITY,
            "macro_block_size": 2,
            "ffmpeg_log_level": "fatal",
        }
        writer = imageio_ffmpeg.write_frames(str(made), first.size, **look)
        try:
            writer.send(None)
            for picture in itertools.chain([first], pictures):
                writer.send(picture.tobytes())
                sent += 1
                yield picture
        except OSError as error:
            if isinstance(error, SegDepthError):
                raise
            raise CannotWrite(error.errno, f"{file.path}: ffmpeg ended before its last picture") from error
        finally:
            writer.close()
        _check(made, sent, file.path)
        with made.open("rb") as whole:
            while part := whole.read(COPIED):
                file.write(part)
    file.finish()


def _folder(file: AtomicFile) -> "tempfile.TemporaryDirectory[str]":
    try:
        return tempfile.TemporaryDirectory(dir=file.path.parent, prefix=f".{file.path.name}.")
    except OSError as error:
        raise cannot_write(file.path, error) from error


def _check(made: Path, sent: int, path: Path) -> None:
    """CannotWrite unless all is in it: ffmpeg says a full disk to nobody but its log."""
    import imageio_ffmpeg

    try:
        frames, _ = imageio_ffmpeg.count_frames_and_secs(str(made))
    except (OSError, RuntimeError) as error:
        raise CannotWrite(0, f"{path}: ffmpeg wrote no movie; is the disk full?") from error
    if frames != sent:
        raise CannotWrite(0, f"{path}: ffmpeg wrote {frames} of {sent} pictures; is the disk full?")
