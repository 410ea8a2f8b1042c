"""`segdepth batch run`: a job on this machine, without a service."""

import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import structlog
import typer
from pydantic import ValidationError
from rich.markup import escape

from segdepth.cli import options as given
from segdepth.cli.console import ANSWERED, FAILED, UNUSABLE, out, print_error, progress
from segdepth_artefacts.errors import ArtefactError
from segdepth_artefacts.folder import FolderStore
from segdepth_artefacts.jobs import JobExists, JobFolder, JobRequest, JobState
from segdepth_batch.addresses import Addresses
from segdepth_batch.errors import RayNotStarted
from segdepth_batch.models import with_models
from segdepth_batch.settings import BatchSettings

PRINCIPAL = "local"
PREFIX = "job"
"""Where a job of this command keeps its documents, in its output."""


def run(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Movies, folders of movies, or s3://bucket/prefix.")
    ],
    out_dir: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the output; a killed job goes on.")],
    sampling: given.Sampling = None,
    model: Annotated[str, typer.Option(metavar="FAMILY[/VERSION]", help="Model, by default the stable one.")] = "",
    store: Annotated[
        str | None, typer.Option(help="Store of models: folder or s3://bucket/prefix.", show_default="the released")
    ] = None,
    maps: Annotated[bool, typer.Option("--maps/--no-maps", help="Depth and confidence of each pixel, as Zarr.")] = True,
    actors: Annotated[int | None, typer.Option(min=1, help="Copies of the model.", show_default="1")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of each.", show_default="all cores")] = None,
) -> None:
    """Count the atoms of whole folders of movies, on a Ray of this machine's own.

    Writes Parquet tables, Zarr maps and manifest.json. The same command again goes on where a killed one stopped.
    Exit status: 0 done, 2 the request cannot be carried out, 1 it failed and may be tried again.

    Examples:

      segdepth batch run night/ --out night-counted

      segdepth batch run s3://microscope/night/ --sampling 0.1 --model ceo2-110 --out night-counted
    """
    changes = {"actors_max": actors, "threads": threads}
    try:
        given_settings = {name: value for name, value in changes.items() if value is not None}
        settings = with_models(BatchSettings.model_validate(given_settings), store)
        _submit(inputs, out_dir, sampling, model, maps)
        raise typer.Exit(_run(out_dir, settings))
    except ValidationError as error:
        print_error("; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()))
    except JobExists as error:
        print_error(f"{out_dir} holds the output of another job: {error}")
    except (ArtefactError, FileNotFoundError) as error:
        print_error(str(error))
    except RayNotStarted as error:
        print_error(str(error))
        raise typer.Exit(FAILED) from None
    raise typer.Exit(UNUSABLE)


def _submit(inputs: list[str], out_dir: Path, sampling: float | None, model: str, maps: bool) -> None:
    family, _, version = model.partition("/")
    request = JobRequest(
        job="local",
        principal=PRINCIPAL,
        created=datetime.now(UTC),
        input=tuple(text if "://" in text else str(Path(text).expanduser().absolute()) for text in inputs),
        sampling_A=sampling,
        family=family,
        version=version,
        output=str(out_dir.absolute()),
        maps=maps,
    )
    digest = hashlib.sha256(json.dumps(request.model_dump(mode="json", exclude={"created", "job"})).encode())
    job = f"local-{digest.hexdigest()[:16]}"
    JobFolder(FolderStore(out_dir.absolute()), PREFIX).create(request.model_copy(update={"job": job}))


def _run(out_dir: Path, settings: BatchSettings) -> int:
    from segdepth_batch.cluster import ray_for
    from segdepth_batch.driver import run_job

    # What is tried again is logged, and stdout is for what the job did.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    addresses = Addresses(store=str(out_dir.absolute()), prefix=PREFIX, output=str(out_dir.absolute()), local=True)
    with progress() as bar:
        task = bar.add_task("starting Ray", total=None, rate="")

        def show(state: JobState) -> None:
            title = f"{state.family} {state.version}" if state.family else "looking at the movies"
            rate = f"{state.frames_per_s:.1f} frames/s" if state.frames_per_s else ""
            bar.update(
                task, description=title, completed=state.frames_done, total=state.frames_total or None, rate=rate
            )

        with ray_for(settings):
            state = run_job(addresses, settings, show)
    if state.status == "done":
        out().print(escape(f"{state.frames_total} frames: {state.message} → {out_dir}"))
        return ANSWERED
    print_error(state.message)
    return UNUSABLE if state.permanent else FAILED
