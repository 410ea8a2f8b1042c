"""`segdepth estimate`: movies in, files out."""

import math
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from segdepth.calibration import Options
from segdepth.cli import options as given
from segdepth.cli.console import (
    ALL_REFUSED,
    ANSWERED,
    UNUSABLE,
    err,
    errors_end_the_command,
    out,
    print_error,
    print_notes,
    progress,
)
from segdepth.cli.option_groups import with_option_groups
from segdepth.client import Client
from segdepth.errors import InvalidFrame, UnreadableFile
from segdepth.export import FORMATS, MovieExport
from segdepth.export.pooled import PooledTable
from segdepth.files import Movie
from segdepth.lattice import NoLattice, corrected, lattice_sampling
from segdepth.results import Answer, FrameResult, Status

PICTURES = 10

BY_LATTICE = "auto-lattice"
SAMPLING_DIFFERS = 0.01
"""Relative difference from the header's sampling that is worth a word."""


@dataclass
class Tally:
    """What became of a movie's frames."""

    status: Counter[Status] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    columns: int = 0
    why: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)

    def add(self, answer: Answer) -> int:
        """Count it; returns the number of frames."""
        if not isinstance(answer, FrameResult):
            self.unanswered[answer.reason.value] += len(answer)
            if answer.detail:
                self.why[answer.detail] += len(answer)
            return len(answer)
        self.status[answer.domain.status] += 1
        self.columns += len(answer.columns)
        self.models[str(answer.model)] += 1
        if answer.domain.status is not Status.OK:
            self.why[answer.domain.why()] += 1
        return 1

    @property
    def answered(self) -> int:
        """Frames with columns that may be used."""
        return self.status[Status.OK] + self.status[Status.SUSPECT]

    def line(self) -> str:
        """All of it in a line."""
        parts = [f"{self.answered} frames answered"]
        parts += [f"{self.status[name]} {name.value}" for name in (Status.SUSPECT, Status.REFUSED) if self.status[name]]
        parts += [f"{count} {reason}" for reason, count in self.unanswered.items()]
        return ", ".join([*parts, f"{self.columns} columns"])


@dataclass(frozen=True)
class Output:
    """What is to be written, and where."""

    out_dir: Path | None
    formats: tuple[str, ...]
    pictures: int
    pool: int | None

    def pooled(self, movie: Movie) -> PooledTable | None:
        """The table of pooled frames, where it is wanted."""
        return PooledTable(self.out_dir, movie.path.stem) if self.pool and self.out_dir else None


@with_option_groups
def estimate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="MRC, MRCS, TIFF, OME-TIFF or NPY.")],
    connection: given.Connection,
    sampling: Annotated[
        str | None,
        typer.Option(
            metavar="Å|auto-lattice",
            help="Pixel size at the specimen [Å/px], instead of the header's; or what the movie's own lattice implies.",
        ),
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for the results; without one only a summary.")
    ] = None,
    formats: Annotated[str, typer.Option("--format", metavar="LIST", help=f"Any of {','.join(FORMATS)}.")] = ",".join(
        FORMATS
    ),
    pictures: Annotated[
        int, typer.Option(min=0, help="Frames of each movie to draw, from its first; the format png.")
    ] = PICTURES,
    pool: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="Also pool every N frames of a still movie: STEM.pooled.csv."),
    ] = None,
    detector: given.Profile = None,
    model: given.Model = "",
    version: given.Version = "",
) -> None:
    """Count the atoms of every column of every frame.

    With --out DIR each FILE gives STEM.columns.csv, STEM.depth.tif, STEM.confidence.tif, STEM.summary.json and
    pictures. Exit status: 0 any frame answered, 3 all refused, 2 unusable input, 1 the service failed.

    Examples:

      segdepth estimate movie.mrc --out results

      segdepth estimate *.npy --sampling 0.08 --out results --format csv

      segdepth estimate movie.tif --server gateway.lab:50051 --tls --out results

      segdepth estimate movie.mrc --sampling auto-lattice --out results

      segdepth estimate movie.mrc --pool 10 --out results

      segdepth estimate movie.mrc --detector k3.toml --out results
    """
    with errors_end_the_command():
        chosen = _formats(formats)
        stated_A, by_lattice = _sampling(sampling)
        _check_names(files, out_dir)
        if pool and out_dir is None:
            raise InvalidFrame(f"--pool {pool}: name a folder for the pooled table (--out DIR)")
        camera = given.detector(detector)
        total, unusable = Tally(), False
        with connection.open() as client:
            for path in files:
                try:
                    with camera.open_movie(path, stated_A) as movie:
                        print_notes(movie)
                        _compare_sampling(movie)
                        if by_lattice:
                            _correct_sampling(client, movie, Options(model, version))
                        output = Output(out_dir, chosen, pictures, pool)
                        tally = _estimate_movie(client, movie, output, Options(model, version))
                except (UnreadableFile, NoLattice) as error:
                    print_error(error)
                    unusable = True
                    continue
                total.status += tally.status
                total.unanswered += tally.unanswered
        raise typer.Exit(_exit_status(total, unusable))


def _sampling(text: str | None) -> tuple[float | None, bool]:
    """The sampling stated [Å/px], and whether the lattice shall correct the header's."""
    if text is None or text == BY_LATTICE:
        return None, text == BY_LATTICE
    try:
        return float(text), False
    except ValueError:
        raise InvalidFrame(f"--sampling {text}: a pixel size in Å/px, or {BY_LATTICE}", "sampling") from None


def _correct_sampling(client: Client, movie: Movie, options: Options) -> None:
    """Use what the lattice implies, and say so. NoLattice, with the file's name."""
    try:
        found = lattice_sampling(client, movie, options)
    except NoLattice as error:
        raise NoLattice(f"{movie.path}: {error}", error.field) from error
    doubt = "" if math.isnan(found.uncertainty_A) else f" ± {found.uncertainty_A:.1g}"
    err().print(
        f"[yellow]note:[/] {escape(str(movie.path))}: the lattice implies {found.sampling_A:.5g}{doubt} Å/px"
        f" ({found.frames} frames), where {movie.calibration.sampling_A:g} is stated; the former is used"
    )
    corrected(movie, found)


def _formats(text: str) -> tuple[str, ...]:
    chosen = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [name for name in chosen if name not in FORMATS]
    if unknown or not chosen:
        raise InvalidFrame(f"--format {text}: there is {','.join(FORMATS)}")
    return chosen


def _check_names(files: list[Path], out_dir: Path | None) -> None:
    stems = Counter(path.stem for path in files)
    twice = [stem for stem, count in stems.items() if count > 1]
    if out_dir is not None and twice:
        raise InvalidFrame(f"several files are called {', '.join(twice)}; their results would have the same names")


def _estimate_movie(client: Client, movie: Movie, output: Output, options: Options) -> Tally:
    tally, done, started = Tally(), 0, time.monotonic()
    out_dir, formats, pictures = output.out_dir, output.formats, output.pictures
    if out_dir is not None:
        options = Options(options.model, options.version, MovieExport.detail(formats))
    with ExitStack() as stack:
        export = out_dir and stack.enter_context(MovieExport(out_dir, movie, formats, pictures))
        pooled = output.pooled(movie)
        if pooled:
            stack.enter_context(pooled)
        bar = stack.enter_context(progress())
        task = bar.add_task(escape(movie.path.name), total=len(movie), rate="")
        stream = stack.enter_context(client.stream(movie, movie.calibration, options, name=movie.path.name))

        def seen() -> Iterator[Answer]:
            nonlocal done
            for answer in stream:
                if export:
                    export.add(answer)
                done += tally.add(answer)
                bar.update(task, completed=done, rate=f"{done / (time.monotonic() - started):.1f} frames/s")
                yield answer

        if pooled and output.pool:
            for group in client.pool(seen(), output.pool, movie, options):
                pooled.add(group)
        else:
            deque(seen(), maxlen=0)
    _report(movie, tally, out_dir, time.monotonic() - started)
    if pooled:
        moved = f", {pooled.moved} frames left out that have moved" if pooled.moved else ""
        alone = (
            f", {pooled.without_sum} groups not added up (they drift, or the sum was refused)"
            if pooled.without_sum
            else ""
        )
        out().print(f"  pooled: {pooled.groups} groups of up to {output.pool} frames{moved}{alone}")
    if out_dir is not None and "png" in formats and pictures < len(movie):
        out().print(f"  pictures of the first {pictures} of {len(movie)} frames; --pictures {len(movie)} draws all")
    return tally


def _compare_sampling(movie: Movie) -> None:
    header, used = movie.header.sampling_A, movie.calibration.sampling_A
    if header is not None and abs(header - used) > SAMPLING_DIFFERS * used:
        err().print(
            f"[yellow]note:[/] {escape(str(movie.path))}: --sampling {used:g} Å/px is used, its header says {header:g}"
        )


def _report(movie: Movie, tally: Tally, out_dir: Path | None, seconds: float) -> None:
    where = f" → {out_dir / movie.path.stem}.*" if out_dir else ""
    line = f"{movie.path}: {tally.line()} in {seconds:.1f} s, {' and '.join(tally.models)}{where}"
    out().print(escape(line))
    for why, count in tally.why.most_common(5):
        out().print(escape(f"  {count} x {why}"))


def _exit_status(total: Tally, unusable: bool) -> int:
    if total.answered:
        return ANSWERED
    if unusable:
        return UNUSABLE
    return ALL_REFUSED
