"""The tables of a chunk, as Parquet: one row a column of atoms, and one row a frame."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segdepth.export import column_fields
from segdepth.results import FrameResult
from segdepth_batch.plan import Chunk

NAMES = pa.dictionary(pa.int32(), pa.string())

COLUMNS = pa.schema(
    [
        ("source", NAMES),
        ("chunk", pa.int32()),
        ("frame", pa.int64()),
        ("x_px", pa.float64()),
        ("y_px", pa.float64()),
        ("x_A", pa.float64()),
        ("y_A", pa.float64()),
        ("species", NAMES),
        ("count", pa.uint8()),
        ("p_count", pa.float64()),
        ("lo90", pa.uint8()),
        ("hi90", pa.uint8()),
        ("abstained", pa.bool_()),
    ]
)
"""The columns of columns.csv with the same rounding, and where the frame is from."""

FRAMES = pa.schema(
    [
        ("source", NAMES),
        ("chunk", pa.int32()),
        ("frame", pa.int64()),
        ("status", NAMES),
        ("columns", pa.int32()),
        ("dose_per_A2", pa.float64()),
        ("why", pa.string()),
    ]
)
"""Whether each frame may be believed: ok, suspect, refused, or unreadable. The dose [e/Å²] is the measured one."""


def write_columns(path: Path, chunk: Chunk, results: list[FrameResult]) -> int:
    """Write the rows of all frames; returns how many there are."""
    empty: dict[str, list[Any]] = {name: [] for name in COLUMNS.names[2:]}
    for result in results:
        if len(result.columns):
            for name, values in column_fields(result.sequence, result.columns).items():
                empty[name].append(values)
    # Lists, because pyarrow makes no dictionary of an array of numpy's strings.
    fields = {name: np.concatenate(parts).tolist() if parts else [] for name, parts in empty.items()}
    rows = len(fields["frame"])
    _write(path, COLUMNS, {**_where(chunk, rows), **fields})
    return rows


def write_frames(path: Path, chunk: Chunk, rows: list[dict[str, Any]]) -> None:
    """Write a row for each frame: `frame`, `status`, `columns`, `dose_per_A2`, `why`."""
    fields = {name: [row[name] for row in rows] for name in FRAMES.names[2:]}
    _write(path, FRAMES, {**_where(chunk, len(rows)), **fields})


def _where(chunk: Chunk, rows: int) -> dict[str, Any]:
    return {"source": [chunk.movie.source] * rows, "chunk": [chunk.number] * rows}


def _write(path: Path, schema: pa.Schema, fields: dict[str, Any]) -> None:
    arrays = [pa.array(fields[field.name], field.type) for field in schema]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")
