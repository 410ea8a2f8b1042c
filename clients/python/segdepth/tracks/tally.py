"""What became of a tracked movie, in numbers: for its summary and for the report of a command."""

import math
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from segdepth.models import ModelVersion
from segdepth.tracks.regions import Regions, RegionSum
from segdepth.tracks.results import Change, TrackedFrame, TrackState

KEPT_CHANGES = 10_000
"""Changes that are remembered, those of the highest probability; files have all."""

KEPT_REASONS = 100
"""Different reasons that are told apart."""

OTHER = "other reasons"

KEPT_SEGMENTS = 100
"""Segments whose first and last frame are remembered."""


@dataclass(frozen=True)
class Span:
    """A segment from its `first` to its `last` tracked frame, and the atoms of each region in both.

    Only of columns that are in the field in both: what drifts in and out is no change of the specimen. Live, tracking
    tells of hardly any column at first: `first` is then the frame from which on it does.
    """

    segment: int
    first: int
    last: int
    before: list[RegionSum]
    after: list[RegionSum]


class TrackTally:
    """Counts as the frames come; its memory grows with the tracks of one segment, not with frames and segments."""

    def __init__(self, regions: Regions | None = None) -> None:
        """regions: those whose atoms `spans` compares."""
        self._regions = regions or Regions()
        self._ends: dict[int, tuple[TrackedFrame, TrackedFrame]] = {}
        self.segments = 0
        """How often tracking began."""
        self.states: Counter[TrackState] = Counter()
        self.reasons: Counter[tuple[TrackState, str]] = Counter()
        """By state and reason, of frames that are not tracked."""
        self.models: list[ModelVersion] = []
        self.changed: Counter[str] = Counter()
        """Number of changes by species."""
        self.changes: list[Change] = []
        """The KEPT_CHANGES most probable, in the order in which they became known."""
        self.column_frames = self.unsure = 0
        """Columns of all frames, and those of whose count the posterior is below one half."""
        self._species: dict[int, str] = {}
        """Of the tracks of the segment now: an earlier one's do not come back."""
        self._earlier: Counter[str] = Counter()
        self._low_A, self._high_A = np.full(2, math.inf), np.full(2, -math.inf)
        self._furthest_A = 0.0
        self._turned_deg = 0.0

    def add(self, frame: TrackedFrame) -> None:
        """The next frame."""
        self.states[frame.state] += 1
        if frame.state is not TrackState.TRACKED:
            known = len(self.reasons) < KEPT_REASONS or (frame.state, frame.why) in self.reasons
            self.reasons[frame.state, frame.why if known else OTHER] += 1
        if frame.model is not None and frame.model not in self.models:
            self.models.append(frame.model)
        self._add_changes(frame.changes)
        if frame.columns is None:
            return
        self.column_frames += len(frame.columns)
        self.unsure += int((frame.columns.p_count < 0.5).sum())
        if frame.segment >= self.segments:
            self.segments = frame.segment + 1
            self._earlier.update(self._species.values())
            self._species.clear()
        self._species |= zip(frame.columns.track.tolist(), frame.columns.species_names(), strict=True)
        self._add_drift(frame)
        if frame.segment in self._ends or len(self._ends) < KEPT_SEGMENTS:
            first, _ = self._ends.get(frame.segment, (frame, frame))
            few = first.columns is None or len(frame.columns) > 2 * len(first.columns)
            self._ends[frame.segment] = (frame if few else first, frame)

    def _add_changes(self, changes: tuple[Change, ...]) -> None:
        self.changed.update(change.species for change in changes)
        self.changes += changes
        while len(self.changes) > KEPT_CHANGES:
            self.changes.remove(min(self.changes, key=lambda change: change.p_changed))

    def _add_drift(self, frame: TrackedFrame) -> None:
        if all(map(math.isfinite, frame.drift_A)):
            self._low_A = np.minimum(self._low_A, frame.drift_A)
            self._high_A = np.maximum(self._high_A, frame.drift_A)
            self._furthest_A = max(self._furthest_A, math.hypot(*frame.drift_A))
        if math.isfinite(frame.rotation_deg):
            self._turned_deg = max(self._turned_deg, abs(frame.rotation_deg))

    @property
    def frames(self) -> int:
        """All of them."""
        return sum(self.states.values())

    @property
    def tracks(self) -> Counter[str]:
        """Number of tracks by species."""
        return self._earlier + Counter(self._species.values())

    def spans(self) -> list[Span]:
        """Of each segment, the first KEPT_SEGMENTS of them."""
        spans = []
        for segment, (first, last) in self._ends.items():
            # The same object of both: a track stays in the region in which the first frame has it.
            regions = Regions(self._regions.regions, self._regions.correlation)
            before, after = regions.sums(_shared(first, last)), regions.sums(_shared(last, first))
            spans.append(Span(segment, first.sequence, last.sequence, before, after))
        return spans

    @property
    def drift_A(self) -> tuple[float, float, float] | None:
        """The drift's range along x and y, and the furthest from a segment's first frame [Å]; None if none is known."""
        if not math.isfinite(self._low_A[0]):
            return None
        x, y = (self._high_A - self._low_A).tolist()
        return x, y, self._furthest_A

    @property
    def rotation_deg(self) -> float:
        """The furthest that a frame is turned against its segment's first one."""
        return self._turned_deg

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        drift_A = self.drift_A
        return {
            "model": asdict(self.models[0]) if self.models else None,
            # More than one where the model was exchanged on the way, or each frame's family was its lattice's.
            "models": [asdict(model) for model in self.models],
            "frames": {state.value: self.states[state] for state in TrackState},
            "why": [
                {"state": state.value, "why": why, "frames": frames}
                for (state, why), frames in self.reasons.most_common()
            ],
            "segments": [
                {
                    "segment": span.segment,
                    "first": span.first,
                    "last": span.last,
                    "before": [sum_as_dict(one) for one in span.before],
                    "after": [sum_as_dict(one) for one in span.after],
                }
                for span in self.spans()
            ],
            "tracks": dict(self.tracks),
            "changes": dict(self.changed),
            "drift_A": None if drift_A is None else dict(zip(("x_range", "y_range", "furthest"), drift_A, strict=True)),
            "rotation_deg": self.rotation_deg,
            "column_frames": self.column_frames,
            "unsure_column_frames": self.unsure,
        }


def _shared(frame: TrackedFrame, other: TrackedFrame) -> TrackedFrame:
    """The frame with those columns alone that the other has, too."""
    columns = frame.columns
    if columns is None or other.columns is None:
        return frame
    shared = np.isin(columns.track, other.columns.track)
    names = ("track", "x_px", "y_px", "found", "species", "probabilities", "p_changed")
    return replace(frame, columns=replace(columns, **{name: getattr(columns, name)[shared] for name in names}))


def sum_as_dict(one: RegionSum) -> dict[str, Any]:
    """For JSON, rounded as in occupancy.csv; no NaN."""
    return {
        "region": one.region,
        "species": one.species,
        "columns": one.columns,
        "atoms": round(one.atoms, 3),
        "atoms_error": round(one.atoms_error, 3),
        "atoms_error_independent": round(one.atoms_error_independent, 3),
        "atoms_error_common": round(one.atoms_error_common, 3),
        "mean_occupancy": round(one.mean_occupancy, 4) if one.columns else None,
    }
