"""The mixture baseline on intensities that are easy, and on ones that are not."""

import numpy as np
import pytest

from segdepth_training.benchmark.mixture import Mixture, intensities, labelled
from segdepth_training.labels import View
from segdepth_training.observation import Observation
from segdepth_training.scoring import score


def test_separate_intensities_are_counted() -> None:
    numbers = np.random.default_rng(0)
    counts = numbers.integers(3, 7, 300)
    posterior = labelled(counts + numbers.normal(0, 0.05, 300), counts)
    assert (posterior.argmax(1) == counts).mean() > 0.99
    np.testing.assert_allclose(posterior.sum(1), 1)


def test_intensities_that_overlap_are_not() -> None:
    numbers = np.random.default_rng(0)
    counts = numbers.integers(3, 7, 300)
    posterior = labelled(counts + numbers.normal(0, 5, 300), counts)
    assert (posterior.argmax(1) == counts).mean() < 0.5


def test_a_disk_is_averaged() -> None:
    frame = np.ones((40, 40), np.float32)
    frame[8:13, 18:23] = 3
    inside, outside = intensities(frame, np.array([[20.0, 10.0], [20.0, 30.0]]), 2.0)
    assert inside / outside == pytest.approx(3)


def test_it_answers_where_the_columns_are() -> None:
    frame = np.random.default_rng(0).poisson(50, (100, 100)).astype(np.float32)
    columns = np.array([[x, y, 5, 0, 0] for x in range(10, 95, 14) for y in range(10, 95, 14)], np.float32)
    frame[columns[:, 1].astype(int), columns[:, 0].astype(int)] += 20
    observation = Observation(frame, 0.1, 500.0, columns, 3, "paper", View(0.1, (0, 0), 100, 50))
    rows = score(observation, Mixture().answer(observation))
    assert rows["found"].all()
    assert (rows["count"] == 5).all()
    assert (rows["centre"] == 5).all()
