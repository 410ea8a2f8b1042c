"""Who may become stable: every gate refuses what misses it, with figure and bar, and nothing else."""

import copy
import math
from typing import Any

import pytest
from pydantic import ValidationError

from segdepth_artefacts.promotion import PromotionGates, refusals
from segdepth_artefacts.shadow import Counts, ShadowSummary

GATES = PromotionGates()
DOSES = ("50", "500", "noise-free")


def good_report() -> dict[str, Any]:
    """A report that every gate passes, with much that no gate asks."""
    return {
        "family": "ceo2-110",
        "version": "2",
        "families": {
            "all": {dose: {"ece": 0.012, "centre_class": {"value": 0.8, "low": 0.7, "high": 0.9}} for dose in DOSES},
            "paper": {dose: {"ece": 0.2} for dose in DOSES},
        },
        "engines": [],
        "missed": [],
        "paired": {
            "stable": "1",
            "run_id": "r",
            "seed": 7,
            "specimens": 60,
            "doses": {
                dose: {
                    "difference": {"value": -0.01, "low": -0.03, "high": 0.01},
                    "ece": 0.012,
                    "ece_stable": 0.010,
                }
                for dose in DOSES
            },
        },
    }


def shadow(**counts: int) -> ShadowSummary:
    doses = {"100-316": Counts(**counts)} if counts else {}
    return ShadowSummary(family="ceo2-110", candidate="2", stable="1", doses=doses)


def changed(path: str, value: Any) -> dict[str, Any]:
    report = copy.deepcopy(good_report())
    *folders, last = path.split("/")
    place: Any = report
    for folder in folders:
        place = place[folder]
    place[last] = value
    return report


def test_a_good_candidate_is_not_refused() -> None:
    assert refusals(good_report(), shadow(), GATES) == []


@pytest.mark.parametrize(
    "path, value, said",
    [
        ("missed", ["accuracy at 500 e/Å² is 0.700 < 0.83"], "own gate: accuracy at 500 e/Å² is 0.700 < 0.83"),
        ("missed", None, "no field `missed`"),
        ("families", {}, "no calibration error"),
        ("families/all/500/ece", 0.041, "calibration error at 500 e/Å² is 0.041 > 0.04"),
        ("families/all/noise-free/ece", math.nan, "calibration error at noise-free is nan > 0.04"),
        ("paired", None, "no comparison with the present stable 1"),
        ("paired/stable", "0", "compares it with 0, but stable is now 1"),
        ("paired/specimens", 19, "on 19 specimens < 20"),
        (
            "paired/doses/50/difference",
            {"value": -0.05, "low": -0.09, "high": -0.001},
            "accuracy at 50 e/Å² is worse than 1's: -0.050 (95 % interval -0.090 to -0.001, must reach 0)",
        ),
        ("paired/doses/50/difference/high", math.nan, "must reach 0"),
        ("paired/doses/noise-free/ece", 0.2, "frames shared at noise-free is 0.200 > 0.04"),
        (
            "paired/doses/50/ece",
            0.021,
            "calibration error at 50 e/Å² is 0.011 larger than 1's 0.010, permitted is 0.01",
        ),
        ("paired/doses/50/ece", math.nan, "frames shared at 50 e/Å² is nan > 0.04"),
        ("paired/doses/50/ece_stable", math.nan, "calibration error at 50 e/Å² is nan larger than 1's nan"),
        ("paired/doses", {}, "cannot be read at paired.doses"),
        ("paired/doses/50/ece", "small", "cannot be read at paired.doses.50.ece"),
    ],
)
def test_each_gate_refuses_with_figure_and_bar(path: str, value: Any, said: str) -> None:
    reasons = refusals(changed(path, value), shadow(), GATES)
    assert any(said in reason for reason in reasons), reasons


def test_an_interval_that_reaches_zero_is_no_loss() -> None:
    assert (
        refusals(changed("paired/doses/50/difference", {"value": -0.1, "low": -0.2, "high": 0.0}), shadow(), GATES)
        == []
    )


def test_without_a_stable_there_is_nothing_to_compare_with_but_the_other_gates_hold() -> None:
    report = changed("paired", None)
    assert refusals(report, None, PromotionGates(min_shadow_frames=100)) == []
    report["families"]["all"]["50"]["ece"] = 0.5
    assert len(refusals(report, None, GATES)) == 1


def test_every_refusal_is_listed() -> None:
    report = changed("missed", ["one", "two"])
    report["paired"]["specimens"] = 3
    report["families"]["all"]["50"]["ece"] = 0.5
    assert len(refusals(report, shadow(), GATES)) == 4


def test_a_report_of_another_time_is_refused_not_an_error() -> None:
    assert len(refusals({}, shadow(), GATES)) == 3
    assert "cannot be read" in refusals({"families": []}, shadow(), GATES)[0]


class TestShadow:
    asked = PromotionGates(min_shadow_frames=100)

    def refused(self, **counts: int) -> list[str]:
        return refusals(good_report(), shadow(**counts), self.asked)

    def test_enough_agreement(self) -> None:
        assert (
            self.refused(frames=100, verdicts_differ=5, columns=900, confident_columns=500, confident_differ=50) == []
        )

    def test_too_few_frames_says_what_to_do(self) -> None:
        (reason,) = self.refused(frames=99, columns=900, confident_columns=500)
        assert "compared 99 frames of it with 1 < 100" in reason
        assert "SEGDEPTH_INFERENCE_SHADOW_SHARE" in reason

    @pytest.mark.parametrize(
        "counts, said",
        [
            ({"confident_differ": 51}, "counts that differ where both are sure in the shadow of 1: 10.2% > 10.0%"),
            ({"only_stable": 60, "only_candidate": 60}, "one of the two alone finds in the shadow of 1: 11.8% > 10.0%"),
            ({"verdicts_differ": 6}, "frames with another verdict in the shadow of 1: 6.0% > 5.0%"),
        ],
    )
    def test_disagreement(self, counts: dict[str, int], said: str) -> None:
        (reason,) = self.refused(**({"frames": 100, "columns": 900, "confident_columns": 500} | counts))
        assert said in reason

    def test_a_candidate_that_refuses_all_frames_is_no_agreement(self) -> None:
        reasons = self.refused(frames=1000, verdicts_differ=1000)
        assert len(reasons) == 3
        assert "nothing to judge by" in reasons[0]


def test_gates_are_shares() -> None:
    with pytest.raises(ValidationError, match="max_ece"):
        PromotionGates(max_ece=4.0)
