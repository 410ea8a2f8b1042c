"""columns.csv that grows: each frame's rows are in the file as soon as it is answered."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from segdepth.errors import CannotWrite
from segdepth.export.atomic import cannot_write
from segdepth.export.table import CSV_HEADER, csv_rows
from segdepth.results import Answer, FrameResult


class GrowingTable:
    """A new columns.csv. Holds whole frames at any moment, also when the disk is full. Raises CannotWrite."""

    def __init__(self, path: Path):
        self.path = path
        self._size = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Nothing waits in a buffer: what is written is seen. Nothing that is there is overwritten.
            self._file = path.open("xb", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from error
        self._append(CSV_HEADER)

    def add(self, answer: Answer) -> None:
        """The next answer; one without columns has no rows."""
        if isinstance(answer, FrameResult) and len(answer.columns):
            self._append(csv_rows(answer))

    def _append(self, text: str) -> None:
        data = memoryview(text.encode())
        try:
            while data:
                # A disk that is nearly full takes a part, and refuses the next.
                data = data[self._file.write(data) or 0 :]
        except OSError as error:
            self._forget_half_a_frame()
            raise cannot_write(self.path, error) from error
        self._size += len(text.encode())

    def _forget_half_a_frame(self) -> None:
        try:
            self._file.truncate(self._size)
            self._file.seek(self._size)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """No answer follows: all of it onto the disk. May be called twice."""
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except CannotWrite:
            # What went wrong first says more.
            if error is None:
                raise
