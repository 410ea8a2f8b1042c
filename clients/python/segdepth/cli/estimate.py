"""`segdepth estimate`: movies in, files out."""

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from segdepth.calibration import Options
from segdepth.cli import options as given
from segdepth.cli.console import errors_end_the_command, out, print_error, print_notes, progress
from segdepth.cli.option_groups import with_option_groups
from segdepth.cli.outputs import Outputs
from segdepth.cli.sampling import Sampling
from segdepth.cli.tally import Tally, exit_status
from segdepth.client import Client
from segdepth.errors import UnreadableFile
from segdepth.export import MovieExport, Request
from segdepth.files import Movie
from segdepth.lattice import NoLattice


@with_option_groups
def estimate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help=given.FILES)],
    connection: given.Connection,
    sampling: Sampling,
    outputs: Outputs,
    detector: given.Profile = None,
    model: given.Model = "",
    version: given.Version = "",
) -> None:
    """Count the atoms of every column of every frame.

    With --out DIR each FILE gives STEM.columns.csv (csv), STEM.depth.tif and
    STEM.confidence.tif (tiff), STEM.summary.json (json) and pictures (png).

    If asked for: STEM.columns.parquet, the table with types and units (parquet);
    STEM.maps.zarr, the maps for OME's viewers (zarr); STEM.model.xyz, atoms by
    count, their height a model's (xyz); STEM.py, which makes the table again
    (python).

    Exit status: 0 any frame answered, of whatever FILE; those that cannot be used
    are named at the end. 3 all refused, 2 unusable input, 1 the service failed.

    Examples:

      segdepth estimate movie.mrc --out results

      segdepth estimate *.npy --sampling 0.08 --out results --format csv,parquet

      segdepth estimate movie.tif --server gateway.lab:50051 --tls --out results

      segdepth estimate movie.mrc --sampling auto-lattice --out results

      segdepth estimate movie.npy --sampling auto-lattice --sampling-about 0.1 --out results

      segdepth estimate movie.mrc --detector k3.toml --out results

      segdepth estimate movie.mrc --out results --format csv,json,xyz,python
    """
    with errors_end_the_command():
        stated_A = sampling.stated_A()
        outputs.check(files)
        camera = given.detector(detector)
        request = Request(
            *(Options(model, version), connection.server, connection.security(), bool(connection.token), detector)
        )
        answered, unusable = 0, list[Path]()
        with connection.open() as client:
            for path in files:
                try:
                    with camera.open_movie(path, stated_A) as movie:
                        print_notes(movie)
                        sampling.settle(client, movie, request.options)
                        answered += _estimate_movie(client, movie, outputs, request).answered
                except (UnreadableFile, NoLattice) as error:
                    print_error(error)
                    unusable.append(path)
        if unusable and len(files) > 1:
            names = ", ".join(map(str, unusable))
            print_error(f"{len(unusable)} of {len(files)} files could not be used: {names}")
        raise typer.Exit(exit_status(answered, bool(unusable)))


def _estimate_movie(client: Client, movie: Movie, outputs: Outputs, request: Request) -> Tally:
    tally, started = Tally(), time.monotonic()
    options = request.options
    if outputs.out_dir is not None:
        options = replace(options, detail=MovieExport.detail(outputs.chosen))
    with ExitStack() as stack:
        export = outputs.export(movie, request)
        if export:
            stack.enter_context(export)
        bar = stack.enter_context(progress())
        task = bar.add_task(escape(movie.path.name), total=len(movie), rate="")
        stream = stack.enter_context(client.stream(movie, movie.calibration, options, name=movie.path.name))
        for answer in stream:
            if export:
                export.add(answer)
            tally.add(answer)
            rate = f"{tally.frames / (time.monotonic() - started):.1f} frames/s"
            bar.update(task, completed=tally.frames, rate=rate)
    _report(movie, tally, outputs, time.monotonic() - started)
    return tally


def _report(movie: Movie, tally: Tally, outputs: Outputs, seconds: float) -> None:
    where = f" → {outputs.out_dir / movie.path.stem}.*" if outputs.out_dir else ""
    out().print(escape(f"{movie.path}: {tally.line()} in {seconds:.1f} s, {' and '.join(tally.models)}{where}"))
    if (told := tally.conditions.line()) is not None:
        out().print(escape(f"  {told}"))
    for why in tally.why():
        out().print(escape(f"  {why}"))
    drawn = outputs.pictures
    if outputs.out_dir is not None and "png" in outputs.chosen and drawn < len(movie):
        out().print(f"  pictures of the first {drawn} of {len(movie)} frames; --pictures {len(movie)} draws all")
