"""`segdepth doctor`: what is there, what is not, and what to do."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from segdepth.calibration import Options
from segdepth.cli import options as given
from segdepth.cli.console import FAILED, errors_end_the_command, out
from segdepth.cli.findings import Finding, table_of
from segdepth.cli.movie_findings import Wanted, movie_findings
from segdepth.cli.option_groups import with_option_groups
from segdepth.cli.sampling import Sampling
from segdepth.client import Client
from segdepth.errors import SegDepthError
from segdepth.results import ModelInfo

REQUIRED = ("grpcio", "protobuf", "numpy", "segdepth-protos")
EXTRAS = {
    **dict.fromkeys(("tifffile", "imagecodecs", "mrcfile", "ncempy", "h5py", "zarr", "pillow"), "segdepth[files]"),
    "rosettasciio": "segdepth[rosettasciio]",
    **dict.fromkeys(("matplotlib", "pyarrow", "ase"), "segdepth[export]"),
    "segdepth-inference": "segdepth[local]",
    "torch": "segdepth[local]",
    "segdepth-stack": "segdepth-stack",
}
FREE_BYTES = 1e9
TIMEOUT_S = 10.0


@with_option_groups
def doctor(
    connection: given.Connection,
    sampling: Sampling,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help=f"A movie to look at as well. {given.FILES}")
    ] = None,
    detector: given.Profile = None,
    model: given.Model = "",
    version: given.Version = "",
    out_dir: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results would go.")] = Path(),
) -> None:
    """Look at installation, server or local model, disk and a file, and say what to do.

    Of FILE it says all that is read of it and where the pixel size comes from, and has its first, middle and last frame
    counted: what estimate would refuse is not ticked.

    Exit status: 0 all well (- is worth a look), 1 something is not.

    Examples:

      segdepth doctor

      segdepth doctor movie.dm4 --server 127.0.0.1:50051

      segdepth doctor movie.npy --sampling 0.08 --detector k3.toml
    """
    with errors_end_the_command(), ExitStack() as stack:
        findings = [_python(), *_packages(), _disk(out_dir)]
        about_models, client = _models(connection, stack)
        findings += about_models
        if file is not None:
            wanted = Wanted(sampling, given.detector(detector), Options(model, version))
            findings += movie_findings(file, wanted, client)
    out().print(table_of(findings))
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
        return metadata.version(package)
    except metadata.PackageNotFoundError:
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


def _models(connection: given.Connection, stack: ExitStack) -> tuple[list[Finding], Client | None]:
    """What there is to say of the models, and a client, open as long as `stack`, if one of them answers."""
    name = f"server {connection.server}" if connection.server else "local model"
    remedy = (
        "is it running (segdepth serve)? are address, --token and --tls right?"
        if connection.server
        else "pip install 'segdepth[local]', set SEGDEPTH_STORE, or use --server HOST:PORT"
    )
    try:
        client = stack.enter_context(connection.open())
        healthy = client.healthy(timeout_s=TIMEOUT_S)
        models = client.models(timeout_s=TIMEOUT_S)
    except SegDepthError as error:
        return [Finding(name, False, str(error), remedy)], None
    found = "a model answers" if healthy else "reachable, but no model answers"
    findings = [Finding(name, healthy, found, "" if healthy else "see the models below and the server's log")]
    findings += [_model(model) for model in models if model.channels or model.serving]
    if not models:
        findings.append(Finding("models", False, "the store is empty", "register one: segdepth-train release"))
    return findings, client if healthy else None


def _model(model: ModelInfo) -> Finding:
    what = f"{model.version.family} {model.version.version}"
    channels = ", ".join(model.channels)
    named = "answers when it is named" if "stable" in model.channels else "does not answer"
    state = "answers" if model.serving else named
    good = None if not model.serving and not model.problem else not model.problem
    return Finding(what, good, f"{channels}: {model.problem or state}", "segdepth models" if model.problem else "")
