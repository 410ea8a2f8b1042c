"""python -m segdepth_batch run --job ID: a job of SEGDEPTH_BATCH_STORE, on the Ray of RAY_ADDRESS or a private one."""

import os
import signal
import sys
import threading
from typing import Annotated

import structlog
import typer

from segdepth_artefacts import StoreSettings
from segdepth_artefacts.errors import ArtefactError
from segdepth_artefacts.jobs import job_folder
from segdepth_artefacts.open_objects import open_objects
from segdepth_batch.addresses import Addresses
from segdepth_batch.cluster import ray_for
from segdepth_batch.errors import RayNotStarted
from segdepth_batch.models import with_models
from segdepth_batch.settings import BatchSettings

DONE, FAILED, REFUSED = 0, 1, 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Batch jobs, as a cluster or `segdepth serve` starts them."""


@app.command()
def run(
    job: Annotated[str, typer.Option(help="Id of the job in SEGDEPTH_BATCH_STORE.")],
    watch_stdin: Annotated[
        bool, typer.Option("--watch-stdin", help="End when stdin does: with the process that started this one.")
    ] = False,
) -> None:
    """Do what is left of a job. Settings: SEGDEPTH_BATCH_* and SEGDEPTH_STORE_*.

    Exit status: 0 done or cancelled, 2 refused, 1 failed and worth another try.
    """
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    log = structlog.get_logger("segdepth.batch")
    if watch_stdin:
        threading.Thread(target=_end_with_stdin, name="stdin", daemon=True).start()
    settings = BatchSettings()
    if not settings.store:
        log.error("no store of jobs: set SEGDEPTH_BATCH_STORE to a folder or s3://bucket/prefix")
        raise typer.Exit(REFUSED)
    try:
        settings = with_models(settings)
        addresses = _addresses(settings, job)
        state = addresses.folder().state()
        if not state.over:  # else no Ray need be started
            with ray_for(settings):
                from segdepth_batch.driver import run_job

                state = run_job(addresses, settings)
    except (ArtefactError, RayNotStarted) as error:
        log.error("job.failed", job=job, detail=str(error))
        raise typer.Exit(FAILED) from None
    log.info("job.ended", job=job, status=state.status, detail=state.message)
    raise typer.Exit({"done": DONE, "cancelled": DONE}.get(state.status, REFUSED if state.permanent else FAILED))


def _addresses(settings: BatchSettings, job: str) -> Addresses:
    """UnknownJob if there is no such job."""
    folder = job_folder(open_objects(settings.store, StoreSettings()), job)
    request = folder.request()
    output = request.output or f"{settings.store.rstrip('/')}/{folder.prefix}/output"
    return Addresses(store=settings.store, prefix=folder.prefix, output=output, local=False)


def _end_with_stdin() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    app()
