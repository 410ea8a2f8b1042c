"""The tables of a chunk, as Parquet: one row a column of atoms, and one row a frame."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from segdepth.export import column_fields
from segdepth.export.parquet import COLUMNS as EXPORTED
from segdepth.export.parquet import arrow_table
from segdepth.results import FrameResult
from segdepth_batch.plan import Chunk
from segdepth_protos.conditions import Conditions

NAMES = pa.dictionary(pa.int32(), pa.string())

COLUMNS = pa.schema([("source", NAMES), ("chunk", pa.int32()), *EXPORTED])
"""The columns of columns.csv with the same rounding, and where the frame is from.

A new one comes last: readers of a folder take what its first file has, and give nulls where another file lacks it.
"""

CONDITIONS = tuple(name for one in fields(Conditions) for name in (one.name, f"{one.name}_error"))
"""How a frame was taken, with standard errors; null where nothing tells."""

FRAMES = pa.schema(
    [
        ("source", NAMES),
        ("chunk", pa.int32()),
        ("frame", pa.int64()),
        ("status", NAMES),
        ("columns", pa.int32()),
        ("dose_per_A2", pa.float64()),
        ("why", pa.string()),
        *((name, pa.float64()) for name in CONDITIONS),
    ]
)
"""Whether each frame may be believed: ok, suspect, refused, or unreadable. The dose [e/Å²] is the measured one."""


def write_columns(path: Path, chunk: Chunk, results: list[FrameResult]) -> int:
    """Write the rows of all frames; returns how many there are."""
    table = arrow_table([column_fields(result) for result in results])
    fields: dict[str, Any] = {name: table[name] for name in table.column_names}
    _write(path, COLUMNS, {**_where(chunk, table.num_rows), **fields})
    return int(table.num_rows)


def write_frames(path: Path, chunk: Chunk, rows: list[dict[str, Any]]) -> None:
    """Write a row for each frame: `frame`, `status`, `columns`, `dose_per_A2`, `why`, and CONDITIONS where told."""
    fields = {name: [row.get(name) for row in rows] for name in FRAMES.names[2:]}
    _write(path, FRAMES, {**_where(chunk, len(rows)), **fields})


def _where(chunk: Chunk, rows: int) -> dict[str, Any]:
    return {"source": [chunk.movie.source] * rows, "chunk": [chunk.number] * rows}


def _write(path: Path, schema: pa.Schema, fields: dict[str, Any]) -> None:
    given = [fields[field.name] for field in schema]
    arrays = [
        values if isinstance(values, pa.ChunkedArray) else pa.array(values, field.type)
        for field, values in zip(schema, given, strict=True)
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")
