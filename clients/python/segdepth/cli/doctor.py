"""`segdepth doctor`: what is there, what is not, and what to do."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from segdepth.cli import options as given
from segdepth.cli.console import FAILED, out
from segdepth.cli.option_groups import with_option_groups
from segdepth.errors import SegDepthError
from segdepth.files import Movie, open_movie
from segdepth.results import ModelInfo

REQUIRED = ("grpcio", "protobuf", "numpy", "segdepth-protos")
EXTRAS = {
    "tifffile": "segdepth[files]",
    "mrcfile": "segdepth[files]",
    "matplotlib": "segdepth[export]",
    "segdepth-inference": "segdepth[local]",
    "torch": "segdepth[local]",
    "segdepth-stack": "segdepth-stack",
}
FREE_BYTES = 1e9
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Finding:
    """One line of the report. `good` is None for what may be missing."""

    what: str
    good: bool | None
    found: str
    remedy: str = ""


@with_option_groups
def doctor(
    connection: given.Connection,
    file: Annotated[Path | None, typer.Argument(help="A movie to look at as well.")] = None,
    sampling: given.Sampling = None,
    out_dir: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results would go.")] = Path(),
) -> None:
    """Look at installation, server or local model, disk and a file, and say what to do.

    Exit status: 0 all well, 1 something is not.

    Examples:

      segdepth doctor

      segdepth doctor movie.mrc --server 127.0.0.1:50051
    """
    findings = [_python(), *_packages(), _disk(out_dir)]
    about_models, models = _models(connection)
    findings += about_models
    if file is not None:
        findings += _file(file, sampling, models)
    table = Table("", "what", "found", "what to do")
    for finding in findings:
        mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]-[/]"}[finding.good]
        table.add_row(mark, escape(finding.what), escape(finding.found), escape(finding.remedy))
    out().print(table)
    raise typer.Exit(FAILED if any(finding.good is False for finding in findings) else 0)


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding("python", good, platform.python_version(), "" if good else "use Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    for name in REQUIRED:
        found = _version(name)
        yield Finding(name, found is not None, found or "missing", "" if found else "pip install segdepth")
    for name, extra in EXTRAS.items():
        found = _version(name)
        yield Finding(
            name, True if found else None, found or "not installed", "" if found else f"pip install '{extra}'"
        )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _disk(folder: Path) -> Finding:
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        return Finding("disk", False, f"{there}: not writable", "choose another --out")
    good = free >= FREE_BYTES
    return Finding("disk", good, f"{free / 1e9:.1f} GB free at {there}", "" if good else "make room, or another --out")


def _models(connection: given.Connection) -> tuple[list[Finding], list[ModelInfo]]:
    name = f"server {connection.server}" if connection.server else "local model"
    remedy = (
        "is it running (segdepth serve)? are address, --token and --tls right?"
        if connection.server
        else "pip install 'segdepth[local]', set SEGDEPTH_STORE, or use --server HOST:PORT"
    )
    try:
        with connection.open() as client:
            healthy = client.healthy(timeout_s=TIMEOUT_S)
            models = client.models(timeout_s=TIMEOUT_S)
    except SegDepthError as error:
        return [Finding(name, False, str(error), remedy)], []
    found = "a model answers" if healthy else "reachable, but no model answers"
    findings = [Finding(name, healthy, found, "" if healthy else "see the models below and the server's log")]
    findings += [_model(model) for model in models if model.channels or model.serving]
    if not models:
        findings.append(Finding("models", False, "the store is empty", "register one: segdepth-train release"))
    return findings, models


def _model(model: ModelInfo) -> Finding:
    what = f"{model.version.family} {model.version.version}"
    channels = ", ".join(model.channels)
    named = "answers when it is named" if "stable" in model.channels else "does not answer"
    state = "answers" if model.serving else named
    good = None if not model.serving and not model.problem else not model.problem
    return Finding(what, good, f"{channels}: {model.problem or state}", "segdepth models" if model.problem else "")


def _file(path: Path, sampling: float | None, models: list[ModelInfo]) -> Iterator[Finding]:
    try:
        with open_movie(path, sampling) as movie:
            movie.frame(len(movie) - 1)
            height, width = movie.shape
            yield Finding(
                str(path),
                True,
                f"{len(movie)} frames of {height}x{width} {movie.dtype}, {movie.calibration.sampling_A:g} Å/px",
            )
            yield from (_fits(movie, model) for model in models if model.serving)
    except SegDepthError as error:
        yield Finding(str(path), False, str(error), "see `segdepth estimate --help`")


def _fits(movie: Movie, model: ModelInfo) -> Finding:
    what = f"{movie.path.name} for {model.version.family}"
    low, high = model.sampling_range_A
    sampling_A = movie.calibration.sampling_A
    if not low <= sampling_A <= high:
        return Finding(what, False, f"{sampling_A:g} Å/px is outside {low:g}-{high:g}", "bin it, or check --sampling")
    field_A = min(movie.shape) * sampling_A
    if field_A < model.field_lower_A:
        return Finding(what, False, f"{field_A:.1f} Å of field", f"at least {model.field_lower_A:g} Å are needed")
    return Finding(what, True, "sampling and field fit")
