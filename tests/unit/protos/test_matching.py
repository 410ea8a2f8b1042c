"""Matching of columns: one to one, each the other's nearest, within reach."""

import numpy as np
import pytest
from numpy.typing import NDArray

from segdepth_protos.matching import MATCH_A, match


def by_hand(ours: NDArray[np.float64], theirs: NDArray[np.float64], reach: float) -> list[int]:
    """The definition, from all distances."""
    distance = np.hypot(*(ours[:, None] - theirs[None]).T).T
    result = []
    for number, row in enumerate(distance):
        nearest = int(row.argmin())
        mutual = int(distance[:, nearest].argmin()) == number
        result.append(nearest if mutual and row[nearest] <= reach else -1)
    return result


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("side", [2.0, 12.0, 80.0])
def test_it_is_what_all_distances_say(seed: int, side: float) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = rng.uniform(-side, side, (rng.integers(1, 90), 2)), rng.uniform(-side, side, (60, 2))
    theirs[:20] = rng.permutation(ours)[:20].mean(0) + rng.normal(0, 0.3, (20, 2))
    for reach in (0.1, MATCH_A, 3.0, 500.0):
        assert match(ours, theirs, reach).tolist() == by_hand(ours, theirs, reach)


def test_no_column_is_two_others() -> None:
    rng = np.random.default_rng(0)
    index = match(rng.uniform(0, 30, (200, 2)), rng.uniform(0, 30, (150, 2)), 1.0)
    used = index[index >= 0].tolist()
    assert len(used) == len(set(used)) > 20


def test_reach_is_the_last_distance_that_counts() -> None:
    ours, theirs = np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([[0.0, 0.5], [10.0, 0.5001]])
    assert match(ours, theirs, 0.5).tolist() == [0, -1]


def test_nothing_has_no_match() -> None:
    none, one = np.zeros((0, 2)), np.zeros((1, 2))
    assert match(none, one, 1.0).tolist() == []
    assert match(one, none, 1.0).tolist() == [-1]


def test_thousands_in_one_place_are_matched_once() -> None:
    """What a broken network may find: cost and answer stay bounded."""
    crowd = np.zeros((3000, 2))
    assert match(crowd, np.zeros((1, 2)), 0.5).tolist() == [0, *[-1] * 2999]
