"""A frame's answer beside its truth: columns matched one to one, a row for each. The figures come from these rows.

The one place where an answer is compared with the truth; every model, baseline and set goes through it.
"""

import numpy as np
from numpy.typing import NDArray

from segdepth_inference.comparison import MATCH_A, matched
from segdepth_inference.prediction import Columns, Prediction
from segdepth_protos.contract import CLASSES
from segdepth_training.observation import Observation

BORDER_A = 1.5
"""Columns nearer to the frame's edge are left out, true and found."""

ROW = np.dtype(
    [
        *(("specimen", "i4"), ("dose", "f8"), ("family", "U10"), ("true", "i2"), ("true_species", "i2")),
        *(("changed", "i2"), ("found", "?"), ("count", "i2"), ("species", "i2"), ("p_count", "f4"), ("lo90", "i2")),
        *(("hi90", "i2"), ("mass", "f4"), ("abstained", "?"), ("centre", "i2"), ("status", "i2"), ("brier", "f4")),
        *(("before", "i2"), ("p_before", "f4")),
    ]
)
"""One row for each true column (true >= 1) and each found column that is nobody's (true = 0).

`changed`: atoms by which the column was changed against its surface. `mass`: posterior in the 90 % interval. `centre`:
class of the pixel at the true centre. `brier`: sum over the classes of the squared difference between posterior and
truth (Brier 1950). `before`: the class that the unchanged surface would have here, and `p_before` its posterior.
"""


def match(truth: NDArray[np.floating], found: NDArray[np.floating], reach: float) -> NDArray[np.int64]:
    """For each true position [n, 2] the index of its found one [m, 2] within reach, -1 without.

    Reach is less than half the smallest distance of two columns, where mutual nearest neighbours are what the Hungarian
    method gives.
    """
    result = np.full(len(truth), -1)
    ours, theirs = matched(truth, found, reach)
    result[ours] = theirs
    return result


def inside(xy_px: NDArray[np.floating], shape: tuple[int, ...], border_px: float) -> NDArray[np.bool_]:
    """Whether positions keep the border from the frame's edge."""
    low, high = border_px - 0.5, np.array([shape[1], shape[0]]) - 0.5 - border_px
    return np.asarray(((xy_px >= low) & (xy_px <= high)).all(axis=1))


def score(observation: Observation, prediction: Prediction) -> NDArray[np.void]:
    """Rows of one frame; `prediction` must hold the depth map (for the class at the true centre)."""
    shape, border_px = observation.frame.shape, BORDER_A / observation.sampling_A
    columns = prediction.columns
    found_xy = np.column_stack([columns.x_px, columns.y_px])
    index = match(observation.columns[:, :2], found_xy, MATCH_A / observation.sampling_A)
    counted = inside(observation.columns[:, :2], shape, border_px)
    strangers = np.setdiff1d(np.flatnonzero(inside(found_xy, shape, border_px)), index)
    true = observation.columns[counted]
    rows = np.zeros(len(true) + len(strangers), ROW)
    rows["specimen"], rows["dose"], rows["family"] = observation.specimen, observation.dose, observation.family
    rows["status"] = int(prediction.verdict.status)
    rows["true"][: len(true)] = np.minimum(true[:, 2], CLASSES - 1)
    rows["true_species"] = -1
    rows["true_species"][: len(true)] = true[:, 3]
    rows["changed"][: len(true)] = true[:, 4]
    rows["before"][: len(true)] = np.clip(true[:, 2] - true[:, 4], 0, CLASSES - 1)
    rows["found"][: len(true)] = index[counted] >= 0
    rows["found"][len(true) :] = True
    fill(rows, columns, np.concatenate([index[counted], strangers]))
    if prediction.maps.depth is not None and len(true):
        x, y = np.round(true[:, :2]).astype(int).T
        rows["centre"][: len(true)] = prediction.maps.depth[y, x]
    return rows


def fill(rows: NDArray[np.void], columns: Columns, which: NDArray[np.int64]) -> None:
    """Copy the answers of found columns into their rows."""
    hit, index = which >= 0, which[which >= 0]
    rows["species"], rows["brier"], rows["p_before"] = -1, np.nan, np.nan
    rows["species"][hit] = columns.species[index].astype(int) - 1
    for name in ("count", "lo90", "hi90", "abstained"):
        rows[name][hit] = getattr(columns, name)[index]
    posterior, here = columns.probabilities[index], np.arange(len(index))
    rows["p_count"][hit] = posterior[here, columns.count[index].astype(int)]
    rows["p_before"][hit] = posterior[here, rows["before"][hit]]
    rows["brier"][hit] = np.square(posterior).sum(1) + 1 - 2 * posterior[here, rows["true"][hit]]
    below = np.concatenate([np.zeros((len(index), 1)), posterior.cumsum(axis=1)], axis=1)
    lo, hi = columns.lo90[index].astype(int), columns.hi90[index].astype(int)
    rows["mass"][hit] = below[here, hi + 1] - below[here, lo]
