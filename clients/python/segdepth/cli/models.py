"""`segdepth models`: what there is, what answers, and who changed that."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from segdepth.cli import options as given
from segdepth.cli.console import out
from segdepth.cli.option_groups import with_option_groups
from segdepth.results import ChannelChange, ModelVersion, Shadow

app = typer.Typer(help="List models; promote, roll back, and see who did.", rich_markup_mode="rich")

Family = Annotated[str, typer.Argument(help="Model family, for example ceo2-110.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the history.")]


@app.callback(invoke_without_command=True)
@with_option_groups
def models(
    context: typer.Context,
    connection: given.Connection,
    family: Annotated[str, typer.Option(help="Only this family.")] = "",
) -> None:
    """List the models that the server, or the local store, has.

    Examples:

      segdepth models --server 127.0.0.1:50051

      segdepth models promote ceo2-110 1.1.0 --reason "better at 100 e/Å²" --server 127.0.0.1:50051
    """
    if context.invoked_subcommand is not None:
        return
    with connection.client() as client:
        found = client.models(family)
    table = Table("family", "version", "channels", "serving", "Å/px", "field", "created", "knows", "assumes")
    for model in found:
        low, high = model.sampling_range_A
        table.add_row(
            escape(model.version.family),
            escape(model.version.version),
            escape(", ".join(model.channels)) + (" [red](forced)[/]" if model.forced else ""),
            f"[red]no: {escape(model.problem)}[/]" if model.problem else "yes" if model.serving else "",
            f"{low:g}-{high:g}",
            f"≥ {model.field_lower_A:g} Å",
            f"{model.created:%Y-%m-%d}" if model.created else "",
            escape(model.description),
            escape(model.assumes),
        )
    out().print(table)
    for model in found:
        if model.forced:
            out().print(escape(f"{model.version.family} {model.version.version} is stable by force: {model.forced}"))
        if model.shadow is not None:
            _show(model.version, model.shadow)


def _show(candidate: ModelVersion, shadow: Shadow) -> None:
    """What replicas saw of a candidate."""
    if not shadow.frames:
        out().print(escape(f"{candidate.family} {candidate.version}: no frame yet in the shadow of {shadow.stable}"))
        return
    title = f"{candidate.family} {candidate.version} in the shadow of {shadow.stable}: {shadow.frames} frames"
    since = f" since {shadow.since:%Y-%m-%d %H:%M} UTC" if shadow.since else ""
    out().print(escape(f"{title}{since} ({shadow.frames_dropped} sampled but not compared: busy)"))
    table = Table(
        "e/Å²", "frames", "verdict differs", "columns", "count differs", "both sure", "of these differ", "alone"
    )
    for counts in shadow.doses:
        alone = counts.only_stable + counts.only_candidate
        table.add_row(
            escape(counts.dose),
            str(counts.frames),
            _share(counts.verdicts_differ, counts.frames),
            str(counts.columns),
            _share(counts.counts_differ, counts.columns),
            str(counts.confident_columns),
            _share(counts.confident_differ, counts.confident_columns),
            _share(alone, counts.columns + alone),
        )
    out().print(table)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


@app.command()
@with_option_groups
def promote(
    family: Family,
    version: Annotated[str, typer.Argument(help="Version that `stable` shall point at.")],
    reason: Reason,
    connection: given.Connection,
    force: Annotated[bool, typer.Option("--force", help="Against the gates' refusals; recorded with them.")] = False,
) -> None:
    """Point `stable` at a version: every replica changes to it, no frame is lost.

    The gates refuse, each with its figure, a version that is worse than stable, badly calibrated, or misses its
    recipe's own bars.
    """
    with connection.client() as client:
        _say(client.promote(family, version, reason, force=force))


@app.command()
@with_option_groups
def rollback(
    family: Family,
    reason: Reason,
    connection: given.Connection,
) -> None:
    """Point `stable` back at the version before."""
    with connection.client() as client:
        _say(client.rollback(family, reason))


@app.command()
@with_option_groups
def history(
    family: Family,
    connection: given.Connection,
) -> None:
    """Every change of the family's channels, newest first."""
    with connection.client() as client:
        changes = client.history(family)
    table = Table("time", "channel", "from", "to", "who", "why")
    for change in changes:
        forced = " (forced)" if change.forced else ""
        table.add_row(
            f"{change.time:%Y-%m-%d %H:%M:%S} UTC",
            change.channel,
            escape(change.from_version),
            escape(change.to_version),
            escape(change.principal),
            escape(change.reason) + forced,
        )
    out().print(table)


def _say(change: ChannelChange) -> None:
    line = f"{change.family} {change.channel}: {change.from_version or 'nothing'} → {change.to_version}"
    out().print(escape(line))
