"""Tracked frames as JSON lines, one object a frame, as they come."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from segdepth.live.json_lines import line
from segdepth.tracks.regions import RegionSum
from segdepth.tracks.results import TrackedFrame, TrackState
from segdepth.tracks.tally import sum_as_dict


def track_line(frame: TrackedFrame, sums: Sequence[RegionSum], source: str) -> str:
    """What there is to say of a frame (kind "tracked"): its state and drift, the sums, and the changes known since it.

    source: where it came from: a channel, a file. What is not known is left out.
    """
    tracked = frame.state is TrackState.TRACKED
    return line(
        "tracked",
        sequence=frame.sequence,
        source=source,
        state=frame.state.value,
        why=frame.why or None,
        segment=frame.segment if tracked else None,
        drift_A=[_number(one) for one in frame.drift_A] if all(map(math.isfinite, frame.drift_A)) else None,
        drift_error_A=_number(frame.drift_error_A),
        rotation_deg=_number(frame.rotation_deg),
        tracks=None if frame.columns is None else len(frame.columns),
        occupancy=[sum_as_dict(one) for one in sums] if tracked else None,
        changes=[{name: _number(value) for name, value in asdict(one).items()} for one in frame.changes],
        model=None if frame.model is None else str(frame.model),
    )


def _number(value: Any) -> Any:
    # JSON has no NaN: what is not known is null.
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
