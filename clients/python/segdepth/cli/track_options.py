"""How `segdepth track` tracks, and what it writes where."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from segdepth.errors import InvalidFrame
from segdepth.export.track_plot import CHANGED, NONE, track_numbers
from segdepth.export.tracks import DEFAULT_FORMATS, FORMATS, LIVE_FORMATS, OF_A_FILE, TracksExport
from segdepth.files import Movie
from segdepth.live.json_lines import STDOUT, JsonLines
from segdepth.tracks.regions import WRITTEN, Region, Regions
from segdepth.tracks.settings import Tracking

RESULTS, TRACKING = "Results", "Tracking"

_BY_DEFAULT = Tracking()

_OPTIONS = {
    "tracking.hop_rate": "--hop-rate",
    "tracking.false_alarms": "--false-alarms",
    "tracking.lag_frames": "--lag",
    "tracking.summed_frames": "--summed",
}
"""What the fields of `Tracking` are called on the command line."""


@dataclass(frozen=True)
class TrackingOptions:
    """The options of tracking itself."""

    hop_rate: Annotated[
        float,
        typer.Option(
            metavar="P",
            help="How probably a column's number of atoms changes from a frame to the next, up to 0.1; 0: nothing may"
            " hop.",
            rich_help_panel=TRACKING,
        ),
    ] = _BY_DEFAULT.hop_rate
    false_alarms: Annotated[
        float,
        typer.Option(
            metavar="RATE",
            help="Changes that may be reported a column and frame where nothing changes, from 1e-6 to 0.01.",
            show_default=f"1/{round(1 / _BY_DEFAULT.false_alarms)}",
            rich_help_panel=TRACKING,
        ),
    ] = _BY_DEFAULT.false_alarms
    lag: Annotated[
        int | None,
        typer.Option(
            metavar="FRAMES",
            help="Later frames that are waited for before a frame is told; more is surer, and later."
            f" By default {_BY_DEFAULT.lag_frames} of a file, 0 of what runs.",
            show_default=False,
            rich_help_panel=TRACKING,
        ),
    ] = None
    live: Annotated[
        bool,
        typer.Option("--live", help="Tell each frame at once, by those before it: --lag 0.", rich_help_panel=TRACKING),
    ] = False

    summed: Annotated[
        int,
        typer.Option(
            metavar="FRAMES",
            help="Frames that are added up, their drift taken out, and counted once more; 0: none.",
            rich_help_panel=TRACKING,
        ),
    ] = _BY_DEFAULT.summed_frames

    def settings(self, *, live: bool) -> Tracking:
        """As the SDK takes them; live: of a source that runs. Raises InvalidFrame."""
        if self.live and self.lag:
            raise InvalidFrame(f"--live waits for no frame, --lag {self.lag} for {self.lag}; choose one", "lag")
        of_source = 0 if live else _BY_DEFAULT.lag_frames
        lag = 0 if self.live else of_source if self.lag is None else self.lag
        try:
            return Tracking(self.hop_rate, self.false_alarms, lag, self.summed)
        except InvalidFrame as error:
            option = _OPTIONS[error.field]
            raise InvalidFrame(f"{option}{str(error).removeprefix(error.field)}", option) from None


@dataclass(frozen=True)
class TrackOutputs:
    """The options of the results."""

    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Folder for the results; without one only a report.", rich_help_panel=RESULTS
        ),
    ] = None
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="LIST",
            help=f"Any of {','.join(FORMATS)}; by default {','.join(DEFAULT_FORMATS)}, live without"
            f" {' and '.join(OF_A_FILE)}.",
            show_default=False,
            rich_help_panel=RESULTS,
        ),
    ] = None
    region: Annotated[
        list[str] | None,
        typer.Option(
            metavar=WRITTEN,
            help="Add up the atoms of a rectangle of the first frame [Å] that moves with the specimen; repeatable.",
            rich_help_panel=RESULTS,
        ),
    ] = None
    plot: Annotated[
        str,
        typer.Option(
            metavar="TRACKS",
            help=f"Tracks to draw, such as 12,57; or {CHANGED}, {NONE}. The format png.",
            rich_help_panel=RESULTS,
        ),
    ] = CHANGED
    jsonl: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-",
            help="Append a JSON object for each frame, as they come: drift, changes, occupancy; - is stdout.",
            rich_help_panel=RESULTS,
        ),
    ] = None

    def check(self) -> None:
        """Raises InvalidFrame for formats that there are not, regions and tracks that are none."""
        chosen = self.chosen(live=False)
        if chosen is not None and (not chosen or set(chosen) - set(FORMATS)):
            raise InvalidFrame(f"--format {self.formats}: there is {','.join(FORMATS)}")
        if self.plot.strip() != CHANGED:
            track_numbers(self.plot)
        self.regions()

    def chosen(self, live: bool) -> tuple[str, ...] | None:
        """The formats, by name; None for those by default. Raises InvalidFrame for one that a live source has not."""
        if self.formats is None:
            return None
        chosen = tuple(part.strip() for part in self.formats.split(",") if part.strip())
        if live and not set(chosen) <= set(LIVE_FORMATS):
            raise InvalidFrame(f"--format {self.formats}: of a live source there is {','.join(LIVE_FORMATS)}")
        return chosen

    def regions(self) -> Regions:
        """Their sums, from the first frame. Raises InvalidFrame."""
        return Regions(Region.parse(written) for written in self.region or ())

    def export(
        self, movie: Movie | str, settings: Tracking, *, live: bool, interval_s: float | None, source: str
    ) -> TracksExport:
        """The files of a movie or of a live source's stem; without a folder for them, what they would be made of."""
        return TracksExport(
            self.out_dir,
            movie,
            self.chosen(live),
            live=live,
            regions=self.regions(),
            settings=settings,
            plot=self.plot,
            interval_s=interval_s,
            source=source,
        )

    def lines(self) -> AbstractContextManager[JsonLines | None]:
        """Where the JSON lines go, if anywhere. Raises CannotWrite."""
        return nullcontext() if self.jsonl is None else JsonLines(self.jsonl)

    @property
    def take_stdout(self) -> bool:
        """Whether stdout is for JSON lines, and for nothing else."""
        return self.jsonl == STDOUT
