"""Two models' answers to one frame, compared: counts of what both say and where they differ."""

import math

import numpy as np
from numpy.typing import NDArray

from segdepth_artefacts.shadow import Counts, dose_name
from segdepth_core.prediction import Columns, Prediction, Status
from segdepth_protos.matching import MATCH_A, match

CONFIDENT = 0.9
"""Probability of its count from which an answer is sure of it."""


def compared(stable: Prediction, candidate: Prediction) -> tuple[str, Counts]:
    """The half decade of the frame's measured dose, and the counts of this one frame.

    Where one of the two refuses the frame, their verdicts differ; columns are compared where both answer.
    """
    dose = candidate.dose if math.isnan(stable.dose) else stable.dose
    verdicts = stable.verdict.status, candidate.verdict.status
    counts = Counts(frames=1, verdicts_differ=int(verdicts[0] != verdicts[1]))
    if Status.REFUSED not in verdicts:
        counts += _columns(stable.columns, candidate.columns, MATCH_A / stable.sampling_A)
    return dose_name(dose), counts


def _columns(stable: Columns, candidate: Columns, reach_px: float) -> Counts:
    index = match(stable.xy_px, candidate.xy_px, reach_px)
    ours = np.flatnonzero(index >= 0)
    theirs = index[ours]
    differ = stable.count[ours] != candidate.count[theirs]
    sure = (_probability(stable)[ours] >= CONFIDENT) & (_probability(candidate)[theirs] >= CONFIDENT)
    return Counts(
        columns=len(ours),
        counts_differ=int(differ.sum()),
        confident_columns=int(sure.sum()),
        confident_differ=int((differ & sure).sum()),
        only_stable=len(stable) - len(ours),
        only_candidate=len(candidate) - len(theirs),
    )


def _probability(columns: Columns) -> NDArray[np.floating]:
    """Probability of each column's count."""
    chosen: NDArray[np.floating] = columns.probabilities[np.arange(len(columns)), columns.count]
    return chosen
