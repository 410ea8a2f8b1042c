"""All files of one tracked movie, written while its frames come."""

from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from segdepth.errors import InvalidFrame, NotInstalled, SegDepthError
from segdepth.export import track_tables
from segdepth.export.atomic import AtomicFile, cannot_write
from segdepth.export.growing import GrowingFile
from segdepth.export.track_history import History
from segdepth.export.track_movie import Progress, check_installed, draw_movie, readable
from segdepth.export.track_plot import CHANGED, chosen_tracks, series_of, track_numbers, track_png
from segdepth.export.track_summary import summary
from segdepth.files import Movie
from segdepth.tracks.regions import Regions, RegionSum
from segdepth.tracks.results import TrackedFrame
from segdepth.tracks.settings import Tracking
from segdepth.tracks.tally import TrackTally

DEFAULT_FORMATS = ("csv", "json", "png", "gif")
FORMATS = (*DEFAULT_FORMATS, "mp4", "parquet")

OF_A_FILE = ("gif", "mp4")
"""Formats that need the movie's frames a second time."""

LIVE_FORMATS = tuple(name for name in FORMATS if name not in OF_A_FILE)

TABLES = {
    "tracks": track_tables.TRACKS,
    "occupancy": track_tables.OCCUPANCY,
    "changes": track_tables.CHANGES,
    "drift": track_tables.DRIFT,
}
"""Tables and their headers, in the order in which a frame is written: one that is in drift.csv is in all."""


class _File(Protocol):
    """A file that is published with the others."""

    path: Path

    def write(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def publish(self) -> None: ...
    def discard(self) -> None: ...


class TracksExport:
    """Writes STEM.tracks.csv, .drift.csv, .changes.csv, .occupancy.csv, STEM.tracks.json, pictures and films.

    Use `with`: of a movie all files appear together at its end, and none after an error. `live`: the tables grow
    while frames come, of complete lines, never over those of an earlier run (STEM-2, STEM-3, ...); whatever ends the
    run, they stay, and so does the summary, which says what ended it. Frames come in order, one TrackedFrame each.
    Nothing but tracks' numbers stays in memory: what pictures need is on the disk meanwhile.

    folder: None writes nothing, for the `tally` alone; movie: or the stem of the files' names where there is none in a
    file, then there are no films; formats: by default those of DEFAULT_FORMATS that there are; regions: whose sums
    occupancy.csv has; settings: how it was tracked, for the summary; plot: tracks to draw: changed, none or 12,57;
    interval_s: from one frame to the next [s], by default as the movie says; source: what the frames come from, for
    the summary.
    Raises InvalidFrame for formats that there are not, CannotWrite; NotInstalled for a format whose library is missing.
    """

    def __init__(
        self,
        folder: Path | None,
        movie: Movie | str,
        formats: tuple[str, ...] | None = None,
        *,
        live: bool = False,
        regions: Regions | None = None,
        settings: Tracking | None = None,
        plot: str = CHANGED,
        interval_s: float | None = None,
        source: str = "",
    ):
        self._folder = folder or Path()
        self._movie = movie if isinstance(movie, Movie) else None
        self.stem = movie.path.stem if isinstance(movie, Movie) else movie
        self._source = source or (movie.source if isinstance(movie, Movie) else movie)
        there_are = FORMATS if self._movie is not None and not live else LIVE_FORMATS
        if formats is None:
            formats = tuple(name for name in DEFAULT_FORMATS if name in there_are)
        unknown = [name for name in formats if name not in there_are]
        if unknown:
            raise InvalidFrame(
                f"formats: {', '.join(unknown)}; of this movie there is {', '.join(there_are)}", "formats"
            )
        if plot.strip() != CHANGED:
            track_numbers(plot)
        self._formats = formats if folder is not None else ()
        self._live, self._plot = live, plot
        self._regions, self._settings = regions or Regions(), settings or Tracking()
        header_s = self._movie.header.interval_s if self._movie is not None else None
        self._interval_s = interval_s or header_s
        self.tally = TrackTally(self._regions)
        self.sums: list[RegionSum] = []
        """Sums over regions of the last frame."""
        self.end = "complete"
        """What the summary says ended it, where no error did."""
        self.notes: list[str] = []
        """What a user should know of the pictures."""
        self._files: list[_File] = []
        self._tables: dict[str, _File] = {}
        self._parquet: Any = None
        self._history: History | None = None
        self._drawn = False

    def __enter__(self) -> Self:
        if not self._formats:
            return self
        # Now, not when hours of frames have been tracked.
        check_installed(self._formats)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        if self._live:
            self.stem = free_stem(self._folder, self.stem)
        try:
            self._open()
        except BaseException:
            self._discard()
            raise
        return self

    def _open(self) -> None:
        if "csv" in self._formats:
            for name, header in TABLES.items():
                self._tables[name] = self._growing(f"{name}.csv") if self._live else self._file(f"{name}.csv")
                self._tables[name].write(header.encode())
        if "parquet" in self._formats:
            try:
                from segdepth.export.parquet import RowGroups
            except ImportError as error:
                raise NotInstalled("Parquet output needs: pip install 'segdepth[export]'") from error
            self._parquet = RowGroups(self._file("tracks.parquet"), track_tables.NO_ROWS)
        if not {"png", "gif", "mp4"}.isdisjoint(self._formats):
            self._history = History(self._folder)

    def _file(self, name: str) -> AtomicFile:
        file = AtomicFile(self._folder / f"{self.stem}.{name}")
        self._files.append(file)
        return file

    def _growing(self, name: str) -> GrowingFile:
        file = GrowingFile(self._folder / f"{self.stem}.{name}")
        self._files.append(file)
        return file

    def add(self, frame: TrackedFrame) -> list[RegionSum]:
        """The next frame; returns its sums over regions."""
        self.sums = self._regions.sums(frame)
        self.tally.add(frame)
        if not self._formats:
            return self.sums
        fields = track_tables.track_fields(frame)
        if self._parquet is not None:
            self._parquet.add(fields)
        if self._tables:
            self._write("tracks", track_tables.track_rows(fields))
            self._write("occupancy", track_tables.occupancy_rows(frame.sequence, self.sums))
            self._write("changes", track_tables.change_rows(frame.changes))
            self._write("drift", track_tables.drift_row(frame))
        if self._history is not None:
            self._history.add(frame, fields)
        return self.sums

    def _write(self, table: str, rows: str) -> None:
        if rows:
            self._tables[table].write(rows.encode())

    def draw(self, progress: Progress | None = None) -> None:
        """Draw the pictures now, rather than at the end of `with`, and tell how far they are. No frame follows."""
        if self._history is None or self._drawn:
            return
        self._drawn = True
        if "png" in self._formats:
            self._draw_tracks(self._history)
        if self._movie is not None and not {"gif", "mp4"}.isdisjoint(self._formats) and self.tally.frames:
            gif, mp4 = (self._file(f"tracks.{name}") if name in self._formats else None for name in ("gif", "mp4"))
            thinned = draw_movie(self._movie, self._history, self.tally.changes, gif, mp4, self._interval_s, progress)
            if thinned is not None and thinned.step > 1:
                self.notes.append(f"films show {thinned}")

    def _draw_tracks(self, history: History) -> None:
        tracks, more = chosen_tracks(self._plot, self.tally.changes)
        series = series_of(history, tracks) if tracks else {}
        for track in tracks:
            if track not in series:
                self.notes.append(f"there is no track {track} to draw")
                continue
            changes = [change for change in self.tally.changes if change.track == track]
            shown = int(series[track].sequence[series[track].shown_at(changes)])
            image = readable(self._movie, shown) if self._movie is not None else None
            file = self._file(f"track-{track}.png")
            file.write(track_png(series[track], changes, self._source_name, self._interval_s, image))
            file.finish()
        if more:
            self.notes.append(f"{more} more tracks changed than are drawn; --plot 12,57 draws those of these numbers")
        if history.dropped and tracks:
            self.notes.append(f"pictures begin after the first {history.dropped} frames")

    @property
    def _source_name(self) -> str:
        return self._movie.path.name if self._movie is not None else self.stem

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._end_live(error)
        elif error is not None:
            self._discard()
        else:
            try:
                self.draw()
                self._finish(self.end)
            except BaseException:
                self._discard()
                raise
        if self._history is not None:
            self._history.close()

    def _end_live(self, error: BaseException | None) -> None:
        """Keep what there is; what fails on top of an error is not said, it has the same cause."""
        stopped = error is None or isinstance(error, KeyboardInterrupt)
        try:
            if stopped:
                self.draw()
            self._finish(self.end if error is None else "stopped" if stopped else str(error))
        except SegDepthError:
            self._discard()
            if error is None:
                raise

    def _finish(self, end: str) -> None:
        if self._parquet is not None:
            self._parquet.finish(self._about())
        for table in self._tables.values():
            table.finish()
        if "json" in self._formats:
            file = self._file("tracks.json")
            file.write(summary({**self._about(), "end": end, **self.tally.as_dict()}))
            file.finish()
        for one in self._files:
            one.publish()

    def _about(self) -> dict[str, Any]:
        return {
            "input": self._source,
            "sampling_A_per_px": self._movie.calibration.sampling_A if self._movie is not None else None,
            "interval_s": self._interval_s,
            "settings": {
                **asdict(self._settings),
                "regions": [str(region) for region in self._regions.regions],
                "column_correlation": self._regions.correlation,
            },
        }

    def _discard(self) -> None:
        if self._parquet is not None:
            self._parquet.abandon()
        for file in self._files:
            file.discard()
        if self._history is not None:
            self._history.close()


def free_stem(folder: Path, stem: str) -> str:
    """The stem, or the first of STEM-2, STEM-3, ... of which there are no results yet."""
    results = (*(f"{table}.csv" for table in TABLES), "tracks.json", "tracks.parquet")

    def taken(name: str) -> bool:
        return any((folder / f"{name}.{result}").exists() for result in results)

    number, name = 1, stem
    while taken(name):
        number += 1
        name = f"{stem}-{number}"
    return name
