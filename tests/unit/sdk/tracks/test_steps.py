"""Steps in columns' figures: found when they are, none in noise, none where all columns move at once."""

import numpy as np
import pytest

from segdepth.tracks.figures import FIGURES
from segdepth.tracks.steps import WINDOW, Steps

NOISE = np.array([0.5, 0.03, 0.025, 0.02])
COLUMNS = 60
EVERY = np.arange(COLUMNS)


def figures(rng, step=0.0, columns=COLUMNS):
    return np.array([5.0, 1.2, 1.1, 1.05]) + NOISE * (rng.normal(size=(columns, FIGURES)) + step)


def added(frames, seed=0, change=lambda number: 0.0):
    """Steps of so many frames; change(number): by how much each column [n, 1] is off, in units of the noise."""
    rng, steps = np.random.default_rng(seed), Steps(FIGURES)
    steps.grow(EVERY % 2)
    for number in range(frames):
        steps.add(EVERY, figures(rng, change(number)).T)
    return steps


@pytest.mark.parametrize("moment", [8, 30, 33])
def test_a_step_is_found_at_its_moment(moment):
    moves = (EVERY == 7)[:, None] * 2.0
    steps = added(40, change=lambda number: moves * (number >= moment))
    evidence = steps.evidence_of(EVERY)
    assert evidence.total.argmax() == 7
    assert evidence.total[7] > 8
    assert abs(steps.frame - evidence.back[7].argmax() - moment) <= 1
    assert steps.height(7, steps.frame - moment) == pytest.approx(2 * NOISE, abs=1.5 * NOISE.max())


def test_noise_shows_none():
    """Of 60 columns in 60 frames, each frame another chance: a share of less than e^-t is above t."""
    highest = []
    for seed in range(3):
        rng, steps = np.random.default_rng(seed), Steps(FIGURES)
        steps.grow(EVERY % 2)
        for _ in range(60):
            steps.add(EVERY, figures(rng).T)
            highest += steps.evidence_of(EVERY).total.tolist()
    assert np.mean(np.array(highest) > 4) < np.exp(-4)
    assert np.max(highest) < 9


def test_what_all_columns_do_at_once_is_no_step():
    steps = added(40, change=lambda number: 4.0 * (number >= 20))
    assert steps.evidence_of(EVERY).total.max() < 5


def test_a_step_of_one_is_seen_though_all_jump():
    moves = (EVERY == 7)[:, None] * 2.5
    steps = added(40, change=lambda number: (4.0 + moves) * (number >= 20))
    assert steps.evidence_of(EVERY).total.argmax() == 7
    assert steps.evidence_of(EVERY).total[7] > 8


def test_a_single_wild_frame_is_no_step():
    wild = (EVERY == 7)[:, None] * 40.0
    steps = added(40, change=lambda number: wild * (number == 20))
    assert steps.evidence_of(EVERY).total.max() < 5


def test_screening_misses_no_plain_step():
    moves = (EVERY % 20 == 1)[:, None] * 2.0
    steps = added(100, change=lambda number: moves * (number >= 60))
    every = steps.evidence_of(EVERY)
    rows, screened = steps.evidence(8.0)
    assert set(np.flatnonzero(every.total > 8.0)) == {1, 21, 41}
    assert {1, 21, 41} <= set(rows)
    np.testing.assert_allclose(screened.total, every.total[rows])


def test_a_step_that_is_begun_is_not_found_again():
    moves = (EVERY == 7)[:, None] * 3.0
    steps = added(40, change=lambda number: moves * (number >= 30))
    steps.begin(7, 10)
    assert steps.evidence_of(EVERY).total[7] < 4


def test_rows_keep_their_own_figures():
    """Others that go and come leave a row's evidence as it is."""
    moves = (EVERY == 47)[:, None] * 3.0
    rng, steps, alone = np.random.default_rng(0), Steps(FIGURES), Steps(FIGURES)
    steps.grow(EVERY % 2)
    alone.grow(EVERY % 2)
    kept = EVERY % 3 != 0
    for number in range(40):
        shown = figures(rng, moves * (number >= 30))
        alone.add(EVERY, shown.T)
        steps.add(np.arange(len(steps)), (shown if number <= 35 else shown[kept]).T)
        if number == 35:
            steps.keep(kept)
    row = int(kept[:47].sum())
    assert steps.evidence_of(np.arange(len(steps))).total.argmax() == row
    assert steps.height(row, 10) == pytest.approx(alone.height(47, 10), abs=0.1)


def test_rows_of_no_value_say_nothing():
    rng, steps = np.random.default_rng(0), Steps(FIGURES)
    steps.grow(EVERY % 2)
    for number in range(40):
        shown = figures(rng)
        if number >= 20:
            shown[3, 2] = np.nan
        steps.add(EVERY, shown.T)
    assert np.isfinite(steps.evidence_of(EVERY).total).all()
    assert steps.level(EVERY).shape == (COLUMNS, FIGURES)
    assert np.isfinite(steps.level(EVERY)).all()


@pytest.mark.filterwarnings("error")
def test_figures_that_never_move_are_no_steps():
    """A camera that repeats its frame, until all that was noise is forgotten."""
    steps = Steps(FIGURES)
    steps.grow(np.zeros(2, np.int64))
    for _ in range(WINDOW):
        steps.add(np.arange(2), np.ones((FIGURES, 2)))
    steps._products = {0: np.zeros((FIGURES, FIGURES))}
    for _ in range(WINDOW):
        steps.add(np.arange(2), np.ones((FIGURES, 2)))
    assert (steps.evidence_of(np.arange(2)).total < 0).all()


def test_before_there_is_enough_nothing_is_said():
    steps = added(3)
    rows, evidence = steps.evidence(0.0)
    assert len(rows) == len(evidence.total) == 0
