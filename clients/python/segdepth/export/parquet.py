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
    return joined(_NO_ROWS, frames)


def joined(no_rows: Fields, parts: Sequence[Fields]) -> pa.Table:
    """Rows one after the other, of the types of `no_rows`."""
    return to_arrow({name: np.concatenate([no_rows[name], *(one[name] for one in parts)]) for name in no_rows})


class RowGroups:
    """Writes fields as they come, a row group for every ROW_GROUP rows or so. Raises CannotWrite."""

    def __init__(self, file: AtomicFile, no_rows: Fields):
        """`no_rows`: the fields with no rows, for their types and units."""
        self._file, self._no_rows = file, no_rows
        self._waiting: list[Fields] = []
        self._rows = 0
        self._writer = pq.ParquetWriter(file.handle, to_arrow(no_rows).schema, compression="zstd")

    def add(self, fields: Fields) -> None:
        """The next rows."""
        rows = len(next(iter(fields.values())))
        if not rows:
            return
        self._waiting.append(fields)
        self._rows += rows
        if self._rows >= ROW_GROUP:
            self._write()

    def _write(self) -> None:
        try:
            self._writer.write_table(joined(self._no_rows, self._waiting))
        except OSError as error:
            raise cannot_write(self._file.path, error) from error
        self._waiting, self._rows = [], 0

    def finish(self, about: Mapping[str, Any]) -> None:
        """No row follows. `about`: what holds for all, as JSON in the schema's metadata under "segdepth"."""
        if self._rows:
            self._write()
        try:
            self._writer.add_key_value_metadata({"segdepth": json.dumps(about, ensure_ascii=False)})
            self._writer.close()
        except OSError as error:
            raise cannot_write(self._file.path, error) from error
        self._file.finish()

    def abandon(self) -> None:
        """Nothing of it is wanted. pyarrow would close the table when it is collected, and its file is gone by then."""
        with suppress(OSError):
            self._writer.close()


class ParquetTable:
    """Writes the table as the frames come. Raises CannotWrite."""

    def __init__(self, file: AtomicFile, about: Mapping[str, Any]):
        """`about`: what holds for the whole table, as JSON in the schema's metadata under "segdepth"."""
        self._about = dict(about)
        self._models: list[dict[str, str]] = []
        self._rows = RowGroups(file, _NO_ROWS)

    def add(self, answer: Answer) -> None:
        """The next answer; one without columns has no rows."""
        if isinstance(answer, FrameResult):
            self._add(answer)

    def _add(self, result: FrameResult) -> None:
        model = {"family": result.model.family, "version": result.model.version, "sha256": result.model.sha256}
        if model not in self._models:
            self._models.append(model)
        self._rows.add(column_fields(result))

    def finish(self) -> None:
        """No frame follows."""
        self._rows.finish({**self._about, "models": self._models})

    def abandon(self) -> None:
        """Nothing of it is wanted."""
        self._rows.abandon()
