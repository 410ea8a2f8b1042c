"""The demo's table: which true columns count as found, and what the shares are of."""

import json
from pathlib import Path

import numpy as np
import pytest

from segdepth.results import FrameResult
from segdepth_protos.v1 import frame_pb2 as pb
from segdepth_stack import demo_score as demo
from segdepth_training.judging.figures import summary

SAMPLING_A = 0.1
SIZE = 100


def answer(columns: list[tuple[float, float, int, str, float]], *, refused: bool = False) -> FrameResult:
    """A frame of 10 x 10 Å in which (x_A, y_A, count, species, p_count) were found."""
    table = pb.ColumnTable(
        size=len(columns),
        x_px=np.array([x / SAMPLING_A for x, *_ in columns], "<f4").tobytes(),
        y_px=np.array([y / SAMPLING_A for _, y, *_ in columns], "<f4").tobytes(),
        species=bytes(pb.SPECIES_CE if species == "Ce" else pb.SPECIES_O for *_, species, _ in columns),
        count=bytes(count for _, _, count, _, _ in columns),
        lo90=bytes(max(count - 1, 0) for _, _, count, _, _ in columns),
        hi90=bytes(count for _, _, count, _, _ in columns),
        abstained=bytes(bool(p < 0.5) for *_, p in columns),
        probabilities=b"".join(posterior(count, p) for _, _, count, _, p in columns),
    )
    return FrameResult(
        pb.FrameResult(
            height=SIZE,
            width=SIZE,
            calibration=pb.Calibration(sampling_angstrom_per_px=SAMPLING_A),
            domain=pb.DomainVerdict(status=pb.DOMAIN_STATUS_REFUSED if refused else pb.DOMAIN_STATUS_OK),
            columns=table,
        )
    )


def posterior(count: int, p: float) -> bytes:
    values = np.full(11, (1 - p) / 10, "<f4")
    values[count] = p
    return values.tobytes()


def true_frame(columns: list[tuple[float, float, int, str]]) -> demo.TrueFrame:
    return demo.TrueFrame(
        dose=500.0,
        position_A=np.array([column[:2] for column in columns]).reshape(-1, 2),
        count=np.array([column[2] for column in columns], int),
        species=tuple(column[3] for column in columns),
    )


def test_a_perfect_answer_has_full_marks() -> None:
    columns = [(3.0, 4.0, 5, "Ce"), (6.0, 6.0, 9, "O")]
    score = demo.total([demo.compare(answer([(*c, 1.0) for c in columns]), true_frame(columns))])
    assert (score.columns, score.exact, score.found, score.right, score.species) == (2, 1, 1, 1, 1)
    assert score.ece == pytest.approx(0)


def test_wrong_count_wrong_species_and_missed_are_told_apart() -> None:
    true = true_frame([(3.0, 4.0, 5, "Ce"), (6.0, 6.0, 9, "O"), (6.0, 3.0, 2, "O"), (3.0, 7.0, 4, "O")])
    found = answer([(3.0, 4.0, 6, "Ce", 0.8), (6.0, 6.0, 7, "O", 0.4), (6.0, 3.0, 2, "Ce", 0.9)])
    score = demo.total([demo.compare(found, true)])
    assert score.exact == 0.25
    assert score.within_1 == 0.5
    assert score.found == 0.75
    assert score.right == pytest.approx(1 / 3)
    assert score.species == pytest.approx(2 / 3)
    assert score.abstained == pytest.approx(1 / 3)
    assert score.stated == pytest.approx(0.7)
    assert score.covered_90 == pytest.approx(2 / 3)  # 6 covers 5, 7 does not cover 9, 2 covers 2


def test_columns_at_the_border_are_left_out() -> None:
    true = true_frame([(1.0, 5.0, 5, "Ce"), (5.0, 9.0, 5, "Ce"), (5.0, 5.0, 5, "Ce")])
    assert demo.total([demo.compare(answer([]), true)]).columns == 1


def test_each_is_the_others_nearest_within_reach() -> None:
    true = true_frame([(3.0, 4.0, 5, "Ce"), (3.0, 5.353, 3, "O")])
    found = answer([(3.0, 4.4, 7, "Ce", 0.9), (3.0, 4.1, 5, "Ce", 0.9), (3.0, 6.1, 3, "O", 0.9)])
    rows = demo.compare(found, true)
    assert rows["true"].tolist() == [5, 3, 0, 0]
    assert rows["found"].tolist() == [True, False, True, True]
    assert rows["count"][0] == 5
    assert demo.total([rows]).right == pytest.approx(1 / 3), "a column that is nobody's is a wrong one"


def test_a_refused_frame_finds_nothing() -> None:
    score = demo.total([demo.compare(answer([], refused=True), true_frame([(3.0, 4.0, 5, "Ce")]))])
    assert (score.columns, score.exact, score.within_1, score.found) == (1, 0, 0, 0)
    assert np.isnan(score.right)


def test_the_benchmark_scores_alike() -> None:
    """The same answers give the same figures in the demo's table and in the model's report."""
    rng = np.random.default_rng(0)
    grid = [(x, y) for x in np.arange(2.0, 8.5, 1.4) for y in np.arange(2.0, 8.5, 1.4)]
    counts = rng.integers(1, 15, len(grid))
    true = [(x, y, int(n), "O" if n % 2 else "Ce") for (x, y), n in zip(grid, counts, strict=True)]
    found = [
        (x + rng.normal(0, 0.2), y + rng.normal(0, 0.2), int(min(max(n + rng.integers(-1, 2), 1), 10)), "Ce", p)
        for (x, y, n, _), p in zip(true, rng.uniform(0.3, 1, len(true)), strict=True)
    ]
    rows = demo.compare(answer(found), true_frame(true))
    ours, theirs = demo.total([rows]), summary(rows, ("cerium", "oxygen"))
    assert 0 < ours.exact < ours.within_1 <= ours.found
    for name, other in (("exact", "exact"), ("within_1", "within_1"), ("found", "recall"), ("species", "species")):
        assert getattr(ours, name) == pytest.approx(theirs[other]["value"]), name
    assert ours.covered_90 == pytest.approx(theirs["interval_covers"]["value"])
    assert ours.ece == pytest.approx(theirs["ece"])


def test_truth_file(tmp_path: Path) -> None:
    path = tmp_path / "DEMO.truth.json"
    frames = [
        {"dose": None, "columns": [[1.0, 2.0, 14, "Ce"], [3.0, 4.0, 2, "O"]]},
        {"dose": 50.0, "columns": []},
    ]
    path.write_text(json.dumps({"sampling_A": 0.1, "frames": frames}))
    first, second = demo.read_truth(path)
    assert first.dose is None
    assert first.count.tolist() == [14, 2]
    assert first.species == ("Ce", "O")
    assert second.position_A.shape == (0, 2)
