"""Commands that other packages add, by entry points."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup


class Commands(TyperGroup):
    """Imports the commands of other packages only when they run: a station's --help need not import a server.

    `group`: entry points that are commands; `packages`: of each command that may not be installed its package, and a
    line for --help.
    """

    group: ClassVar[str] = "segdepth.commands"
    packages: ClassVar[dict[str, tuple[str, str]]] = {
        "serve": ("segdepth-stack", "Run gateway, model and HTTP api on this machine until Ctrl-C.")
    }

    def list_commands(self, ctx: Any) -> list[str]:
        """Names for --help."""
        return [*super().list_commands(ctx), *sorted(self._plugins())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name; of another package's only its name and what it does."""
        if cmd_name in self._plugins():
            return TyperCommand(cmd_name, help=self.packages.get(cmd_name, ("", ""))[1])
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command to run."""
        name = args[0]
        if entry_point := self._plugins().get(name):
            return name, self._load(entry_point), args[1:]
        if name in self.packages:
            raise typer.BadParameter(f"{name!r} is not installed: pip install {self.packages[name][0]}")
        return super().resolve_command(ctx, args)

    def _plugins(self) -> dict[str, EntryPoint]:
        return {entry_point.name: entry_point for entry_point in entry_points(group=self.group)}

    def _load(self, entry_point: EntryPoint) -> Any:
        try:
            function = entry_point.load()
        except ImportError as error:
            package = self.packages.get(entry_point.name, (entry_point.module.partition(".")[0], ""))[0]
            raise typer.BadParameter(f"{entry_point.name!r} cannot start ({error}): pip install {package}") from error
        alone = typer.Typer(rich_markup_mode="rich", add_completion=False)
        alone.command(entry_point.name)(function)
        return typer.main.get_command(alone)
