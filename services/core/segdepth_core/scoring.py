"""A frame's answer beside its truth: columns matched one to one, a row for each. All figures come from these rows.

The one place where an answer is compared with the truth: every model, baseline, set and the demo goes through it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segdepth_core.prediction import Columns, Prediction
from segdepth_protos.contract import CLASSES
from segdepth_protos.matching import MATCH_A, match

BORDER_A = 1.5
"""Columns nearer to the frame's edge are left out, true and found."""

BINS = 15
"""Of confidence, equally filled, in the calibration error."""

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


@dataclass(frozen=True)
class Truth:
    """What a frame shows.

    columns: [n, 5] rows of x [px], y [px], atoms, species index, change against the specimen's surface [atoms], also of
    columns just outside the frame; shape: height and width [px]; dose: stated [e/Å²], infinite without noise; specimen
    and family: whose frame it is.
    """

    columns: NDArray[np.floating]
    shape: tuple[int, int]
    sampling_A: float
    dose: float
    specimen: int
    family: str


def inside(xy_px: NDArray[np.floating], shape: tuple[int, ...], border_px: float) -> NDArray[np.bool_]:
    """Whether positions keep the border from the frame's edge."""
    low, high = border_px - 0.5, np.array([shape[1], shape[0]]) - 0.5 - border_px
    return np.asarray(((xy_px >= low) & (xy_px <= high)).all(axis=1))


def score(truth: Truth, prediction: Prediction) -> NDArray[np.void]:
    """Rows of one frame; the class at the true centre is 0 unless `prediction` holds the depth map."""
    shape, border_px = truth.shape, BORDER_A / truth.sampling_A
    columns = prediction.columns
    found_xy = columns.xy_px
    index = match(truth.columns[:, :2], found_xy, MATCH_A / truth.sampling_A)
    counted = inside(truth.columns[:, :2], shape, border_px)
    strangers = np.setdiff1d(np.flatnonzero(inside(found_xy, shape, border_px)), index)
    true = truth.columns[counted]
    rows = np.zeros(len(true) + len(strangers), ROW)
    rows["specimen"], rows["dose"], rows["family"] = truth.specimen, truth.dose, truth.family
    rows["status"] = int(prediction.verdict.status)
    rows["true"][: len(true)] = np.minimum(true[:, 2], CLASSES - 1)
    rows["true_species"] = -1
    rows["true_species"][: len(true)] = true[:, 3]
    rows["changed"][: len(true)] = true[:, 4]
    rows["before"][: len(true)] = np.clip(true[:, 2] - true[:, 4], 0, CLASSES - 1)
    rows["found"][: len(true)] = index[counted] >= 0
    rows["found"][len(true) :] = True
    _fill(rows, columns, np.concatenate([index[counted], strangers]))
    if prediction.maps.depth is not None and len(true):
        x, y = np.round(true[:, :2]).astype(int).T
        rows["centre"][: len(true)] = prediction.maps.depth[y, x]
    return rows


def _fill(rows: NDArray[np.void], columns: Columns, which: NDArray[np.int64]) -> None:
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


def exact(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which true columns were found with their count."""
    return np.asarray(rows["found"] & (rows["count"] == rows["true"]))


def within_1(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which true columns were found with their count or one atom more or less."""
    return np.asarray(rows["found"] & (np.abs(rows["count"] - rows["true"]) <= 1))


def covered(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """Of which found columns the 90 % interval holds the true count."""
    return np.asarray((rows["lo90"] <= rows["true"]) & (rows["true"] <= rows["hi90"]))


def calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> float:
    """Expected calibration error over equally filled bins (Naeini et al., AAAI 2015; bins of equal mass)."""
    order = np.argsort(confidence, kind="stable")
    bins = [chunk for chunk in np.array_split(order, BINS) if len(chunk)]
    gaps = [len(b) * abs(float(confidence[b].mean()) - float(correct[b].mean())) for b in bins]
    return sum(gaps) / max(1, len(confidence))
