"""All commands: ours, and those that other packages add (entry point group `segdepth.commands`)."""

from importlib.metadata import EntryPoint, entry_points

import click
import typer
from typer.core import TyperGroup

from segdepth.cli import doctor, estimate, models, stream

GROUP = "segdepth.commands"

ELSEWHERE = {"serve": "segdepth-stack"}
"""Commands that a package adds which may not be installed."""


class Commands(TyperGroup):
    """Loads the commands of other packages only when they are asked for: a station need not import a server."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names for --help."""
        return [*super().list_commands(ctx), *sorted(_added())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            return command
        if entry_point := _added().get(cmd_name):
            return _load(entry_point)
        if cmd_name in ELSEWHERE:
            raise click.UsageError(f"{cmd_name!r} is not installed: pip install {ELSEWHERE[cmd_name]}")
        return None


def _added() -> dict[str, EntryPoint]:
    return {entry_point.name: entry_point for entry_point in entry_points(group=GROUP)}


def _load(entry_point: EntryPoint) -> click.Command:
    try:
        function = entry_point.load()
    except ImportError as error:
        package = ELSEWHERE.get(entry_point.name, entry_point.module.partition(".")[0])
        raise click.UsageError(f"{entry_point.name!r} cannot start ({error}): pip install {package}") from error
    alone = typer.Typer(rich_markup_mode="rich")
    alone.command(entry_point.name)(function)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="segdepth",
    cls=Commands,
    help="Atom counts per column from noisy high-resolution TEM frames.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
app.command("estimate")(estimate.estimate)
app.command("stream")(stream.stream)
app.add_typer(models.app, name="models")
app.command("doctor")(doctor.doctor)
