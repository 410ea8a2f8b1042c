"""Tracked frames as JSON lines, one object a frame, as they come."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from segdepth.tracks.regions import RegionSum
from segdepth.tracks.results import TrackedFrame, TrackState
from segdepth.tracks.tally import sum_as_dict


def track_line(frame: TrackedFrame, sums: Sequence[RegionSum]) -> str:
    """What there is to say of a frame: its state and drift, the sums over regions, and the changes known since it."""
    said = {
        "kind": "tracked",
        "sequence": frame.sequence,
        "state": frame.state.value,
        "why": frame.why,
        "segment": frame.segment if frame.state is TrackState.TRACKED else None,
        "drift_A": [_number(one) for one in frame.drift_A],
        "drift_error_A": _number(frame.drift_error_A),
        "rotation_deg": _number(frame.rotation_deg),
        "tracks": 0 if frame.columns is None else len(frame.columns),
        "occupancy": [sum_as_dict(one) for one in sums],
        "changes": [{name: _number(value) for name, value in asdict(one).items()} for one in frame.changes],
        "model": None if frame.model is None else {"family": frame.model.family, "version": frame.model.version},
    }
    return json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def _number(value: Any) -> Any:
    # JSON has no NaN: what is not known is null.
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
