"""columns.parquet: the table of columns.csv with types, units, and what it was made with."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segdepth.export.atomic import AtomicFile, cannot_write
from segdepth.export.table import column_fields
from segdepth.results import Answer, FrameResult

NAMES = pa.dictionary(pa.int32(), pa.string())

ROW_GROUP = 16_384
"""Rows that are collected before they are written, at least."""

_FIELDS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("frame", pa.int64(), ""),
    ("x_px", pa.float64(), "px"),
    ("y_px", pa.float64(), "px"),
    ("x_A", pa.float64(), "Å"),
    ("y_A", pa.float64(), "Å"),
    ("species", NAMES, ""),
    ("count", pa.uint8(), "atoms"),
    ("p_count", pa.float64(), ""),
    ("lo90", pa.uint8(), "atoms"),
    ("hi90", pa.uint8(), "atoms"),
    ("abstained", pa.bool_(), ""),
    ("status", NAMES, ""),
)

COLUMNS = pa.schema([pa.field(name, kind, metadata={"unit": unit} if unit else None) for name, kind, unit in _FIELDS])
"""The fields of columns.csv with the same rounding; the metadata of a field holds its unit."""


Fields = dict[str, NDArray[Any]]
"""What `column_fields` says of a frame."""


def joined(frames: Sequence[Fields]) -> dict[str, list[Any]]:
    """The rows of several frames, field by field."""
    parts = [fields for fields in frames if len(fields["frame"])]
    # Lists, because pyarrow makes no dictionary of an array of numpy's strings.
    return {name: np.concatenate([part[name] for part in parts]).tolist() if parts else [] for name in COLUMNS.names}


def table_of(schema: pa.Schema, rows: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Rows, field by field, as a table of that schema."""
    return pa.Table.from_arrays([pa.array(rows[field.name], field.type) for field in schema], schema=schema)


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
        self._waiting.append(column_fields(result))
        self._rows += len(result.columns)
        if self._rows >= ROW_GROUP:
            self._write()

    def _write(self) -> None:
        try:
            self._writer.write_table(table_of(COLUMNS, joined(self._waiting)))
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
