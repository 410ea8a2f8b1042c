"""What a released model must reach on the benchmark, each bar with its figure."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from segdepth_artefacts.promotion import TOGETHER
from segdepth_training.benchmark.shifts import BY_NAME

Report = dict[str, dict[str, Any]]
"""Figures as report[family][dose]."""

ECE, COVERS, CLAIMS_WITHIN, RISK_WITHIN = 0.02, 0.88, 0.02, 0.10
BELOW = 0.05
POOLED_ECE = 0.03
REFUSED, SUSPECT, TEN, SHIFTED_COVERS = 0.95, 0.90, 0.95, 0.85
OK_AND_WRONG = 0.12
"""Share of the columns answered of all shift sets whose frame is ok and whose interval does not hold the count."""

AT_LEAST: tuple[tuple[str, str, str, dict[str, float]], ...] = (
    ("paper", "counts", "exact", {"200": 0.90, "500": 0.95, "1000": 0.95, "2000": 0.95, "5000": 0.95}),
    ("paper", "recall", "recall", dict.fromkeys(("200", "500", "1000", "2000", "5000"), 0.98)),
    ("paper", "precision", "precision", dict.fromkeys(("200", "500", "1000", "2000", "5000"), 0.98)),
    ("perturbed", "counts", "exact", {"200": 0.70, "500": 0.85, "2000": 0.90}),
    ("perturbed", "cerium within ±1", "cerium within_1", dict.fromkeys(("500", "1000", "2000", "5000"), 0.98)),
    ("perturbed", "changed cerium", "cerium changed_exact", {"200": 0.5, "500": 0.8, "2000": 0.95}),
    ("particle", "counts", "exact", {"500": 0.80, "2000": 0.85}),
    ("particle", "within ±1", "within_1", {"500": 0.95}),
    ("particle", "recall of 3 atoms and more", "recall_from_3", dict.fromkeys(("200", "500", "1000", "2000"), 0.98)),
    ("particle", "recall of cerium of 3 atoms and more", "cerium recall_from_3", {"50": 0.90}),
)
"""Family, what, figure (of a species where one is named), and the least share by dose [e/Å²]."""


BOUNDED = {"exact": "exact", "changed_exact": "changed"}
"""Figures that the Bayes bound bounds, and what it calls them."""


@dataclass(frozen=True)
class Bar:
    """A bar and what was measured."""

    family: str
    dose: str
    what: str
    bar: str
    figure: float
    reached: bool


def judged(
    report: Report,
    shifted: Report | None = None,
    bound: dict[str, Any] | None = None,
    movies: dict[str, Any] | None = None,
    against: dict[str, Report] | None = None,
) -> list[Bar]:
    """Every bar that the reports on families, shift sets and movies have a figure for, and the Bayes bound.

    `against`: how many more counts are right than a baseline's, as against[baseline][family][dose].
    """
    found = [*_shares(report, bound or {})]
    for family, doses in report.items():
        if family != TOGETHER:
            for dose, figures in doses.items():
                found += [*_calibration(family, dose, figures), *_intervals(family, dose, figures)]
                found += _risk(family, dose, figures)
    found += [*_bounded(report, bound or {}), *_gate(report), *_shifts(shifted or {}), *_pooled(movies or {})]
    return [*found, *_beaten(against or {})]


def _shares(report: Report, bound: dict[str, Any]) -> Iterator[Bar]:
    for family, what, name, bars in AT_LEAST:
        for dose, bar in bars.items():
            if dose in report.get(family, {}):
                figures = report[family][dose]
                *species, figure = name.split()
                if not set(species) <= figures["by_species"].keys():
                    continue  # Another crystal's.
                value = (figures["by_species"][species[0]] if species else figures)[figure]["value"]
                known = bound.get(family, {}).get(dose, {}).get(species[0] if species else "all", {})
                stated = f">= {bar:.3g}"
                if figure in BOUNDED and BOUNDED[figure] in known and known[BOUNDED[figure]]["high"] < bar:
                    # The bound's whole interval lies below the bar.
                    stated = f">= {known[BOUNDED[figure]]['value']:.3g}, the bound, for {bar:.3g}"
                    bar = known[BOUNDED[figure]]["value"]
                yield Bar(family, dose, what, stated, value, value >= bar)


def _pooled(movies: dict[str, Any]) -> Iterator[Bar]:
    for family, figures in movies.items():
        against = figures["against_one"]
        what = "ten frames pooled, less one of their dose"
        yield Bar(family, "10 x 500", what, "interval reaches 0", against["value"], against["high"] >= 0)
        error = figures["ece"]["value"]
        yield Bar(family, "10 x 500", "calibration error pooled", f"<= {POOLED_ECE:g}", error, error <= POOLED_ECE)


def _beaten(against: dict[str, Report]) -> Iterator[Bar]:
    for baseline, report in against.items():
        for family, doses in report.items():
            for dose, more in doses.items():
                what = f"counts, beats {baseline}"
                yield Bar(family, dose, what, "interval above 0", more["value"], more["low"] > 0)


def _bounded(report: Report, bound: dict[str, Any]) -> Iterator[Bar]:
    for dose, by_species in bound.get("perturbed", {}).items():
        if dose in report.get("perturbed", {}) and "oxygen" in by_species:
            changed = report["perturbed"][dose]["by_species"]["oxygen"]["changed_exact"]["value"]
            gap = by_species["oxygen"]["changed"]["value"] - changed
            yield Bar("perturbed", dose, "changed oxygen below the bound", f"<= {BELOW:g}", gap, gap <= BELOW)


def _calibration(family: str, dose: str, figures: dict[str, Any]) -> Iterator[Bar]:
    error = figures["ece_debiased"]["value"]
    yield Bar(family, dose, "calibration error", f"<= {ECE:g}", error, error <= ECE)


def _intervals(family: str, dose: str, figures: dict[str, Any]) -> Iterator[Bar]:
    for name, of_species in figures["by_species"].items():
        covers, claims = of_species["interval_covers"]["value"], of_species["interval_claims"]
        yield Bar(family, dose, f"90 % interval covers {name}", f">= {COVERS:g}", covers, covers >= COVERS)
        gap = covers - claims
        within = f"within ±{CLAIMS_WITHIN:g}"
        yield Bar(family, dose, f"coverage less claim, {name}", within, gap, abs(gap) <= CLAIMS_WITHIN)


def _risk(family: str, dose: str, figures: dict[str, Any]) -> Iterator[Bar]:
    curve = figures["risk_coverage"]
    if not curve:
        return
    if (family, dose) == ("paper", "200"):
        ratio = curve["0.8"]["wrong"] / max(1e-9, curve["1"]["wrong"])
        yield Bar(family, dose, "error with a fifth abstained, of all", "<= 0.5", ratio, ratio <= 0.5)
    worst = max((_relative(**point) for point in curve.values()), key=abs)
    yield Bar(
        family, dose, "risk against foretold, worst", f"within ±{RISK_WITHIN:g}", worst, abs(worst) <= RISK_WITHIN
    )


def _relative(wrong: float, foretold: float) -> float:
    return wrong / foretold - 1 if foretold > 0 else math.inf


def _gate(report: Report) -> Iterator[Bar]:
    for dose, figures in report.get(TOGETHER, {}).items():
        if dose == "noise-free" or float(dose) >= 100:
            for name, bar in (("refused", 0.01), ("suspect", 0.03)):
                yield Bar(TOGETHER, dose, f"frames {name}", f"<= {bar:g}", figures[name], figures[name] <= bar)


def _shifts(shifted: Report) -> Iterator[Bar]:
    for name, doses in shifted.items():
        expected = BY_NAME[name].expected
        for dose, figures in doses.items():
            if expected == "refused":
                yield _at_least(name, dose, "frames refused", REFUSED, figures["refused"])
            elif expected == "suspect":
                # The lattice's own check: at the ends of the range of samplings another one notices too.
                yield _at_least(name, dose, "frames suspect by their lattice", SUSPECT, figures["lattice_noticed"])
            elif expected == "ten" and figures["columns"]:
                yield _at_least(name, dose, "columns answered ten or abstained", TEN, figures["ten_or_abstained"])
                low = figures["low_and_sure"]
                yield Bar(name, dose, "columns answered 8 or fewer with p > 0.5", "= 0", low, low == 0)
            if expected != "ten" and not math.isnan(figures["interval_covers"]):
                covers = figures["interval_covers"]
                yield _at_least(name, dose, "interval covers where answered", SHIFTED_COVERS, covers)

    answered = [
        (figures["columns"], figures["ok_and_wrong"])
        for name, doses in shifted.items()
        if BY_NAME[name].expected != "ten"
        for figures in doses.values()
        if figures["columns"]
    ]
    if answered:
        wrong = sum(columns * share for columns, share in answered) / sum(columns for columns, _ in answered)
        yield Bar("shift sets", "all", "frame ok, interval wrong", f"<= {OK_AND_WRONG:g}", wrong, wrong <= OK_AND_WRONG)


def _at_least(family: str, dose: str, what: str, bar: float, figure: float) -> Bar:
    return Bar(family, dose, what, f">= {bar:g}", figure, figure >= bar)
