"""The demo's answers against the known truth, scored as the benchmark scores a model."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segdepth.results import FrameResult
from segdepth_core.prediction import Check, Columns, Prediction, Status, Verdict, Version
from segdepth_core.scoring import Truth, calibration_error, covered, exact, score, within_1

UNCHANGED = 0
"""The demo's specimens have no columns that were changed against their surface."""


@dataclass(frozen=True)
class TrueFrame:
    """What a frame shows: dose [e/Å²], None without noise; of N columns position x, y [N, 2] [Å], count, species."""

    dose: float | None
    position_A: NDArray[np.float64]
    count: NDArray[np.int64]
    species: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """Shares of all true columns: exact, within_1 and found; of the found ones: the rest. `ece`: of their confidence.

    The same figures as in the benchmark's report: a column is exact if it was found with its true count.
    """

    columns: int
    exact: float
    within_1: float
    found: float
    right: float
    stated: float
    covered_90: float
    species: float
    abstained: float
    ece: float

    @property
    def margin(self) -> float:
        """Half of the 95 % interval of `exact` (normal approximation of the binomial)."""
        return 1.96 * math.sqrt(self.exact * (1 - self.exact) / self.columns)


def read_truth(path: Path) -> list[TrueFrame]:
    """The truth of a movie, frame by frame."""
    return [
        TrueFrame(
            dose=frame["dose"],
            position_A=np.array([[x, y] for x, y, _, _ in frame["columns"]], np.float64).reshape(-1, 2),
            count=np.array([count for _, _, count, _ in frame["columns"]], np.int64),
            species=tuple(species for _, _, _, species in frame["columns"]),
        )
        for frame in json.loads(path.read_text())["frames"]
    ]


def compare(result: FrameResult, frame: TrueFrame) -> NDArray[np.void]:
    """Rows of a frame (see `segdepth_core.scoring`). Nothing is found in a refused frame."""
    index = {element: number for number, element in enumerate(result.columns.elements)}
    species = np.array([index.get(element, -1) for element in frame.species], np.float64)
    position_px = frame.position_A / result.sampling_A
    # Positions of the truth count from the frame's corner pixel's centre, as those of the columns do.
    columns = np.column_stack([position_px, frame.count, species, np.full(len(species), UNCHANGED)])
    dose = math.inf if frame.dose is None else frame.dose
    return score(Truth(columns, result.shape, result.sampling_A, dose, result.sequence, "demo"), prediction(result))


def prediction(result: FrameResult) -> Prediction:
    """An answer over the wire as the Predictor gave it: what scoring asks of it."""
    found, model, (height, width) = result.columns, result.model, result.shape
    return Prediction(
        version=Version(model.family, model.version, model.sha256, model.engine, tuple(found.elements)),
        height=height,
        width=width,
        sampling_A=result.sampling_A,
        dose=math.nan,
        verdict=Verdict((Check("verdict", Status.REFUSED if result.refused else Status.OK, math.nan),)),
        columns=Columns(
            x_px=found.x_px,
            y_px=found.y_px,
            species=found.species,
            count=found.count,
            lo90=found.lo90,
            hi90=found.hi90,
            abstained=found.abstained,
            probabilities=found.probabilities,
        ),
    )


def total(frames: Sequence[NDArray[np.void]]) -> Score:
    """The score of the rows of several frames together."""
    rows = np.concatenate(frames)
    true, found = rows[rows["true"] > 0], rows[rows["found"]]
    matched = true[true["found"]]
    correct = found["count"] == found["true"]

    def share(values: NDArray[np.bool_] | NDArray[np.floating]) -> float:
        return float(values.mean()) if len(values) else math.nan

    return Score(
        columns=len(true),
        exact=share(exact(true)),
        within_1=share(within_1(true)),
        found=share(true["found"]),
        right=share(correct),
        stated=share(found["p_count"]),
        covered_90=share(covered(matched)),
        species=share(matched["species"] == matched["true_species"]),
        abstained=share(matched["abstained"]),
        ece=calibration_error(found["p_count"], correct) if len(found) else math.nan,
    )
