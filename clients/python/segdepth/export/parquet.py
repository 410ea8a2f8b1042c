"""columns.parquet: the table of columns.csv with types, units, and what it was made with."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segdepth.dataframes import Fields, to_arrow
from segdepth.export.atomic import AtomicFile, cannot_write
from segdepth.export.table import column_fields
from segdepth.results import Answer, FrameResult
from segdepth_protos.v1 import frame_pb2

ROW_GROUP = 16_384
"""Rows that are collected before they are written, at least."""

_NO_ROWS = column_fields(FrameResult(frame_pb2.FrameResult()))

COLUMNS = to_arrow(_NO_ROWS).schema
"""The fields of columns.csv with the same rounding; the metadata of a field holds its unit."""


def arrow_table(frames: Sequence[Fields]) -> pa.Table:
    """The rows of several frames, each as `column_fields` gives it."""
    return to_arrow({name: np.concatenate([_NO_ROWS[name], *(one[name] for one in frames)]) for name in _NO_ROWS})


class ParquetTable:
    """Writes the table as the frames come, a row group for every ROW_GROUP rows or so. Raises CannotWrite."""

    def __init__(self, file: AtomicFile, about: Mapping[str, Any]):
        """`about`: what holds for the whole table, as JSON in the schema's metadata under "segdepth"."""
        self._file, self._about = file, dict(about)
        self._models: list[dict[str, str]] = []
        self._waiting: list[Fields] = []
        self._rows = 0
        self._writer = pq.ParquetWriter(file.handle, COLUMNS, compression="zstd")

    def add(self, answer: Answer) -> None:
        """The next answer; one without columns has no rows."""
        if isinstance(answer, FrameResult):
            self._add(answer)

    def _add(self, result: FrameResult) -> None:
        model = {"family": result.model.family, "version": result.model.version, "sha256": result.model.sha256}
        if model not in self._models:
            self._models.append(model)
        if not len(result.columns):
            return
        self._waiting.append(column_fields(result))
        self._rows += len(result.columns)
        if self._rows >= ROW_GROUP:
            self._write()

    def _write(self) -> None:
        try:
            self._writer.write_table(arrow_table(self._waiting))
        except OSError as error:
            raise cannot_write(self._file.path, error) from error
        self._waiting, self._rows = [], 0

    def finish(self) -> None:
        """No frame follows."""
        if self._rows:
            self._write()
        about = json.dumps({**self._about, "models": self._models}, ensure_ascii=False)
        try:
            self._writer.add_key_value_metadata({"segdepth": about})
            self._writer.close()
        except OSError as error:
            raise cannot_write(self._file.path, error) from error
        self._file.finish()

    def abandon(self) -> None:
        """Nothing of it is wanted. pyarrow would close the table when it is collected, and its file is gone by then."""
        with suppress(OSError):
            self._writer.close()
