"""Where the answers of a live command go as they come: JSON lines, a table that grows, a channel of PV Access."""

import re
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

import typer
from rich.markup import escape

from segdepth.cli.console import err
from segdepth.export.atomic import cannot_write
from segdepth.export.growing import GrowingFile
from segdepth.export.table import CsvTable
from segdepth.live.account import FrameAccount
from segdepth.live.json_lines import STDOUT, JsonLines
from segdepth.live.states import SERVICE, SourceState
from segdepth.results import Answer

PANEL = "Results"

ACCOUNT_EVERY_S = 1.0
"""How often the account is served."""

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Results:
    """The options of where they go."""

    jsonl: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Append answers as JSON lines; - is stdout.", rich_help_panel=PANEL),
    ] = None
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for a columns.csv that grows.", rich_help_panel=PANEL),
    ] = None
    publish: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Serve the latest answer as NTTable NAME, and NAME:Account.", rich_help_panel=PANEL
        ),
    ] = None
    publish_on: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Where to serve it.",
            rich_help_panel=PANEL,
        ),
    ] = LOOPBACK

    @property
    def take_stdout(self) -> bool:
        """Whether stdout is for JSON lines, and for nothing else."""
        return self.jsonl == STDOUT


class Leaving:
    """The answers' ways out: JSON lines, a table that grows, a channel. Raises CannotWrite. Safe for threads."""

    def __init__(self, results: Results, source: str, account: FrameAccount):
        self._source, self._account = source, account
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._served_at = -ACCOUNT_EVERY_S
        self._published: Any = None
        self._finished = False
        with ExitStack() as stack:
            self._lines = stack.enter_context(JsonLines(results.jsonl)) if results.jsonl else None
            self._table = CsvTable(_table_file(results.out_dir, source)) if results.out_dir else None
            if self._table:
                stack.callback(self._table.finish)
            if results.publish:
                from segdepth.live.pva_server import PvaServer, ResultTable

                self._published = ResultTable(results.publish)
                stack.enter_context(PvaServer(self._published, address=results.publish_on))
            self._stack = stack.pop_all()

    def add(self, answer: Answer, known: dict[str, Any]) -> None:
        """The next answer, and what is known of its frame besides."""
        with self._lock:
            if self._lines:
                self._lines.answer(answer, self._source, **known)
            if self._table:
                self._table.add(answer)
            if self._published:
                self._published.add(answer)
                if time.monotonic() - self._served_at > ACCOUNT_EVERY_S:
                    self._serve_account()

    def state(self, state: SourceState, detail: str) -> None:
        """The source is in another state. One that it comes to after the end is not told any more."""
        if self._finished:
            return
        if state not in (SourceState.RUNNING, SourceState.STOPPED):
            err().print(f"[yellow]{state.value}:[/] {escape(self._source)}: {escape(detail)}")
        with self._lock:
            if self._lines and not self._finished:
                self._lines.state(state, self._source, detail)

    def service(self, state: SourceState, detail: str) -> None:
        """The service is away, or back."""
        with self._lock:
            if self._lines and not self._finished:
                self._lines.state(state, SERVICE, detail)
            if self._published and state is SourceState.AWAY:
                self._published.away(f"{SERVICE} {state.value} {detail}")

    def _serve_account(self) -> None:
        self._published.account(self._account)
        self._served_at = time.monotonic()

    def finish(self) -> None:
        """No answer follows."""
        with self._lock:
            self._finished = True
            if self._published:
                self._serve_account()
            if self._lines:
                self._lines.account(self._account)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _table_file(out_dir: Path, source: str) -> GrowingFile:
    # With the time, so that an earlier run's is not written over; what a file's name cannot have is left out.
    started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
    path = out_dir / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', source)}.{started}.columns.csv"
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    return GrowingFile(path)
