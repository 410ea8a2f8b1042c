"""What tracking says of a movie beside what was simulated.

Columns within BORDER_A of the frame's edge are left out; ten or more atoms are ten.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segdepth.tracks import Change, TrackedFrame, TrackState
from segdepth_core.scoring import calibration_error
from segdepth_protos.matching import MATCH_A, match
from segdepth_training.frames.hopping_movies import HoppingMovie

BORDER_A = 2.5
SEEN_SHARE = 0.9
"""Hops of columns that are in the field of fewer tracked frames than this are not asked for."""

NEAR_FRAMES = 3

ROW = np.dtype([("true", "i2"), ("count", "i2"), ("p_count", "f4"), ("lo90", "i2"), ("hi90", "i2"), ("species", "i2")])
"""A true column in a frame: its atoms, and what its track says; -1 where it has none."""


@dataclass(frozen=True)
class HopScore:
    """A hop that happened: of which species (index) and by how many atoms, the change announced for it, and how many
    frames too late that says it was."""

    species: int
    by: int
    announced: Change | None = None
    late: int = 0

    @property
    def found(self) -> bool:
        """Announced within NEAR_FRAMES."""
        return self.announced is not None and abs(self.late) <= NEAR_FRAMES


@dataclass
class Score:
    """Of some movies together."""

    rows: list[NDArray[np.void]] = field(default_factory=list)
    hops: list[HopScore] = field(default_factory=list)
    frames: int = 0
    tracked: int = 0
    column_frames: int = 0
    false_alarms: int = 0
    linked: int = 0
    links: int = 0
    drift_error_A: list[float] = field(default_factory=list)
    """The largest of each segment, against its mean."""

    def add(self, movie: HoppingMovie, tracked: list[TrackedFrame]) -> None:
        """One more movie."""
        seen = [frame for frame in tracked if frame.state is TrackState.TRACKED]
        self.frames += len(tracked)
        self.tracked += len(seen)
        if not seen:
            return
        for segment in {frame.segment for frame in seen}:
            own = [frame for frame in seen if frame.segment == segment]
            apart_A = np.array([frame.drift_A for frame in own]) - movie.drift_A[[frame.sequence for frame in own]]
            self.drift_error_A.append(float(np.abs(apart_A - apart_A.mean(axis=0)).max()))
        tracks: dict[int, list[int]] = {}
        for frame in seen:
            self._frame(movie, frame, tracks)
        self.links += sum(len(ids) for ids in tracks.values())
        self.linked += sum(int(np.unique(ids, return_counts=True)[1].max()) for ids in tracks.values())
        self._changes(
            movie, [change for frame in tracked for change in frame.changes], [frame.sequence for frame in seen]
        )

    def _frame(self, movie: HoppingMovie, frame: TrackedFrame, tracks: dict[int, list[int]]) -> None:
        columns = frame.columns
        assert columns is not None
        self.column_frames += len(columns)
        at_A = movie.xy_A + movie.drift_A[frame.sequence]
        true = np.minimum(movie.counts(frame.sequence), 10)
        index = match(at_A, np.column_stack([columns.x_A, columns.y_A]), MATCH_A)
        inside = in_field(movie, at_A) & ((true > 0) | (index >= 0))
        lo90, hi90 = columns.interval
        rows = np.zeros(int(inside.sum()), ROW)
        here = index[inside]
        rows["true"], rows["species"] = true[inside], movie.species[inside]
        # -1 is what follows the last column: live, a movie's first frames have none.
        rows["count"], rows["lo90"], rows["hi90"] = (
            np.append(values, -1)[here] for values in (columns.count, lo90, hi90)
        )
        rows["p_count"] = np.append(columns.p_count, 0)[here]
        self.rows.append(rows)
        for column in np.flatnonzero(inside & (index >= 0)):
            tracks.setdefault(int(column), []).append(int(columns.track[index[column]]))

    def _changes(self, movie: HoppingMovie, changes: list[Change], tracked: list[int]) -> None:
        """Each true hop with its nearest change in time; what is of no column that hops is a false alarm."""
        where = [
            int(
                np.hypot(
                    *(movie.xy_A + movie.drift_A[c.frame] - np.array([c.x_px, c.y_px]) * movie.sampling_A).T
                ).argmin()
            )
            for c in changes
        ]
        self.false_alarms += sum(movie.moment[column] < 0 for column in where)
        for column in np.flatnonzero(movie.moment >= 0):
            at_A = movie.xy_A[column] + movie.drift_A[tracked]
            if in_field(movie, at_A).sum() < SEEN_SHARE * len(movie.frames):
                continue
            own = [c for c, of in zip(changes, where, strict=True) if of == column]
            moment = int(movie.moment[column])
            nearest = min(own, key=lambda change: abs(change.frame - moment), default=None)
            # Of two announced for one hop the other is a false alarm.
            self.false_alarms += max(0, len(own) - 1)
            late = nearest.frame - moment if nearest else 0
            self.hops.append(HopScore(int(movie.species[column]), int(movie.change[column]), nearest, late))

    def of(self, species: int, atoms: int) -> list[HopScore]:
        """Hops of a species by so many atoms."""
        return [hop for hop in self.hops if hop.species == species and abs(hop.by) == atoms]

    def figures(self) -> dict[str, float]:
        """All of it in numbers, by name."""
        rows = np.concatenate(self.rows)
        found = rows[rows["count"] >= 0]
        right = found["count"] == found["true"]
        figures = {
            "frames_tracked": self.tracked / self.frames,
            "links": self.linked / self.links,
            "drift_error_A_median": float(np.median(self.drift_error_A)),
            "drift_error_A_largest": float(np.max(self.drift_error_A)),
            "exact": float((rows["count"] == rows["true"]).mean()),
            "found": len(found) / len(rows),
            "covered": float(((found["lo90"] <= found["true"]) & (found["true"] <= found["hi90"])).mean()),
            "ece": calibration_error(found["p_count"], right),
            "false_alarms_per_1000": 1000 * self.false_alarms / self.column_frames,
        }
        for species, name in enumerate(("cerium", "oxygen")):
            own = rows[rows["species"] == species]
            figures[f"exact_{name}"] = float((own["count"] == own["true"]).mean())
            for atoms in (1, 2):
                hops = self.of(species, atoms)
                figures[f"{name}_hops_of_{atoms}"] = len(hops)
                figures[f"{name}_hops_of_{atoms}_found"] = (
                    float(np.mean([hop.found for hop in hops])) if hops else np.nan
                )
        return figures


def in_field(movie: HoppingMovie, at_A: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which positions [n, 2] in a frame are not at its edge."""
    side_A = (movie.frames.shape[1] - 1) * movie.sampling_A
    return np.asarray(((at_A >= BORDER_A) & (at_A <= side_A - BORDER_A)).all(axis=1))
