"""The demo's table: which true columns count as found, and what the shares are of."""

import json
from pathlib import Path

import numpy as np
import pytest

from segdepth.results import FrameResult
from segdepth_protos.v1 import frame_pb2 as pb
from segdepth_stack import truth

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
        abstained=bytes(p < 0.5 for *_, p in columns),
        probabilities=b"".join(posterior(count, p) for _, _, count, _, p in columns),
    )
    depth = np.full((SIZE, SIZE), 255 if refused else 0, np.uint8)
    for x, y, count, _, _ in columns:
        depth[round(y / SAMPLING_A), round(x / SAMPLING_A)] = count
    return FrameResult(
        pb.FrameResult(
            height=SIZE,
            width=SIZE,
            calibration=pb.Calibration(sampling_angstrom_per_px=SAMPLING_A),
            domain=pb.DomainVerdict(status=pb.DOMAIN_STATUS_REFUSED if refused else pb.DOMAIN_STATUS_OK),
            columns=table,
            depth_map=depth.tobytes(),
        )
    )


def posterior(count: int, p: float) -> bytes:
    values = np.full(11, (1 - p) / 10, "<f4")
    values[count] = p
    return values.tobytes()


def true_frame(columns: list[tuple[float, float, int, str]]) -> truth.TrueFrame:
    return truth.TrueFrame(
        dose=500.0,
        position_A=np.array([column[:2] for column in columns]).reshape(-1, 2),
        count=np.array([column[2] for column in columns], int),
        species=np.array([column[3] for column in columns], str),
    )


def test_a_perfect_answer_has_full_marks() -> None:
    columns = [(3.0, 4.0, 5, "Ce"), (6.0, 6.0, 9, "O")]
    score = truth.score([truth.compare(answer([(*c, 1.0) for c in columns]), true_frame(columns))])
    assert (score.columns, score.exact, score.found, score.right, score.species) == (2, 1, 1, 1, 1)
    assert score.ece == pytest.approx(0)


def test_wrong_count_wrong_species_and_missed_are_told_apart() -> None:
    true = true_frame([(3.0, 4.0, 5, "Ce"), (6.0, 6.0, 9, "O"), (6.0, 3.0, 2, "O"), (3.0, 7.0, 4, "O")])
    found = answer([(3.0, 4.0, 6, "Ce", 0.8), (6.0, 6.0, 7, "O", 0.4), (6.0, 3.0, 2, "Ce", 0.9)])
    score = truth.score([truth.compare(found, true)])
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
    assert truth.score([truth.compare(answer([]), true)]).columns == 1


def test_a_true_column_takes_its_nearest_and_only_within_reach() -> None:
    true = true_frame([(3.0, 4.0, 5, "Ce"), (3.0, 5.353, 3, "O")])
    found = answer([(3.0, 4.5, 7, "Ce", 0.9), (3.0, 4.1, 5, "Ce", 0.9), (3.0, 6.1, 3, "O", 0.9)])
    tally = truth.compare(found, true)
    assert tally.found.tolist() == [True, False]
    assert tally.right.tolist() == [True]


def test_a_refused_frame_finds_nothing() -> None:
    tally = truth.compare(answer([], refused=True), true_frame([(3.0, 4.0, 5, "Ce")]))
    score = truth.score([tally])
    assert (score.columns, score.exact, score.within_1, score.found) == (1, 0, 0, 0)
    assert np.isnan(score.right)


def test_a_frame_without_its_depth_map_is_an_error() -> None:
    result = answer([])
    result.message.ClearField("depth_map")
    with pytest.raises(ValueError, match="depth map"):
        truth.compare(result, true_frame([(3.0, 4.0, 5, "Ce")]))


def test_calibration_error_of_known_cases() -> None:
    half = np.array([1.0, 0.0])
    assert truth.calibration_error(np.array([0.5, 0.5]), half) == pytest.approx(0)
    assert truth.calibration_error(np.array([0.95, 0.95]), half) == pytest.approx(0.45)
    # Over- and under-confidence of different bins do not cancel.
    assert truth.calibration_error(np.array([0.95, 0.05]), np.array([0.0, 1.0])) == pytest.approx(0.95)
    assert truth.calibration_error(np.array([1.0]), np.array([1.0])) == pytest.approx(0)


def test_truth_file(tmp_path: Path) -> None:
    path = tmp_path / "DEMO.truth.json"
    frames = [
        {"dose": None, "columns": [[1.0, 2.0, 14, "Ce"], [3.0, 4.0, 2, "O"]]},
        {"dose": 50.0, "columns": []},
    ]
    path.write_text(json.dumps({"sampling_A": 0.1, "frames": frames}))
    first, second = truth.read_truth(path)
    assert first.dose is None
    assert first.count.tolist() == [10, 2]
    assert first.species.tolist() == ["Ce", "O"]
    assert second.position_A.shape == (0, 2)
