"""Options that several commands have: each command has all of them, and hands on what was given."""

from dataclasses import dataclass, fields
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from segdepth.cli.app import app
from segdepth.cli.batch import Service
from segdepth.cli.option_groups import with_option_groups
from segdepth.cli.options import Connection

COMMANDS = typer.main.get_command(app)


@dataclass(frozen=True)
class Camera:
    """A group of options."""

    exposure_ms: Annotated[int, typer.Option("--exposure", envvar="CAMERA_EXPOSURE")] = 5
    binning: int = 1


@pytest.fixture
def run():
    """What a command of one file and a camera was given."""
    seen = []
    single = typer.Typer()

    @single.command()
    @with_option_groups
    def record(file: str, camera: Camera, dark: bool = False) -> None:
        """Take a picture."""
        seen.append((file, camera, dark))

    def run(*arguments, **environment):
        done = CliRunner().invoke(single, arguments, env=environment)
        assert done.exit_code == 0, done.output
        return seen.pop()

    return run


def test_a_groups_options_arrive_together(run):
    assert run("a.mrc", "--exposure", "7", "--dark") == ("a.mrc", Camera(exposure_ms=7), True)


def test_a_groups_defaults_and_variables(run):
    assert run("a.mrc") == ("a.mrc", Camera(), False)
    assert run("a.mrc", CAMERA_EXPOSURE="9") == ("a.mrc", Camera(exposure_ms=9), False)


def options_of(*path):
    command = COMMANDS
    for name in path:
        command = command.get_command(typer.Context(command), name)
    return {option.name for option in command.params}


@pytest.mark.parametrize(
    "path",
    [("estimate",), ("stream",), ("doctor",), ("models",)]
    + [("models", name) for name in ("promote", "rollback", "history")],
    ids=" ".join,
)
def test_every_command_that_asks_a_server_takes_the_whole_connection(path):
    assert {field.name for field in fields(Connection)} <= options_of(*path)


@pytest.mark.parametrize("name", ["submit", "status", "list", "cancel"])
def test_every_command_about_jobs_takes_the_service(name):
    assert {field.name for field in fields(Service)} <= options_of("batch", name)


@pytest.mark.parametrize(
    "name, commands", [("once", ("watch", "track")), ("settle", ("watch", "track")), ("patience", ("pva", "track"))]
)
def test_live_commands_say_the_same_alike(name, commands):
    options = [
        (option.opts, option.help, option.default, option.metavar)
        for command in commands
        for option in COMMANDS.get_command(typer.Context(COMMANDS), command).params
        if option.name == name
    ]
    assert len(options) == len(commands)
    assert options[0] == options[1]
