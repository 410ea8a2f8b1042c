"""How far a step is: a bar where somebody watches, else a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY_S = 5.0
"""Shortest time between two lines of the same step; its last one is always written."""

console = Console(stderr=True)


def say(text: str) -> None:
    """A line for people: beside the bars of a terminal, else in the log on stdout."""
    if console.is_terminal:
        console.print(text, highlight=False, markup=False)
    else:
        print(text, flush=True)


class Lines:
    """Progress as lines on stdout: call with (done, total, figures)."""

    def __init__(self, title: str):
        self._title = title
        self._next_s = 0.0

    def __call__(self, done: int, total: int, figures: dict[str, float] | None = None) -> None:
        """Write a line, if it is time for one."""
        now = time.monotonic()
        if now < self._next_s and done < total:
            return
        self._next_s = now + EVERY_S
        print(f"{self._title} {done}/{total}  {in_words(figures)}".rstrip(), flush=True)


def in_words(figures: dict[str, float] | None) -> str:
    """Figures beside a bar or in a line."""
    return "  ".join(f"{name} {value:.3g}" for name, value in (figures or {}).items())


@contextmanager
def bar(title: str) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr, or lines on stdout where that is no terminal: call with (done, total, figures)."""
    if not console.is_terminal:
        yield Lines(title)
        return
    columns = (
        *(TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
        *(TimeRemainingColumn(), TextColumn("{task.fields[figures]}")),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None, figures="")

        def show(done: int, total: int, figures: dict[str, float] | None = None) -> None:
            progress.update(task, completed=done, total=total, figures=in_words(figures))

        yield show


def wide() -> Console:
    """stdout for tables, wide enough for them where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 160)
