"""`segdepth camera`: a detector simulator, in front of a gateway, a folder or an EPICS channel."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from segdepth.calibration import Frame, Options, Policy
from segdepth.camera import Camera, Shot, TruthFile
from segdepth.camera.faults import faulty
from segdepth.camera.movie_files import MovieFiles
from segdepth.cli import options as given
from segdepth.cli.camera_options import Picture, Place
from segdepth.cli.console import ALL_REFUSED, ANSWERED, errors_end_the_command, live, out
from segdepth.cli.live_status import ended_by_signals
from segdepth.cli.live_stream import Asked, count_live
from segdepth.cli.option_groups import with_option_groups


@with_option_groups
def camera(
    picture: Picture,
    place: Place,
    connection: given.Connection,
    fps: Annotated[float, typer.Option(min=0.001, help="Frames per second.")] = 20.0,
    frames: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after so many.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.001, metavar="S", help="Stop after this long.")] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Write drift of every frame, every column and change.")
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Frames of --fps without waiting for their time: a movie made at once.")
    ] = False,
    policy: Annotated[
        Policy, typer.Option(help="When the way to the gateway is full: wait, or drop the oldest frame.")
    ] = "drop_oldest",
    deadline: Annotated[
        float | None, typer.Option(min=0.001, metavar="S", help="A frame not answered after this long is a gap.")
    ] = None,
    model: given.Model = "",
    version: given.Version = "",
) -> None:
    """Simulate a detector: a specimen that drifts, and whose columns gain and lose atoms at known moments.

    It runs until Ctrl-C, --frames or --seconds. Numbers of frames jump where the camera could not keep its rate.
    Without --dir and --pva the exit status is that of `segdepth estimate`.

    Examples:

      segdepth camera --fps 1000 --dose 200 --server 127.0.0.1:50051

      segdepth camera --fps 20 --dose 500 --pva CAM1:Pva1:Image --truth truth.json

      segdepth camera --scene islands --size 512 --seconds 20 --dir movies --frames-per-file 50 --grow
    """
    with errors_end_the_command():
        place.check(connection.server)
        source = picture.camera(fps, paced=not no_wait)
        limit = _limit(frames, seconds, fps)
        with ExitStack() as ends:
            shots = source.shots(limit)
            if truth is not None:
                shots = _told(shots, ends.enter_context(TruthFile(truth, source)))
            ends.callback(source.close)
            ends.enter_context(ended_by_signals(source.close))
            images = faulty((shot.frame for shot in shots), place.fault)
            if place.folder is not None or place.pva is not None:
                _deliver(images, ends.enter_context(_target(place, source)), source)
                return
            asked = Asked(f"camera {source.scene.name}", Options(model, version), policy, deadline, source.calibration)
            told = f"{asked.name}, {source.dose:g} e/Å², {source.fps:g} frames/s"
            count_live(connection, source, images, asked, lambda: told, out())
    raise typer.Exit(ANSWERED if source.account.usable else ALL_REFUSED)


def _limit(frames: int | None, seconds: float | None, fps: float) -> int | None:
    limits = [frames] if frames is not None else []
    limits += [max(1, math.floor(seconds * fps))] if seconds is not None else []
    return min(limits) if limits else None


def _told(shots: Iterator[Shot], truth: TruthFile) -> Iterator[Shot]:
    for shot in shots:
        truth.add(shot)
        yield shot


@contextmanager
def _target(place: Place, source: Camera) -> Iterator[Callable[[Frame], None]]:
    """What takes the frames: a folder or a channel."""
    if place.folder is not None:
        with MovieFiles(place.folder, source.field.sampling_A, place.frames_per_file, grow=place.grow) as files:
            yield lambda frame: files.add(frame.image)
        return
    from segdepth.live.frame_attributes import attributes_of
    from segdepth.live.pva_server import FrameChannel, PvaServer

    assert place.pva is not None
    channel, attributes = FrameChannel(place.pva), attributes_of(source.calibration)
    with PvaServer(channel, address=place.pva_address):
        yield lambda frame: channel.post(frame.image, frame.sequence or 0, frame.capture_time, attributes)


def _deliver(frames: Iterator[Frame], deliver: Callable[[Frame], None], source: Camera) -> None:
    """All frames to a place where nobody answers."""
    began, delivered = time.monotonic(), 0

    def table() -> Table:
        seconds = max(time.monotonic() - began, 1e-9)
        shown = Table(show_header=False, box=None)
        shown.add_row("frames", f"{delivered}, {delivered / seconds:.1f}/s")
        shown.add_row("lost", f"{source.account.dropped.total()}, too late for the camera")
        return shown

    with live(table):
        for frame in frames:
            deliver(frame)
            delivered += 1
    out().print(table())
