"""How good answers are: columns matched to the truth, and figures from the matches with their intervals.

The one place where metrics are defined; every model and every set is scored by this code.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segdepth_inference.comparison import MATCH_A, matched
from segdepth_inference.prediction import Columns, Prediction, Status
from segdepth_protos.contract import CLASSES
from segdepth_training.observation import Observation

BORDER_A = 1.5
"""Columns nearer to the frame's edge are left out, true and found."""

BINS = 15
RESAMPLES = 400

ROW = np.dtype(
    [
        *(("specimen", "i4"), ("dose", "f8"), ("family", "U10"), ("true", "i2"), ("true_species", "i2")),
        *(("found", "?"), ("count", "i2"), ("species", "i2"), ("p_count", "f4"), ("lo90", "i2"), ("hi90", "i2")),
        *(("mass", "f4"), ("abstained", "?"), ("centre", "i2"), ("status", "i2")),
    ]
)
"""One row for each true column (true >= 1) and each found column that is nobody's (true = 0)."""


def match(truth: NDArray[np.floating], found: NDArray[np.floating], reach: float) -> NDArray[np.int64]:
    """For each true position [n, 2] the index of its found one [m, 2] within reach, -1 without."""
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
    rows["found"][: len(true)] = index[counted] >= 0
    rows["found"][len(true) :] = True
    which = np.concatenate([index[counted], strangers])
    fill(rows, columns, which)
    if prediction.maps.depth is not None and len(true):
        x, y = np.round(true[:, :2]).astype(int).T
        rows["centre"][: len(true)] = prediction.maps.depth[y, x]
    return rows


def fill(rows: NDArray[np.void], columns: Columns, which: NDArray[np.int64]) -> None:
    """Copy the answers of found columns into their rows."""
    hit, index = which >= 0, which[which >= 0]
    rows["species"] = -1
    rows["species"][hit] = columns.species[index].astype(int) - 1
    for name in ("count", "lo90", "hi90", "abstained"):
        rows[name][hit] = getattr(columns, name)[index]
    probabilities = columns.probabilities[index]
    rows["p_count"][hit] = probabilities[np.arange(len(index)), columns.count[index].astype(int)]
    below = np.concatenate([np.zeros((len(index), 1)), probabilities.cumsum(axis=1)], axis=1)
    lo, hi = columns.lo90[index].astype(int), columns.hi90[index].astype(int)
    rows["mass"][hit] = below[np.arange(len(index)), hi + 1] - below[np.arange(len(index)), lo]


@dataclass(frozen=True)
class Figure:
    """A share with its 95 % interval (bootstrap over specimens)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


def share(hits: NDArray[np.bool_], specimen: NDArray[np.integer]) -> Figure:
    """Mean of `hits`, resampled by specimens (seeded)."""
    if not len(hits):
        return Figure(float("nan"), float("nan"), float("nan"))
    _, code = np.unique(specimen, return_inverse=True)
    number = np.bincount(code)
    good = np.bincount(code, hits)
    draws = np.random.default_rng(0).integers(len(number), size=(RESAMPLES, len(number)))
    low, high = np.quantile(good[draws].sum(1) / number[draws].sum(1), [0.025, 0.975])
    return Figure(float(good.sum() / number.sum()), float(low), float(high))


def paired_difference(ours: NDArray[np.void], theirs: NDArray[np.void]) -> Figure:
    """How much larger the share of right classes at true centres is in our rows than in theirs, of the same frames.

    Specimens are resampled (seeded), each with both its answers: what makes a specimen hard is no doubt about which
    model is better. ValueError where the rows are not of the same true columns.
    """
    ours, theirs = ours[ours["true"] > 0], theirs[theirs["true"] > 0]
    names = ["specimen", "dose", "true", "true_species"]
    if len(ours) != len(theirs) or (ours[names] != theirs[names]).any():
        raise ValueError("a paired difference is of the same true columns in the same order")
    if not len(ours):
        return Figure(float("nan"), float("nan"), float("nan"))
    _, code = np.unique(ours["specimen"], return_inverse=True)
    number = np.bincount(code)
    right = [(rows["centre"] == rows["true"]).astype(float) for rows in (ours, theirs)]
    gained = np.bincount(code, right[0] - right[1])
    draws = np.random.default_rng(0).integers(len(number), size=(RESAMPLES, len(number)))
    low, high = np.quantile(gained[draws].sum(1) / number[draws].sum(1), [0.025, 0.975])
    return Figure(float(gained.sum() / number.sum()), float(low), float(high))


def calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> float:
    """Expected calibration error over equally filled bins (Naeini et al., AAAI 2015; bins of equal mass)."""
    order = np.argsort(confidence, kind="stable")
    bins = [chunk for chunk in np.array_split(order, BINS) if len(chunk)]
    gaps = [len(b) * abs(float(confidence[b].mean()) - float(correct[b].mean())) for b in bins]
    return sum(gaps) / max(1, len(confidence))


def summary(rows: NDArray[np.void]) -> dict[str, object]:
    """Every figure of some rows. Accuracies are over true columns, a missed one is wrong; ECE is over found ones."""
    true = rows[rows["true"] > 0]
    found = rows[rows["found"]]
    correct = found["count"] == found["true"]
    hit = true["found"] & (true["count"] == true["true"])
    near = true["found"] & (np.abs(true["count"] - true["true"]) <= 1)
    matched = true[true["found"]]
    covered = (matched["lo90"] <= matched["true"]) & (matched["true"] <= matched["hi90"])
    return {
        "columns": len(true),
        "specimens": len(np.unique(true["specimen"])),
        "exact": vars(share(hit, true["specimen"])),
        "centre_class": vars(share(true["centre"] == true["true"], true["specimen"])),
        "within_1": vars(share(near, true["specimen"])),
        "recall": vars(share(true["found"], true["specimen"])),
        "precision": vars(share(found["true"] > 0, found["specimen"])),
        "species": vars(share(matched["species"] == matched["true_species"], matched["specimen"])),
        "exact_cerium": vars(share(hit[true["true_species"] == 0], true["specimen"][true["true_species"] == 0])),
        "exact_oxygen": vars(share(hit[true["true_species"] == 1], true["specimen"][true["true_species"] == 1])),
        "ece": calibration_error(found["p_count"], correct),
        "interval_covers": vars(share(covered, matched["specimen"])),
        "interval_claims": float(matched["mass"].mean()) if len(matched) else float("nan"),
        "interval_width": float((matched["hi90"] - matched["lo90"] + 1).mean()) if len(matched) else float("nan"),
        "abstained": vars(share(matched["abstained"], matched["specimen"])),
        "exact_of_answered": vars(
            share(hit[true["found"] & ~true["abstained"]], true["specimen"][true["found"] & ~true["abstained"]])
        ),
        "refused": float((true["status"] == Status.REFUSED).mean()) if len(true) else float("nan"),
        "suspect": float((true["status"] == Status.SUSPECT).mean()) if len(true) else float("nan"),
    }
