"""Figures from the rows of `segdepth_core.scoring`, each with its doubt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_names, atomic_numbers
from numpy.typing import NDArray

from segdepth_core.prediction import Status
from segdepth_core.scoring import BINS, calibration_error, covered, exact, within_1
from segdepth_protos.contract import CLASSES

RESAMPLES = 400
FALSE_ALARMS = 0.05
"""Unchanged columns that may be called changed, where the detection of changed ones is measured."""

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Shares of the columns, the most certain first, at which the risk is measured."""


def named(elements: Sequence[str]) -> tuple[str, ...]:
    """Elements as reports name them: cerium for Ce."""
    return tuple(atomic_names[atomic_numbers[element]].lower() for element in elements)


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval (bootstrap over specimens)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


UNKNOWN = Figure(float("nan"), float("nan"), float("nan"))


def mean(values: NDArray[Any], specimen: NDArray[np.integer]) -> Figure:
    """Mean of values or share of hits [n], resampled by specimens (seeded)."""
    if not len(values):
        return UNKNOWN
    _, code = np.unique(specimen, return_inverse=True)
    number = np.bincount(code)
    total = np.bincount(code, values)
    draws = _draws(len(number))
    low, high = np.quantile(total[draws].sum(1) / number[draws].sum(1), [0.025, 0.975])
    return Figure(float(total.sum() / number.sum()), float(low), float(high))


def _draws(specimens: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(specimens, size=(RESAMPLES, specimens))


def paired_difference(ours: NDArray[np.void], theirs: NDArray[np.void], *, counts: bool = False) -> Figure:
    """How much larger the share of right classes at true centres is in our rows than in theirs, of the same frames.

    With `counts` that of right counts of columns found.

    Specimens are resampled (seeded), each with both its answers: what makes a specimen hard is no doubt about which
    model is better. ValueError where the rows are not of the same true columns.
    """
    ours, theirs = ours[ours["true"] > 0], theirs[theirs["true"] > 0]
    names = ["specimen", "dose", "true", "true_species"]
    if len(ours) != len(theirs) or (ours[names] != theirs[names]).any():
        raise ValueError("a paired difference is of the same true columns in the same order")
    right = [(exact(rows) if counts else rows["centre"] == rows["true"]).astype(float) for rows in (ours, theirs)]
    return mean(right[0] - right[1], ours["specimen"])


def debiased_calibration_error(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], specimen: NDArray[np.integer]
) -> Figure:
    """Calibration error without what chance adds to it, in the bins of `calibration_error`.

    Of each bin's squared gap the variance of its mean is taken away (Kumar et al., NeurIPS 2019), estimated between
    specimens, since the columns of one are not independent; what is left below zero counts as zero.
    """
    if not len(confidence):
        return UNKNOWN
    _, code = np.unique(specimen, return_inverse=True)
    specimens = int(code.max()) + 1
    bin_of = np.empty(len(confidence), np.int64)
    bin_of[np.argsort(confidence, kind="stable")] = np.arange(len(confidence)) * BINS // len(confidence)
    flat = code * BINS + bin_of
    shape = (specimens, BINS)
    gap = np.bincount(flat, confidence - correct, BINS * specimens).reshape(shape).astype(np.float64)
    number = np.bincount(flat, minlength=BINS * specimens).reshape(shape)

    def error(gaps: NDArray[np.float64], numbers: NDArray[Any]) -> NDArray[np.float64]:
        """Of specimens along the axis before the last."""
        total, filled = numbers.sum(-2), gaps.sum(-2)
        size = np.maximum(total, 1)
        rest = gaps - numbers * (filled / size)[..., None, :]
        variance = np.square(rest).sum(-2) * specimens / max(1, specimens - 1) / size**2
        left = np.sqrt(np.maximum(0, (filled / size) ** 2 - variance))
        return np.asarray((total * left).sum(-1) / np.maximum(1, total.sum(-1)))

    value = float(error(gap, number))
    # Resampling adds the variance once more: the basic interval, turned about the value, takes that out again.
    low, high = np.quantile([error(gap[draw], number[draw]) for draw in _draws(specimens)], [0.025, 0.975])
    return Figure(value, max(0.0, 2 * value - float(high)), max(value, 2 * value - float(low)))


def risk_coverage(found: NDArray[np.void]) -> dict[str, dict[str, float]]:
    """Share of wrong counts among the most certain columns, and the share that their probabilities foretell."""
    order = np.argsort(-found["p_count"], kind="stable")
    wrong = (found["count"] != found["true"])[order]
    foretold = 1 - found["p_count"][order].astype(float)
    result = {}
    for coverage in COVERAGES if len(found) else ():
        kept = max(1, round(coverage * len(found)))
        result[f"{coverage:g}"] = {"wrong": float(wrong[:kept].mean()), "foretold": float(foretold[:kept].mean())}
    return result


def detection(true: NDArray[np.void]) -> Figure:
    """Share of changed columns told from unchanged ones by a low posterior of the unchanged count.

    The threshold is what FALSE_ALARMS of the unchanged columns pass; a column that was not found is not detected.
    """
    changed = true["changed"] != 0
    if changed.all() or not changed.any():
        return UNKNOWN
    doubt = np.where(true["found"], 1 - np.nan_to_num(true["p_before"]), 0.0)
    threshold = np.quantile(doubt[~changed], 1 - FALSE_ALARMS)
    return mean(doubt[changed] > threshold, true["specimen"][changed])


def confusion(true: NDArray[np.void]) -> list[list[int]]:
    """Columns by true count (row, 1-10) and answered count (column, 0-10; 0 = not found)."""
    answered = np.where(true["found"], true["count"], 0)
    flat = true["true"].astype(np.int64) * CLASSES + answered
    table: list[list[int]] = np.bincount(flat, minlength=CLASSES**2).reshape(CLASSES, CLASSES)[1:].tolist()
    return table


def summary(rows: NDArray[np.void], species: Sequence[str]) -> dict[str, Any]:
    """Every figure of some rows, and of each species as `named`.

    Accuracies are over true columns, a missed one is wrong; ECE is over found ones.
    """
    figures = _figures(rows)
    true = rows[rows["true"] > 0]
    kind = np.where(rows["true"] > 0, rows["true_species"], rows["species"])
    hit = exact(true)
    thick = true["true"] >= 3
    _, first = np.unique(rows["specimen"], return_index=True)
    status = rows["status"][first]
    changed = true["changed"] != 0
    return figures | {
        "specimens": len(np.unique(true["specimen"])),
        "species": vars(_share_of_found(true, true["species"] == true["true_species"])),
        "precision": vars(mean(rows["true"][rows["found"]] > 0, rows["specimen"][rows["found"]])),
        "recall_from_3": vars(mean(true["found"][thick], true["specimen"][thick])),
        "recall_to_2": vars(mean(true["found"][~thick], true["specimen"][~thick])),
        "changed_exact": vars(mean(hit[changed], true["specimen"][changed])),
        "changed_detected": vars(detection(true)),
        "by_count": {str(n): float(hit[true["true"] == n].mean()) for n in np.unique(true["true"])},
        "risk_coverage": risk_coverage(rows[rows["found"]]),
        "refused": float((status == Status.REFUSED).mean()) if len(status) else float("nan"),
        "suspect": float((status == Status.SUSPECT).mean()) if len(status) else float("nan"),
        "by_species": {name: _of_species(rows[kind == number]) for number, name in enumerate(species)},
    }


def _of_species(rows: NDArray[np.void]) -> dict[str, Any]:
    true = rows[rows["true"] > 0]
    hit = exact(true)
    thick, changed = true["true"] >= 3, true["changed"] != 0
    return _figures(rows) | {
        "recall_from_3": vars(mean(true["found"][thick], true["specimen"][thick])),
        "recall_to_2": vars(mean(true["found"][~thick], true["specimen"][~thick])),
        "changed_exact": vars(mean(hit[changed], true["specimen"][changed])),
        "changed_detected": vars(detection(true)),
        "confusion": confusion(true),
    }


def _figures(rows: NDArray[np.void]) -> dict[str, Any]:
    """What is asked of all columns and of each species."""
    true, found = rows[rows["true"] > 0], rows[rows["found"]]
    hit = exact(true)
    near = within_1(true)
    answered = true["found"] & ~true["abstained"]
    matched = true[true["found"]]
    correct = found["count"] == found["true"]
    return {
        "columns": len(true),
        "exact": vars(mean(hit, true["specimen"])),
        "centre_class": vars(mean(true["centre"] == true["true"], true["specimen"])),
        "within_1": vars(mean(near, true["specimen"])),
        "error_atoms": vars(mean(np.abs(matched["count"] - matched["true"]), matched["specimen"])),
        "recall": vars(mean(true["found"], true["specimen"])),
        "ece": calibration_error(found["p_count"], correct),
        "ece_debiased": vars(debiased_calibration_error(found["p_count"], correct, found["specimen"])),
        "brier": vars(mean(found["brier"], found["specimen"])),
        "interval_covers": vars(mean(covered(matched), matched["specimen"])),
        "interval_claims": float(matched["mass"].mean()) if len(matched) else float("nan"),
        "interval_width": float((matched["hi90"] - matched["lo90"] + 1).mean()) if len(matched) else float("nan"),
        "abstained": vars(mean(matched["abstained"], matched["specimen"])),
        "exact_of_answered": vars(mean(hit[answered], true["specimen"][answered])),
    }


def _share_of_found(true: NDArray[np.void], right: NDArray[np.bool_]) -> Figure:
    return mean(right[true["found"]], true["specimen"][true["found"]])
