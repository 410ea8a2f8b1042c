"""Tracks as rows: tracks.csv, drift.csv, changes.csv and occupancy.csv."""

import csv
import io
import math
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.export.table import rounded
from segdepth.tracks.regions import RegionSum
from segdepth.tracks.results import Change, TrackedColumns, TrackedFrame, TrackState
from segdepth_protos import contract

TRACKS = "track,frame,x_px,y_px,x_A,y_A,species,count,p_count,lo90,hi90,p_changed\n"
DRIFT = "frame,state,segment,drift_x_A,drift_y_A,drift_error_A,rotation_deg,why\n"
CHANGES = "track,frame,first_frame,last_frame,species,before,after,p_changed,x_px,y_px\n"
OCCUPANCY = "frame,region,species,columns,atoms,atoms_error,atoms_error_independent,atoms_error_common,mean_occupancy\n"

_TRACK_ROW = "%d,%d,%.3f,%.3f,%.3f,%.3f,%s,%d,%.4f,%d,%d,%.4f\n"


def track_fields(frame: TrackedFrame) -> dict[str, NDArray[Any]]:
    """The rows of tracks.csv of one frame, by name, sorted by track; no rows of one that is not tracked."""
    columns = frame.columns if frame.columns is not None else _NO_COLUMNS
    lo90, hi90 = columns.interval
    return {
        "track": columns.track,
        "frame": np.full(len(columns), frame.sequence, np.int64),
        **{name: rounded(getattr(columns, name), 3) for name in ("x_px", "y_px", "x_A", "y_A")},
        "species": np.array(columns.species_names(), str),
        "count": columns.count.astype(np.uint8),
        "p_count": rounded(columns.p_count, 4),
        "lo90": lo90.astype(np.uint8),
        "hi90": hi90.astype(np.uint8),
        "p_changed": rounded(np.nan_to_num(columns.p_changed), 4),
    }


def track_rows(fields: dict[str, NDArray[Any]]) -> str:
    """Those rows as CSV."""
    rows = zip(*(field.tolist() for field in fields.values()), strict=True)
    return _TRACK_ROW * len(fields["track"]) % tuple(chain.from_iterable(rows))


def drift_row(frame: TrackedFrame) -> str:
    """The line of a frame in drift.csv; what is not known is empty."""
    numbers = [_number(one, 4) for one in (*frame.drift_A, frame.drift_error_A, frame.rotation_deg)]
    segment = frame.segment if frame.state is TrackState.TRACKED else ""
    return _lines([(frame.sequence, frame.state.value, segment, *numbers, frame.why)])


def change_rows(changes: Iterable[Change]) -> str:
    """Rows of changes.csv."""
    return _lines(
        (
            *(one.track, one.frame, one.first_frame, one.last_frame, one.species, one.before, one.after),
            *(_number(one.p_changed, 4), _number(one.x_px, 3), _number(one.y_px, 3)),
        )
        for one in changes
    )


def occupancy_rows(frame: int, sums: Iterable[RegionSum]) -> str:
    """Rows of occupancy.csv of one frame."""
    return _lines(
        (
            *(frame, one.region, one.species, one.columns),
            *(_number(one.atoms, 3), _number(one.atoms_error, 3)),
            *(_number(one.atoms_error_independent, 3), _number(one.atoms_error_common, 3)),
            _number(one.mean_occupancy, 4),
        )
        for one in sums
    )


def _number(value: float, digits: int) -> str:
    # + 0.0 makes of -0.0 a 0.0.
    return f"{round(value, digits) + 0.0:.{digits}f}" if math.isfinite(value) else ""


def _lines(rows: Iterable[tuple[Any, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


_NO_COLUMNS = TrackedColumns(
    *(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, bool), np.zeros(0, np.uint8)),
    probabilities=np.zeros((0, contract.CLASSES)),
    p_changed=np.zeros(0),
    sampling_A=1.0,
)

NO_ROWS = track_fields(TrackedFrame(0, TrackState.MISSING))
"""The fields of tracks.csv with no rows."""
