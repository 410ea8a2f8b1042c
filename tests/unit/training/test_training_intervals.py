"""Figures of a smaller size beside the intervals of the full one."""

from pathlib import Path
from typing import Any

import pytest

from segdepth_training.benchmark.reference_intervals import FIGURES, Intervals


def report(value: float, spread: float) -> dict[str, Any]:
    figure = {"value": value, "low": value - spread, "high": value + spread}
    return {
        "digest": "abc",
        "model": "ceo2 1",
        "contenders": {"ceo2 1": {"paper": {"500": dict.fromkeys(FIGURES, figure)}}, "regression": {}},
    }


def test_a_figure_is_inside_where_the_full_interval_holds_it(tmp_path: Path) -> None:
    Intervals.of(report(0.8, 0.05)).write(tmp_path / "intervals.json")
    full = Intervals.read(tmp_path / "intervals.json")
    near, far = (full.beside(report(value, 0.1)["contenders"]) for value in (0.84, 0.86))
    assert [one.what for one in near] == list(FIGURES.values())
    assert all(one.inside for one in near)
    assert not any(one.inside for one in far)
    assert (far[0].family, far[0].dose, far[0].low, far[0].high) == ("paper", "500", 0.75, 0.85)


def test_figures_are_compared_as_they_are_printed() -> None:
    """A bound of 0.8504 is printed 0.850: a figure printed so is not outside of it."""
    full = Intervals.of(report(0.8, 0.0496))
    assert full.beside(report(0.8504, 0)["contenders"])[0].inside


def test_they_are_of_one_benchmark_and_one_model() -> None:
    full = Intervals.of(report(0.8, 0.05))
    assert full.are_of("abc", "ceo2 1")
    assert not full.are_of("abc", "ceo2 2")
    assert not full.are_of("abd", "ceo2 1")


def test_a_missing_file_says_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--size full"):
        Intervals.read(tmp_path / "intervals.json")
