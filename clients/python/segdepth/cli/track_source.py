"""Where `segdepth track` takes its frames from."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from segdepth.calibration import Calibration, Frame, Policy
from segdepth.cli.console import print_note
from segdepth.detector import Detector
from segdepth.errors import InvalidFrame
from segdepth.files import Movie
from segdepth.files.formats import FOLDERS
from segdepth.live.account import FrameAccount
from segdepth.live.folder.ledger import Ledger
from segdepth.live.folder.listing import Listing
from segdepth.live.folder.source import FolderSource
from segdepth.live.folder.told import Told
from segdepth.live.states import SourceState

STOPPED = SourceState.STOPPED, ""
"""By Ctrl-C, or after the frames that were asked for: no end of the source's own."""


@dataclass(frozen=True)
class Running:
    """How long something that runs is followed.

    settle_s: a file in a folder that has not changed for so long is complete [s]; once: a folder ends when all that is
    there is; patience_s: how long a channel may be away [s]; most: frames after which the rest is left, of a file too.
    """

    settle_s: float = 5.0
    once: bool = False
    patience_s: float = 10.0
    most: int | None = None


@dataclass(frozen=True)
class TrackSource:
    """Frames of a file, or of something that runs.

    name: for people; stem: what its results' files are called; movie: of a file; total: how many frames, None where
    nobody knows; calibration: for frames that bring none; policy: what becomes of frames that the service has no room
    for; account: of a running source's frames; close: ends it, from any thread; ended: once no frame follows, how it
    ended.
    """

    name: str
    stem: str
    frames: Iterable[Frame | NDArray[Any]]
    calibration: Calibration | None = None
    movie: Movie | None = None
    total: int | None = None
    policy: Policy = "block"
    account: FrameAccount | None = None
    close: Callable[[], None] = lambda: None
    ended: Callable[[], tuple[SourceState, str]] = lambda: STOPPED

    @property
    def live(self) -> bool:
        """Whether its frames come when they come, and nobody can have them again."""
        return self.movie is None


PVA = "pva://"
"""A source's name that begins so is a channel of EPICS PV Access."""


@contextmanager
def open_source(source: str, camera: Detector, sampling_A: float | None, running: Running) -> Iterator[TrackSource]:
    """The source of that name: a channel, a folder in which one camera's files arrive, or a file.

    sampling_A: instead of what the source says [Å/px]. Raises UnreadableFile, InvalidFrame for an end that the source
    has not, and what a running source does.
    """
    most = running.most
    is_folder = not source.startswith(PVA) and Path(source).is_dir() and Path(source).suffix.lower() not in FOLDERS
    if running.once and not is_folder:
        raise InvalidFrame(f"--once: {source} is no folder; --frames N ends it after so many frames", "once")
    if source.startswith(PVA):
        with _channel(source.removeprefix(PVA), camera, sampling_A, running.patience_s) as opened:
            yield replace(opened, frames=islice(opened.frames, most), total=most)
    elif is_folder:
        with _folder(Path(source), camera, sampling_A, running) as opened:
            yield replace(opened, frames=islice(opened.frames, most), total=most)
    else:
        with camera.open_movie(source, sampling_A) as movie:
            total = len(movie) if most is None else min(most, len(movie))
            yield TrackSource(movie.path.name, movie.path.stem, islice(movie, total), movie.calibration, movie, total)


@contextmanager
def _channel(name: str, camera: Detector, sampling_A: float | None, patience_s: float) -> Iterator[TrackSource]:
    from segdepth.live.pva import PvaSource

    source = PvaSource(
        name,
        sampling_A,
        detector=camera,
        patience_s=patience_s,
        on_state=lambda state, detail: print_note(name, _state(state, detail)),
        on_note=lambda note: print_note(name, note),
    )
    with source:
        stem = re.sub(r"[^\w.-]+", "_", name)
        # A camera does not wait; files do, where they are.
        yield TrackSource(
            name,
            stem,
            source.frames(),
            policy="drop_oldest",
            account=source.account,
            close=source.close,
            ended=lambda: (source.state, source.detail) if source.state.final else STOPPED,
        )


@contextmanager
def _folder(folder: Path, camera: Detector, sampling_A: float | None, running: Running) -> Iterator[TrackSource]:
    end = STOPPED

    def tell(told: Told) -> None:
        nonlocal end
        if told.name == str(folder.absolute()) and told.state.final:
            end = told.state, told.detail
        for note in (_state(told.state, told.detail), *told.notes):
            print_note(told.name, note)

    ledger = Ledger(None)
    source = FolderSource(
        Listing(folder.absolute()),
        ledger,
        tell,
        sampling_A=sampling_A,
        detector=camera,
        settle_s=running.settle_s,
        once=running.once,
    )

    def frames() -> Iterator[Frame]:
        nonlocal end
        for frame in source.frames():
            # Which file it is of matters to those who go on after a restart alone.
            source.pending.pop(frame.sequence or 0, None)
            yield frame
        if not source.closed:
            end = SourceState.ENDED, ""

    try:
        yield TrackSource(
            str(folder),
            folder.absolute().name,
            frames(),
            account=source.account,
            close=source.close,
            ended=lambda: end,
        )
    finally:
        source.close()
        ledger.close()


def _state(state: SourceState, detail: str) -> str:
    return f"{state.value}: {detail}" if detail else state.value
