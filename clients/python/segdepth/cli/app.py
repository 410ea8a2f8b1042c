"""All commands: ours, and those that other packages add (entry point group `segdepth.commands`)."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from segdepth.cli import doctor, estimate, models, stream

GROUP = "segdepth.commands"

ELSEWHERE = {"serve": ("segdepth-stack", "Run gateway, model and HTTP api on this machine until Ctrl-C.")}
"""Commands of packages that may not be installed: the package, and a line for --help."""


class Commands(TyperGroup):
    """Imports the commands of other packages only when they run: a station's --help need not import a server."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names for --help."""
        return [*super().list_commands(ctx), *sorted(_added())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name; of another package's only its name and what it does."""
        if cmd_name in _added():
            return TyperCommand(cmd_name, help=ELSEWHERE.get(cmd_name, ("", ""))[1])
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command to run."""
        name = args[0]
        if entry_point := _added().get(name):
            return name, _load(entry_point), args[1:]
        if name in ELSEWHERE:
            raise typer.BadParameter(f"{name!r} is not installed: pip install {ELSEWHERE[name][0]}")
        return super().resolve_command(ctx, args)


def _added() -> dict[str, EntryPoint]:
    return {entry_point.name: entry_point for entry_point in entry_points(group=GROUP)}


def _load(entry_point: EntryPoint) -> Any:
    try:
        function = entry_point.load()
    except ImportError as error:
        package = ELSEWHERE.get(entry_point.name, (entry_point.module.partition(".")[0], ""))[0]
        raise typer.BadParameter(f"{entry_point.name!r} cannot start ({error}): pip install {package}") from error
    alone = typer.Typer(rich_markup_mode="rich", add_completion=False)
    alone.command(entry_point.name)(function)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="segdepth",
    cls=Commands,
    help="Atom counts per column from noisy high-resolution TEM frames.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("estimate")(estimate.estimate)
app.command("stream")(stream.stream)
app.add_typer(models.app, name="models")
app.command("doctor")(doctor.doctor)
