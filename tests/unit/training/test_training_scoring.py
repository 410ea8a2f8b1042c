"""Metrics on cases whose figures are known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from segdepth_core.prediction import Columns, Maps, Prediction, Verdict, Version
from segdepth_core.scoring import BORDER_A, calibration_error, score
from segdepth_protos.matching import match
from segdepth_training.frames.labels import View
from segdepth_training.frames.observation import Observation
from segdepth_training.judging.figures import mean, summary

SAMPLING_A = 0.1
SIDE = 100


def observation(columns: list[tuple[float, float, int, int]]) -> Observation:
    frame = np.ones((SIDE, SIDE), np.float32)
    view = View(SAMPLING_A, (0, 0), SIDE, SIDE // 2)
    return Observation(
        frame, SAMPLING_A, 500.0, np.array([(*column, 0) for column in columns], np.float32), 7, "paper", view
    )


def answer(rows: list[tuple[float, float, int, int, float]], depth: np.ndarray | None = None) -> Prediction:
    """Rows of x, y, count, species index, probability of the count; the rest of the posterior is on zero atoms."""
    x, y, count, species, p = (np.array(values) for values in zip(*rows, strict=True))
    posterior = np.zeros((len(rows), 11), np.float32)
    posterior[:, 0] = 1 - p
    posterior[np.arange(len(rows)), count] = p
    columns = Columns(
        x_px=x.astype("f4"),
        y_px=y.astype("f4"),
        species=(species + 1).astype("u1"),
        count=count.astype("u1"),
        lo90=count.astype("u1"),
        hi90=count.astype("u1"),
        abstained=p < 0.5,
        probabilities=posterior,
    )
    maps = Maps(depth=depth if depth is not None else np.zeros((SIDE, SIDE), np.uint8))
    version = Version("f", "1", "0" * 64, "torch-fp32")
    return Prediction(version, SIDE, SIDE, SAMPLING_A, 500.0, Verdict(()), columns, maps)


def test_match_is_one_to_one():
    truth = np.array([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]])
    found = np.array([[0.5, 0.0], [0.2, 0.0], [13.0, 0.0], [19.0, 0.0]])
    index = match(truth, found, 2.0)
    assert index.tolist() == [1, -1, 3]
    assert match(truth, np.zeros((0, 2)), 2.0).tolist() == [-1, -1, -1]


def test_match_gives_no_found_column_to_two():
    rng = np.random.default_rng(0)
    truth, found = rng.uniform(0, 30, (200, 2)), rng.uniform(0, 30, (150, 2))
    index = match(truth, found, 1.0)
    used = index[index >= 0]
    assert len(used) == len(set(used.tolist()))
    assert (np.hypot(*(truth[index >= 0] - found[used]).T) <= 1.0).all()


def test_missed_columns_are_wrong_and_strangers_cost_precision():
    truth = [(30.0, 30.0, 5, 0), (50.0, 50.0, 6, 1), (70.0, 70.0, 7, 0), (30.0, 70.0, 12, 0)]
    depth = np.zeros((SIDE, SIDE), np.uint8)
    depth[30, 30] = 5
    found = [(31.0, 30.0, 5, 0, 0.9), (50.0, 52.0, 7, 1, 0.6), (80.0, 20.0, 3, 0, 0.4), (30.0, 70.0, 10, 1, 0.8)]
    figures = summary(score(observation(truth).truth, answer(found, depth)), ("cerium", "oxygen"))
    assert figures["columns"] == 4
    assert figures["exact"]["value"] == 0.5  # 5, and twelve as "ten or more"
    assert figures["within_1"]["value"] == 0.75
    assert figures["recall"]["value"] == 0.75
    assert figures["precision"]["value"] == 0.75
    assert figures["centre_class"]["value"] == 0.25
    assert_allclose(figures["species"]["value"], 2 / 3)
    assert_allclose(figures["interval_covers"]["value"], 2 / 3)
    assert_allclose(figures["by_species"]["cerium"]["exact"]["value"], 2 / 3)
    assert figures["by_species"]["oxygen"]["exact"]["value"] == 0


def test_columns_at_the_border_are_left_out():
    edge_px = BORDER_A / SAMPLING_A - 0.5
    truth = [(edge_px - 0.1, 50.0, 5, 0), (edge_px + 0.1, 50.0, 5, 0)]
    rows = score(observation(truth).truth, answer([(edge_px - 1, 20.0, 5, 0, 0.9), (50.0, SIDE - 1.0, 5, 0, 0.9)]))
    assert len(rows) == 1


def test_calibration_error_is_the_known_gap():
    rng = np.random.default_rng(1)
    confidence = np.repeat([0.6, 0.9], 30000)
    correct = rng.random(60000) < np.repeat([0.7, 0.9], 30000)
    assert_allclose(calibration_error(confidence, correct), 0.05, atol=0.006)
    assert calibration_error(np.array([1.0, 1.0, 0.0]), np.array([True, True, False])) == 0
    # Too little confidence in one bin does not make up for too much in another.
    assert_allclose(calibration_error(np.array([0.95, 0.05]), np.array([False, True])), 0.95)


def test_intervals_are_seeded_and_resample_specimens():
    hits = np.tile([True] * 50 + [False] * 50, 10).reshape(10, 100)
    by_frame = mean(hits.ravel(), np.repeat(np.arange(10), 100))
    assert by_frame.low == by_frame.high == 0.5  # every specimen alike: no doubt
    clustered = np.repeat([True, False], 500)
    wide = mean(clustered, np.repeat(np.arange(10), 100))
    assert wide.high - wide.low > 0.4
    assert wide == mean(clustered, np.repeat(np.arange(10), 100))


def test_nothing_to_score_is_no_figure():
    empty = mean(np.zeros(0, bool), np.zeros(0, int))
    assert np.isnan(empty.value)


def test_frame_of_no_columns():
    rows = score(observation([(50.0, 50.0, 4, 0)]).truth, answer([(1.0, 1.0, 4, 0, 0.9)]))
    assert rows["found"].tolist() == [False]
    assert summary(rows, ("cerium", "oxygen"))["exact"]["value"] == pytest.approx(0)
