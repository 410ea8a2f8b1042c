"""`segdepth batch`: jobs over whole movies, on a service or on this machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import typer
from rich.markup import escape
from rich.table import Table

from segdepth.cli import options as given
from segdepth.cli.console import ANSWERED, FAILED, err, errors_end_the_command, out, progress
from segdepth.cli.option_groups import with_option_groups
from segdepth.cli.plugins import Commands
from segdepth.errors import UnreadableFile
from segdepth.jobs import BatchClient, BatchJob

LOCAL_API = "http://127.0.0.1:8080"

POLL_S = 1.0
"""How often a job that is waited for is asked after [s]."""


class BatchCommands(Commands):
    """`run` belongs to segdepth-batch."""

    group: ClassVar[str] = "segdepth.batch"
    packages: ClassVar[dict[str, tuple[str, str]]] = {
        "run": ("segdepth-batch", "Count whole folders of movies on this machine, without a service.")
    }


app = typer.Typer(
    cls=BatchCommands,
    help="Jobs over whole movies: submit, follow, cancel; or run one on this machine.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Api = Annotated[
    str,
    typer.Option("--api", envvar="SEGDEPTH_API", metavar="URL", help="The HTTP api.", rich_help_panel=given.CONNECTION),
]


@dataclass(frozen=True)
class Service:
    """How to reach the HTTP api."""

    api: Api = LOCAL_API
    token: given.Token = None
    ca: given.Ca = None

    @contextmanager
    def client(self) -> Iterator[BatchClient]:
        """A client whose errors end the command."""
        with errors_end_the_command(), BatchClient(self.api, token=self.token, ca=self.ca) as client:
            yield client


Job = Annotated[str, typer.Argument(help="Id of the job.")]


@app.command()
@with_option_groups
def submit(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="s3:// files or folders, or files of this machine, which are uploaded."),
    ],
    service: Service,
    sampling: given.Sampling = None,
    model: Annotated[str, typer.Option(metavar="FAMILY[/VERSION]", help="Model, by default the stable one.")] = "",
    priority: Annotated[Literal["low", "normal", "high"], typer.Option(help="Against other jobs.")] = "normal",
    output: Annotated[
        str, typer.Option(metavar="S3", help="s3:// folder for the output; by default the job's own.")
    ] = "",
    maps: Annotated[bool, typer.Option("--maps/--no-maps", help="Depth and confidence of each pixel.")] = True,
    key: Annotated[str | None, typer.Option(help="Name of this submission: repeated, it makes no second job.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show the progress until the job ends.")] = False,
) -> None:
    """Submit a job; prints its id. With --wait the exit status is 0 only if the job is done.

    Examples:

      segdepth batch submit s3://segdepth-batch/data/alice/night/ --api https://segdepth.lab --wait

      segdepth batch submit *.mrc --sampling 0.1 --model ceo2-110
    """
    with service.client() as client:
        job = client.submit(
            [text if "://" in text else _uploaded(client, Path(text)) for text in inputs],
            sampling_A=sampling,
            model=model,
            priority=priority,
            output=output,
            maps=maps,
            key=key,
        )
        out().print(job.job)
        if wait:
            raise typer.Exit(_followed(client, job))


@app.command()
@with_option_groups
def status(
    job: Job,
    service: Service,
    wait: Annotated[bool, typer.Option("--wait", help="Show the progress until the job ends.")] = False,
) -> None:
    """How far a job is.

    Example: segdepth batch status batch-0123456789abcdef0123 --wait
    """
    with service.client() as client:
        found = client.job(job)
        if wait:
            raise typer.Exit(_followed(client, found))
    _say(found)


@app.command("list")
@with_option_groups
def list_jobs(
    service: Service,
    everyone: Annotated[bool, typer.Option("--everyone", help="Jobs of all principals; scope admin.")] = False,
) -> None:
    """The latest jobs, newest first.

    Example: segdepth batch list --api https://segdepth.lab
    """
    with service.client() as client:
        jobs = client.jobs(everyone=everyone)
    table = Table("job", "status", "frames", "model", "created", "output", *(["who"] if everyone else []))
    for job in jobs:
        who = [escape(job.principal)] if everyone else []
        frames = f"{job.frames_done}/{job.frames_total}" if job.frames_total else ""
        table.add_row(job.job, job.status, frames, escape(job.model), job.created[:19], escape(job.output), *who)
    out().print(table)


@app.command()
@with_option_groups
def cancel(job: Job, service: Service) -> None:
    """End a job after the chunks under way; what was done stays.

    Example: segdepth batch cancel batch-0123456789abcdef0123
    """
    with service.client() as client:
        _say(client.cancel(job))


def _uploaded(client: BatchClient, path: Path) -> str:
    if not path.is_file():
        raise UnreadableFile(f"{path}: no such file; a folder is given to `segdepth batch run`, or as s3://")
    err().print(escape(f"uploading {path}"))
    return client.upload(path)


def _followed(client: BatchClient, job: BatchJob) -> int:
    """Show the job's progress until it ends; the exit status."""
    try:
        with progress() as bar:
            task = bar.add_task(job.job, total=None, rate="")
            while not job.ended:
                time.sleep(POLL_S)
                job = client.job(job.job)
                bar.update(
                    task,
                    description=f"{job.job} {job.status}",
                    completed=job.frames_done,
                    total=job.frames_total or None,
                    rate=f"{job.frames_per_s:.1f} frames/s" if job.frames_per_s else "",
                )
    except KeyboardInterrupt:
        err().print(f"{job.job} goes on; segdepth batch cancel {job.job} ends it")
        raise
    _say(job)
    return ANSWERED if job.status == "done" else FAILED


def _say(job: BatchJob) -> None:
    parts = [f"{job.job}: {job.status}"]
    if job.frames_total:
        parts.append(f"{job.frames_done} of {job.frames_total} frames, {job.chunks_done} of {job.chunks_total} chunks")
    if not job.ended and job.frames_per_s:
        parts.append(
            f"{job.frames_per_s:.1f} frames/s" + (f", {job.eta_s:.0f} s to go" if job.eta_s is not None else "")
        )
    if job.model:
        parts.append(job.model)
    if job.message:
        parts.append(job.message)
    out().print(escape("; ".join(parts) + f" → {job.output}"))
