"""`segdepth track`: each column through time, and when it changed."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress

from segdepth.calibration import Options
from segdepth.cli import options as given
from segdepth.cli.console import ALL_REFUSED, ANSWERED, err, errors_end_the_command, out, print_notes, progress
from segdepth.cli.live_status import Service, ended_by_signals
from segdepth.cli.option_groups import with_option_groups
from segdepth.cli.sampling import Sampling
from segdepth.cli.track_options import TrackingOptions, TrackOutputs
from segdepth.cli.track_report import change_line, report
from segdepth.cli.track_source import Running, TrackSource, open_source
from segdepth.client import Client
from segdepth.export.track_lines import track_line
from segdepth.export.tracks import TracksExport
from segdepth.live.json_lines import JsonLines
from segdepth.live.states import SERVICE, SourceState
from segdepth.tracks.results import TrackedFrame, TrackState
from segdepth.tracks.settings import Tracking


@with_option_groups
def track(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|DIR|pva://CHANNEL",
            help="A movie; or what runs: a folder in which a camera's files arrive, a PV Access channel."
            f" {given.FILES}",
        ),
    ],
    connection: given.Connection,
    sampling: Sampling,
    outputs: TrackOutputs,
    tracking: TrackingOptions,
    fps: Annotated[
        float | None,
        typer.Option(min=0.001, help="Frames per second of the camera, for the axes of time; by default the file's."),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="End after so many frames. By default what runs ends by Ctrl-C."),
    ] = None,
    settle: given.Settle = 5.0,
    once: given.Once = False,
    patience: given.ChannelPatience = 10.0,
    detector: given.Profile = None,
    model: given.Model = "",
    version: given.Version = "",
) -> None:
    """Follow every column of a movie through time: its drift, its atoms, and when they changed.

    With --out DIR: STEM.tracks.csv, a row a track and frame; STEM.drift.csv, a
    row a frame, whatever became of it; STEM.changes.csv, what hopped, when, and
    how sure that is; STEM.occupancy.csv, the atoms of each region by species
    (csv); STEM.tracks.json, a summary (json); STEM.track-N.png, a track over time
    (png); STEM.tracks.gif, a film: frame, counts and what changed (gif).

    If asked for: the same film as MP4 (mp4), the tracks as Parquet (parquet).

    Exit status: 0 any frame tracked, 3 none, 2 unusable input, 1 the service failed.

    Examples:

      segdepth track movie.mrc --out results

      segdepth track movie.mrc --server gateway.lab:50051 --out results --format csv,parquet,mp4

      segdepth track movie.mrc --out results --region surface=0,0,60,12 --plot 12,57

      segdepth track movie.npy --sampling 0.08 --fps 40 --hop-rate 0.002 --out results

      segdepth track movie.mrc --live --jsonl - --hop-rate 0.01

      segdepth track pva://CAM1:Pva1:Image --server 127.0.0.1:50051 --out results

      segdepth track /data/today --server 127.0.0.1:50051 --out results --jsonl -

      segdepth track /data/today --out results --once
    """
    with errors_end_the_command():
        tracking.settings(live=False)
        outputs.check()
        camera, stated_A = given.detector(detector), sampling.stated_A()
        service, running = Service(), Running(settle, once, patience, frames)
        with (
            connection.open(on_outage=service.outage) as client,
            open_source(source, camera, stated_A, running) as opened,
        ):
            options, settings = Options(model, version), tracking.settings(live=opened.live)
            if opened.movie is None:
                sampling.check_live()
            else:
                print_notes(opened.movie)
                sampling.settle(client, opened.movie, options)
            tracked = _track(_Asked(client, service, options, settings), opened, outputs, fps)
        raise typer.Exit(ANSWERED if tracked else ALL_REFUSED)


@dataclass(frozen=True)
class _Asked:
    """Who is asked for what, and how it is tracked."""

    client: Client
    service: Service
    options: Options
    settings: Tracking


def _track(asked: _Asked, source: TrackSource, outputs: TrackOutputs, fps: float | None) -> int:
    """Track it, write and report; returns how many frames were."""
    started = time.monotonic()
    export = outputs.export(
        source.movie if source.movie is not None else source.stem,
        asked.settings,
        live=source.live,
        interval_s=None if fps is None else 1 / fps,
        source=source.name,
    )
    try:
        with ExitStack() as stack:
            stack.enter_context(export)
            if source.live:
                stack.enter_context(ended_by_signals(source.close))
            _go_through(asked, source, outputs, export)
            with progress() as bar:
                export.draw(_told(bar, "pictures"))
    except BaseException:
        # What a running source gave until then is kept, and told.
        if source.live:
            _say(source, outputs, export, time.monotonic() - started)
        raise
    _say(source, outputs, export, time.monotonic() - started)
    return export.tally.states[TrackState.TRACKED]


def _say(source: TrackSource, outputs: TrackOutputs, export: TracksExport, seconds: float) -> None:
    """The report: to stdout, unless that has the JSON lines."""
    console = err() if outputs.take_stdout else out()
    where = f"{outputs.out_dir / export.stem}.*" if outputs.out_dir else ""
    for line in report(source.name, export.tally, seconds, where, export.notes):
        console.print(escape(line))
    for line in source.account.lines() if source.account is not None else ():
        console.print(f"  {escape(line)}")


def _go_through(asked: _Asked, source: TrackSource, outputs: TrackOutputs, export: TracksExport) -> None:
    started, service = time.monotonic(), asked.service
    # Sampling.settle may have corrected the movie's calibration since the source was opened.
    calibration = source.movie.calibration if source.movie is not None else source.calibration
    with outputs.lines() as lines, progress() as bar:
        task = bar.add_task(escape(source.name), total=source.total, rate="")

        def on_state(state: SourceState, detail: str) -> None:
            bar.update(task, rate=escape(" ".join(service.lines())))
            if lines is not None:
                lines.state(state, SERVICE, detail)

        service.on_state = on_state
        frames = asked.client.track(
            source.frames,
            calibration,
            asked.options,
            tracking=asked.settings,
            policy=source.policy,
            name=source.name,
            answered=source.account.answer if source.account is not None else None,
        )
        try:
            for number, frame in enumerate(frames, 1):
                sums = export.add(frame)
                if source.live:
                    _announce(frame)
                if lines is not None:
                    lines.write(track_line(frame, sums, source.name))
                bar.update(task, completed=number, rate=f"{number / (time.monotonic() - started):.1f} frames/s")
            if source.live:
                _end(source, export, lines)
        finally:
            service.on_state = None
            source.close()
            if source.account is not None:
                source.account.give_up()
                if lines is not None:
                    lines.account(source.account)


def _end(source: TrackSource, export: TracksExport, lines: JsonLines | None) -> None:
    """How a running source ended, to where its results go."""
    state, detail = source.ended()
    export.end = f"{state.value}: {detail}" if detail else state.value
    if lines is not None:
        lines.state(state, source.name, detail)


def _announce(frame: TrackedFrame) -> None:
    """Changes of a running source, as they become known."""
    for change in frame.changes:
        err().print(escape(f"frame {frame.sequence}: {change_line(change)}"))


def _told(bar: Progress, name: str) -> Callable[[int, int], None]:
    """What tells a bar how far something is."""
    task = bar.add_task(name, total=None, rate="")
    return lambda done, total: bar.update(task, completed=done, total=total)
