"""What goes where: results to stdout, progress and errors to stderr, and how a command ends."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segdepth.errors import (
    CannotWrite,
    InsecureToken,
    InvalidFrame,
    NotInstalled,
    SegDepthError,
    UnknownJob,
    UnknownModel,
    UnreadableFile,
)
from segdepth.files import Movie

PIPE_WIDTH = 200

REFRESH_PER_S = 4

_shared: Console | None = None
"""For as long as something is shown at the foot of the terminal."""

ANSWERED, FAILED, UNUSABLE, ALL_REFUSED = 0, 1, 2, 3
"""Exit status: any frame answered; the service failed; the input is unusable; every frame was refused."""

_CALLERS_FAULT = (UnreadableFile, CannotWrite, InvalidFrame, UnknownJob, UnknownModel, NotInstalled, InsecureToken)


def out() -> Console:
    """Results. Made anew each time: tests and pipes exchange stdout."""
    # A pipe has no width: nothing of a table is cut off there.
    return Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def err() -> Console:
    """Progress and errors."""
    return _shared or Console(stderr=True, soft_wrap=True, highlight=False)


def print_error(error: Exception | str) -> None:
    """Say what is wrong, on stderr."""
    message = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    err().print(f"[bold red]error:[/] {escape(message)}")


def print_note(name: str, note: str) -> None:
    """Say what a user should know of a source, on stderr."""
    err().print(f"[yellow]note:[/] {escape(name)}: {escape(note)}")


def print_notes(movie: Movie) -> None:
    """Say what a user should know of how a file was read, on stderr."""
    for note in movie.header.notes:
        print_note(str(movie.path), note)


def status_of(error: SegDepthError) -> int:
    """Exit status for an error."""
    return UNUSABLE if isinstance(error, _CALLERS_FAULT) else FAILED


@contextmanager
def errors_end_the_command() -> Iterator[None]:
    """Turn an error into a line on stderr and an exit status."""
    try:
        yield
    except SegDepthError as error:
        print_error(error)
        raise typer.Exit(status_of(error)) from None


@contextmanager
def live(get_renderable: Callable[[], RenderableType]) -> Iterator[None]:
    """What changes, as it is now, at the foot of a terminal; a file or a pipe has nothing of it."""
    with (
        _at_the_foot() as console,
        Live(get_renderable=get_renderable, console=console, refresh_per_second=REFRESH_PER_S, transient=True),
    ):
        yield


@contextmanager
def _at_the_foot() -> Iterator[Console]:
    """Until it ends, all that goes to stderr goes through one console, which prints it above what changes."""
    global _shared  # noqa: PLW0603 - of the process, as stderr is
    before, _shared = _shared, err()
    try:
        yield _shared
    finally:
        _shared = before


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar of frames with their rate, for a terminal; a file or a pipe has nothing of it."""
    with _at_the_foot() as console, _bar(console) as bar:
        yield bar


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
