"""Figures on rows whose answer is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from segdepth_core.scoring import ROW
from segdepth_training.benchmark.bars import _shares, judged
from segdepth_training.judging.evaluate import by_dose_and_family
from segdepth_training.judging.figures import (
    calibration_error,
    confusion,
    debiased_calibration_error,
    detection,
    named,
    risk_coverage,
    summary,
)

SPECIMENS, COLUMNS = 40, 200
CERIA = ("cerium", "oxygen")


def rows(right: float, stated: float, *, family: str = "paper", dose: float = 500.0, seed: int = 0) -> NDArray[np.void]:
    """Columns of six atoms; a share `right` is counted so, with probability `stated`, the others as one more."""
    numbers = np.random.default_rng(seed)
    made = np.zeros(SPECIMENS * COLUMNS, ROW)
    hit = numbers.random(len(made)) < right
    made["specimen"], made["family"], made["dose"] = np.repeat(np.arange(SPECIMENS), COLUMNS), family, dose
    made["true"], made["found"], made["p_count"], made["status"] = 6, True, stated, 1
    made["count"] = made["centre"] = np.where(hit, 6, 7)
    made["true_species"] = made["species"] = np.arange(len(made)) % 2
    made["lo90"], made["hi90"], made["mass"] = 6, 7, 0.95
    made["p_before"], made["brier"] = np.where(hit, stated, 1 - stated), 0.3
    return made


def test_chance_is_no_calibration_error() -> None:
    """Well calibrated answers: bins of a few hundred columns differ by chance, which the debiased figure leaves out."""
    made = rows(0.7, 0.7)
    # Distinct probabilities, so that the bins hold different columns.
    made["p_count"] += np.linspace(-1e-3, 1e-3, len(made))
    correct = made["count"] == made["true"]
    plain = calibration_error(made["p_count"], correct)
    debiased = debiased_calibration_error(made["p_count"], correct, made["specimen"])
    assert plain > 0.01
    assert debiased.value < 0.6 * plain


def test_a_known_gap_is_the_error() -> None:
    made = rows(0.7, 0.9)
    error = debiased_calibration_error(made["p_count"], made["count"] == made["true"], made["specimen"])
    assert error.value == pytest.approx(0.2, abs=0.015)
    assert error.low < 0.2 < error.high


def test_a_crystal_of_one_element_has_figures_of_one_species() -> None:
    made = rows(0.7, 0.7)
    made["true_species"] = made["species"] = 0
    figures = summary(made, named(["Au"]))
    assert list(figures["by_species"]) == ["gold"]
    assert figures["by_species"]["gold"]["exact"] == figures["exact"]
    assert figures["species"]["value"] == 1
    assert named(["Ce", "O"]) == CERIA


def test_specimens_that_differ_widen_the_interval() -> None:
    """Three in ten columns wrong: everywhere, or throughout some specimens."""
    alike, unlike = rows(0.7, 0.9), rows(0.7, 0.9)
    wrong = np.random.default_rng(1).random(SPECIMENS) < 0.3
    unlike["count"] = np.where(np.repeat(wrong, COLUMNS), 7, 6)
    widths = []
    for some in (alike, unlike):
        some["p_count"] += np.random.default_rng(3).uniform(-1e-3, 1e-3, len(some))
        error = debiased_calibration_error(some["p_count"], some["count"] == some["true"], some["specimen"])
        assert error.low <= error.value <= error.high
        widths.append(error.high - error.low)
    assert widths[1] > 5 * widths[0]


def test_risk_among_the_most_certain() -> None:
    made = rows(0.5, 0.5)
    made["p_count"] = np.where(made["count"] == 6, 0.9, 0.4)
    curve = risk_coverage(made)
    assert curve["0.5"]["wrong"] == pytest.approx(0, abs=0.05)
    assert curve["1"]["wrong"] == pytest.approx(0.5, abs=0.02)
    assert curve["1"]["foretold"] == pytest.approx(0.35, abs=0.02)


def test_changed_columns_are_detected_at_a_fixed_rate_of_false_alarms() -> None:
    numbers = np.random.default_rng(0)
    made = rows(1.0, 0.9)
    made["changed"] = np.arange(len(made)) % 10 == 0
    made["p_before"] = numbers.random(len(made))
    assert detection(made).value == pytest.approx(0.05, abs=0.02)
    made["p_before"] = np.where(made["changed"] != 0, 0.0, made["p_before"])
    assert detection(made).value == 1
    made["found"][made["changed"] != 0] = False
    assert detection(made).value == 0


def test_confusion_has_a_row_for_each_true_count() -> None:
    made = rows(0.5, 0.5)
    made["found"][:10] = False
    table = np.array(confusion(made))
    assert table.shape == (10, 11)
    assert table.sum() == len(made)
    assert table[5, 0] == 10
    assert table[5, 6] == (made["found"] & (made["count"] == 6)).sum()


def test_a_refused_frame_counts_as_missed_throughout() -> None:
    made = rows(1.0, 1.0)
    made["found"][:COLUMNS] = False
    made["status"][:COLUMNS] = 3
    figures = summary(made, CERIA)
    assert figures["exact"]["value"] == pytest.approx(1 - 1 / SPECIMENS)
    assert figures["refused"] == pytest.approx(1 / SPECIMENS)
    assert figures["by_species"]["oxygen"]["recall"]["value"] == pytest.approx(1 - 1 / SPECIMENS)


def test_bars_say_what_is_missed() -> None:
    for right, reached in ((0.97, True), (0.85, False)):
        report = by_dose_and_family(rows(right, right), CERIA)
        bars = {(bar.family, bar.dose, bar.what): bar for bar in judged(report)}
        counts = bars["paper", "500", "counts"]
        assert counts.figure == pytest.approx(right, abs=0.01)
        assert counts.reached == reached
        assert bars["paper", "500", "calibration error"].reached
        assert bars["all", "500", "frames refused"].reached
    overconfident = {(b.what, b.dose): b for b in judged(by_dose_and_family(rows(0.7, 0.9), CERIA))}
    assert not overconfident["calibration error", "500"].reached
    assert not overconfident["risk against foretold, worst", "500"].reached


@pytest.mark.parametrize("high, bar", [(0.79, ">= 0.7, the bound, for 0.8"), (0.81, ">= 0.8")])
def test_a_bar_is_replaced_where_the_whole_interval_of_the_bound_lies_below_it(high: float, bar: str):
    figures = {name: {"value": 0.75} for name in ("exact", "within_1", "recall_from_3")}
    report = {"particle": {"500": {**figures, "by_species": {}}}}
    bound = {"particle": {"500": {"all": {"exact": {"value": 0.7, "low": 0.6, "high": high}}}}}
    (counts,) = (one for one in _shares(report, bound) if one.what == "counts")
    assert counts.bar == bar
    assert counts.reached == (high < 0.8)
