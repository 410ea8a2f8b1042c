"""Tracking on a few simulated movies of drifting specimens whose atoms hop at known frames, at 500 e/Å² a frame.

The figures of many movies are in docs/tracks.md; `python -m tests.benchmarks.tracks` measures them.
"""

import pytest

import segdepth
from segdepth_training.frames.hopping_movies import hopping_movie
from segdepth_training.recipes.recipe import load_recipe
from tests.benchmarks.tracks.movies import RECIPE
from tests.benchmarks.tracks.score import Score

MOVIES, FRAMES, DOSE = 3, 45, 500.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def figures():
    score, recipe = Score(), load_recipe(RECIPE)
    with segdepth.connect("local") as client:
        for index in range(MOVIES):
            movie = hopping_movie(recipe, 7, index, DOSE, FRAMES)
            score.add(movie, list(client.track(movie.frames, movie.sampling_A)))
    return score.figures()


def test_every_frame_is_used(figures):
    assert figures["frames_tracked"] == 1


def test_columns_keep_their_tracks(figures):
    assert figures["links"] >= 0.99
    assert figures["found"] >= 0.95


def test_drift_is_right_to_a_tenth_of_an_angstrom(figures):
    assert figures["drift_error_A_largest"] <= 0.1


def test_counts_and_their_intervals(figures):
    assert figures["exact"] >= 0.70
    assert figures["covered"] >= 0.88


def test_false_alarms_are_rare(figures):
    assert figures["false_alarms_per_1000"] < 1
