"""The results of a folder as they grow: tables and lines with commit points, so that no kill leaves a frame twice.

What is written behind the last commit is cut off before anything else is written there: a table is as long as the
ledger says.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from segdepth.errors import CannotWrite
from segdepth.export.atomic import AtomicFile, cannot_write
from segdepth.export.summary import BEGINNING, UNANSWERED, ending, frame_lines, note_model, status_of
from segdepth.export.table import CSV_HEADER, csv_rows
from segdepth.live.folder.ledger import Ledger, Row
from segdepth.live.json_lines import STDOUT, JsonLines, answer_line
from segdepth.results import Answer, FrameResult, Gap
from segdepth_protos.v1 import frame_pb2

WRITERS = 8
"""Files of one commit that are written at a time."""

COLUMNS, SUMMARY = "columns.csv", "summary.json"


class Results:
    """STEM.columns.csv and STEM.summary.json in `out`, and JSON lines in the file `jsonl` (`-`: stdout), as asked for.

    Answers are collected by `add` and reach the disk, all or none, by `commit`. Raises CannotWrite.
    """

    def __init__(self, ledger: Ledger, out: Path | None, jsonl: str | None = None):
        self._ledger, self._out = ledger, out
        self._rows: dict[int, Row] = {}
        self._text: dict[int, list[str]] = {}
        self._done: dict[int, tuple[int, str]] = {}
        self._lines: list[tuple[int, int, str]] = []
        # A disk is asked once for the tables of many movies, not for one after the other.
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="segdepth-results")
        self._jsonl = _Lines(ledger, jsonl) if jsonl is not None else None
        self.forgotten = [row.path or row.results for row in ledger.unfinished() if not self._whole(row)]
        """Movies of which nothing counts as done any more: their tables have been cut or taken away."""

    def taken(self, results: str) -> bool:
        """Whether files of that beginning are there already, of another command."""
        return self._out is not None and any(self._path(results, name).exists() for name in (COLUMNS, SUMMARY))

    def _whole(self, row: Row) -> bool:
        """Cut off what a killed process left behind the last commit. False: less is there than was committed."""
        if self._out is None:
            return True
        path = self._path(row.results, COLUMNS)
        with _writing(path):
            length = path.stat().st_size if path.exists() else 0
            if length < row.csv_bytes:
                self._ledger.forget(row)
                path.unlink(missing_ok=True)
                return False
            if length > row.csv_bytes:
                os.truncate(path, row.csv_bytes)
        return True

    def add(self, row: Row, index: int, answer: Answer, digest: str, latency_ms: float | None = None) -> None:
        """The answer to frame `index` of a movie; digest: of its pixels; latency_ms: since it was read."""
        of_file = _numbered(answer, index)
        self._rows[row.id] = row
        self._done[row.id] = (index + 1, digest)
        self._lines += [(row.id, index, line) for line in frame_lines(of_file)]
        status = status_of(answer)
        row.counts[status] = row.counts.get(status, 0) + 1
        if isinstance(of_file, FrameResult):
            self._text.setdefault(row.id, []).append(csv_rows(of_file))
            note_model(of_file, row.models)
        if self._jsonl:
            name = row.path or row.results
            self._jsonl.lines.append(answer_line(answer, name, latency_ms=latency_ms, frame=index))

    def say(self, line: str) -> None:
        """A JSON line of another kind."""
        if self._jsonl:
            self._jsonl.lines.append(line)

    def last_words(self, line: str) -> None:
        """A JSON line where nothing else can be written any more, if that can be; a restart cuts it off."""
        if self._jsonl:
            self._jsonl.lines = [line]
            with suppress(CannotWrite):
                self._jsonl.write()

    def commit(self, **meta: Any) -> None:
        """Everything so far onto the disk: first the files, then the ledger, which makes it count."""
        before = {row.id: (row.csv_bytes, row.done, row.last) for row in self._rows.values()}
        try:
            self._append_all()
            if self._jsonl:
                meta |= self._jsonl.write()
            self._ledger.commit(self._rows.values(), self._lines, meta)
            if self._jsonl:
                self._jsonl.committed()
        except CannotWrite:
            for row in self._rows.values():
                row.csv_bytes, row.done, row.last = before[row.id]
            self._cut()
            raise
        for collected in (self._rows, self._text, self._done, self._lines):
            collected.clear()

    def _append_all(self) -> None:
        new_in, rows = set[Path](), list(self._rows.values())
        lengths = list(self._writers.map(lambda row: self._append(row, new_in), rows))
        for folder in new_in:
            _sync_folder(folder)
        for row, length in zip(rows, lengths, strict=True):
            row.csv_bytes = length
            row.done, row.last = self._done[row.id]

    def _append(self, row: Row, new_in: set[Path]) -> int:
        text = "".join(self._text.get(row.id, []))
        if self._out is None:
            return 0
        data = (text if row.csv_bytes else CSV_HEADER + text).encode()
        path = self._path(row.results, COLUMNS)
        with _writing(path):
            new = not path.exists()
            if new:
                path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w+b" if new else "r+b", buffering=0) as file:
                file.truncate(row.csv_bytes)
                file.seek(row.csv_bytes)
                _write_all(file, data)
                os.fsync(file.fileno())
            if new:
                new_in.add(path.parent)
        return row.csv_bytes + len(data)

    def _cut(self) -> None:
        """What did not fit is not left half-written. A restart would cut it, too."""
        for row in self._rows.values():
            if self._out is not None:
                with suppress(OSError):
                    os.truncate(self._path(row.results, COLUMNS), row.csv_bytes)
        if self._jsonl:
            self._jsonl.cut()

    def finish(self, rows: Sequence[Row]) -> None:
        """All frames of these movies are committed: write their summaries, and remember that they are done."""
        if self._out is not None:
            list(self._writers.map(self._summary, rows))
        self._ledger.commit(rows, [], {})

    def _summary(self, row: Row) -> None:
        path = self._path(row.results, SUMMARY)
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        file = AtomicFile(path)
        try:
            file.write(BEGINNING.encode())
            separator = "\n"
            for line in self._ledger.lines(row):
                file.write(f"{separator}{line}".encode())
                separator = ",\n"
            counts = {name: row.counts.get(name, 0) for name in ("ok", "suspect", "refused", UNANSWERED)}
            file.write(ending(row.path or row.results, row.models, counts, state=row.state.value).encode())
            file.finish()
            file.publish()
        except BaseException:
            # An earlier summary, of fewer frames, stays.
            file.discard()
            raise

    def _path(self, results: str, name: str) -> Path:
        assert self._out is not None
        return self._out / f"{results}.{name}"

    def close(self) -> None:
        """Nothing follows."""
        self._writers.shutdown()
        if self._jsonl:
            self._jsonl.close()


class _Lines:
    """JSON lines with a commit point, where they go to a file; to a pipe each line goes once it is written."""

    def __init__(self, ledger: Ledger, target: str):
        self.lines: list[str] = []
        self._path = Path(target)
        self._stream: JsonLines | None = None
        self._file: IO[bytes] | None = None
        self._bytes = self._written = 0
        if target == STDOUT or (self._path.exists() and not self._path.is_file()):
            self._stream = JsonLines(target)
            return
        self._key = f"jsonl {self._path.absolute()}"
        with _writing(self._path):
            self._path.touch()
            length = self._path.stat().st_size
            # Shorter than what was committed: somebody has taken lines away, and new ones follow those that are left.
            self._bytes = self._written = min(int(ledger.meta(self._key, length)), length)
            self._file = self._path.open("r+b", buffering=0)
            self._file.truncate(self._bytes)

    def write(self) -> dict[str, int]:
        """All lines; returns the length of the file with them, for the ledger."""
        text, self.lines = "".join(self.lines), []
        if self._stream:
            self._stream.write(text)
        if not self._file:
            return {}
        data = text.encode()
        with _writing(self._path):
            self._file.seek(self._bytes)
            _write_all(self._file, data)
            os.fsync(self._file.fileno())
        self._written = self._bytes + len(data)
        return {self._key: self._written}

    def committed(self) -> None:
        self._bytes = self._written

    def cut(self) -> None:
        if self._file:
            with suppress(OSError):
                self._file.truncate(self._bytes)

    def close(self) -> None:
        if self._file:
            self._file.close()
        if self._stream:
            # What did not fit through a pipe that is gone has been told.
            with suppress(CannotWrite):
                self._stream.close()


def _numbered(answer: Answer, index: int) -> Answer:
    """The answer to one frame, with the number that it has in its file."""
    if isinstance(answer, Gap):
        return Gap(index, index, answer.reason, answer.detail)
    message = frame_pb2.FrameResult()
    message.CopyFrom(answer.message)
    message.sequence = index
    return FrameResult(message)


def _write_all(file: IO[bytes], data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _sync_folder(folder: Path) -> None:
    # A new file's name, too, has to outlast a power cut. Windows opens no folder.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, CannotWrite):
            raise
        raise cannot_write(path, error) from error
