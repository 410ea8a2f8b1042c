"""Answers as JSON lines: one object a line, as they come."""

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from segdepth.export.atomic import cannot_write
from segdepth.export.table import column_fields
from segdepth.live.account import FrameAccount
from segdepth.live.states import SourceState
from segdepth.results import Answer, FrameResult, Gap

STDOUT = "-"
"""The name of stdout where a file is asked for."""


def answer_line(answer: Answer, source: str, *, latency_ms: float | None = None, **more: Any) -> str:
    """A frame (kind "frame") or a run of frames without an answer (kind "gap"), with the line feed.

    source: where it came from: a channel, a file; latency_ms: from the source to here; more: further fields.
    """
    if isinstance(answer, Gap):
        gap = {"first": answer.first, "last": answer.last, "source": source}
        return line("gap", **gap, reason=answer.reason.value, detail=answer.detail, **more)
    return line("frame", sequence=answer.sequence, source=source, **_frame(answer), latency_ms=latency_ms, **more)


def state_line(state: SourceState, source: str, detail: str = "", **more: Any) -> str:
    """A source is in another state (kind "state")."""
    return line("state", source=source, state=state.value, detail=detail, **more)


def account_line(account: FrameAccount, **more: Any) -> str:
    """What became of all frames (kind "account"): the last line."""
    return line("account", **account.as_dict(), **more)


def line(kind: str, **fields: Any) -> str:
    """One object as a line. Fields that are None are left out; there must be no NaN."""
    known = {name: value for name, value in fields.items() if value is not None}
    return json.dumps({"kind": kind, **known}, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def _frame(result: FrameResult) -> dict[str, Any]:
    fields = column_fields(result)
    columns = {name: values.tolist() for name, values in fields.items() if name not in ("frame", "status")}
    status = result.domain.status.value
    why = result.domain.why() if status != "ok" else None
    return {"status": status, "why": why, "columns": columns, "model": str(result.model)}


class JsonLines:
    """Appends the lines to a file, or writes them to stdout (`-`), each at once. Raises CannotWrite. Safe for threads.

    Half a line at the file's end, left by a process that was killed, is ended first: it alone is no JSON then.
    """

    def __init__(self, target: str | Path):
        self._path, self._own = Path(target), str(target) != STDOUT
        self._lock = threading.Lock()
        self._file: IO[str] = self._try(lambda: _opened(self._path)) if self._own else sys.stdout

    def answer(self, answer: Answer, source: str, *, latency_ms: float | None = None, **more: Any) -> None:
        """The next answer."""
        self.write(answer_line(answer, source, latency_ms=latency_ms, **more))

    def state(self, state: SourceState, source: str, detail: str = "", **more: Any) -> None:
        """A source is in another state."""
        self.write(state_line(state, source, detail, **more))

    def account(self, account: FrameAccount, **more: Any) -> None:
        """What became of all frames."""
        self.write(account_line(account, **more))

    def write(self, text: str) -> None:
        """One line, as the functions of this module make them."""
        self._try(lambda: (self._file.write(text), self._file.flush()))

    def close(self) -> None:
        """No line follows."""
        if self._own:
            self._try(self._file.close)

    def _try(self, act: Callable[[], Any]) -> Any:
        try:
            with self._lock:
                return act()
        except OSError as error:
            raise cannot_write(self._path if self._own else Path("stdout"), error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(path: Path) -> IO[str]:
    half = False
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, 2)
            half = file.read(1) != b"\n"
    opened = path.open("a", encoding="utf-8")
    if half:
        opened.write("\n")
    return opened
