"""`segdepth watch`: a folder in which movies arrive and grow."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from segdepth.backoff import Patience
from segdepth.calibration import Options, Policy
from segdepth.cli import options as given
from segdepth.cli.console import ALL_REFUSED, ANSWERED, UNUSABLE, err, errors_end_the_command, live, out, print_note
from segdepth.cli.live_status import Service, ended_by_signals
from segdepth.cli.option_groups import with_option_groups
from segdepth.cli.reasons import Reasons
from segdepth.live.account import FrameAccount
from segdepth.live.folder.told import Told
from segdepth.live.folder.watch import FolderWatch, Target
from segdepth.live.json_lines import STDOUT
from segdepth.live.states import SERVICE, SourceState

PATIENCE = Patience(reconnection_s=3600.0)
"""A watch runs unattended: a service that is away for the night's upgrade is waited for."""

_QUIET = {SourceState.RUNNING, SourceState.ENDED, SourceState.STOPPED, SourceState.RENAMED}
"""States that are no trouble."""


@with_option_groups
def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder in which the movies arrive.")],
    connection: given.Connection,
    out_dir: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for the results of each movie.")
    ] = None,
    jsonl: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Answers as JSON lines, appended to FILE; - is stdout.")
    ] = None,
    pattern: Annotated[
        str, typer.Option(metavar="GLOB", help="Names to look at; '**/*.mrc' also in folders below.")
    ] = "*",
    settle: given.Settle = 5.0,
    sampling: given.Sampling = None,
    detector: given.Profile = None,
    policy: Annotated[
        Policy,
        typer.Option(help="When the service is slower than the camera: wait, or drop the oldest frame as a live view."),
    ] = "block",
    deadline: Annotated[
        float | None, typer.Option(min=0.001, metavar="S", help="A frame not answered after this long is a gap.")
    ] = None,
    once: given.Once = False,
    batch: Annotated[bool, typer.Option("--batch", help="Let interactive users go first.")] = False,
    model: given.Model = "",
    version: given.Version = "",
) -> None:
    """Count the atoms in movies as they arrive in a folder, and as they grow.

    With --out DIR each movie gives STEM.columns.csv, which grows with it, and
    STEM.summary.json once it is complete. Files that are no movies are named once
    and left alone; half-written ones are waited for.

    Start it again, after whatever ended it, and it goes on where it was: each
    frame stands in the results exactly once. Ctrl-C answers what is under way,
    and says what became of every frame.

    Exit status: 0 any frame answered or none came, 3 all refused, 2 unusable
    input or full disk, 1 the service failed.

    Examples:

      segdepth watch /data/today --server 127.0.0.1:50051 --out results

      segdepth watch /data --pattern '**/*.mrc' --server gateway.lab:50051 --tls --out results

      segdepth watch /data/today --server 127.0.0.1:50051 --jsonl - | jq '.status // empty'

      segdepth watch /data/today --sampling 0.08 --detector k3.toml --out results --once
    """
    options = Options(model, version, priority="batch" if batch else "interactive")
    unreadable: list[str] = []
    service, reasons = Service(), Reasons()

    def say(told: Told) -> None:
        if told.state is SourceState.UNREADABLE:
            unreadable.append(told.name)
        if told.name == SERVICE and not told.state.final:
            service.show(told.state, told.detail)
        else:
            _print(told)

    def status() -> str:
        return escape("\n".join([*told(), *service.lines()]))

    def told() -> list[str]:
        return [*watched.account.lines(), *reasons.lines(watched.account.seen)]

    with (
        errors_end_the_command(),
        FolderWatch(
            folder,
            Target(out_dir, jsonl),
            say,
            pattern=pattern,
            settle_s=settle,
            sampling_A=sampling,
            detector=given.detector(detector),
            once=once,
        ) as watched,
        connection.open(PATIENCE, watched.outage) as client,
        ended_by_signals(watched.stop),
    ):
        try:
            with live(status):
                watched.run(client, options, policy=policy, frame_deadline_s=deadline, answered=reasons.of)
        finally:
            (err() if jsonl == STDOUT else out()).print(escape("\n".join(told())))
    raise typer.Exit(_status(watched.account, unreadable=bool(unreadable)))


def _print(told: Told) -> None:
    colour = "cyan" if told.state in _QUIET else "yellow"
    detail = f": {told.detail}" if told.detail else ""
    err().print(f"[{colour}]{told.state.value}:[/] {escape(told.name)}{escape(detail)}")
    for note in told.notes:
        print_note(told.name, note)


def _status(account: FrameAccount, *, unreadable: bool) -> int:
    if account.usable:
        return ANSWERED
    if not account.seen:
        return UNUSABLE if unreadable else ANSWERED
    return ALL_REFUSED
