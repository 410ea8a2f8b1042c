"""The smallest interval that holds enough of a posterior."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segdepth_protos.count_interval import count_interval


@pytest.mark.parametrize(
    "masses, expected",
    [
        ({5: 1.0}, (5, 5)),
        ({4: 0.05, 5: 0.9, 6: 0.05}, (5, 5)),
        ({4: 0.3, 5: 0.4, 6: 0.3}, (4, 6)),
        ({3: 0.1, 4: 0.5, 5: 0.39, 6: 0.01}, (3, 5)),
        ({3: 0.04, 4: 0.46, 5: 0.41, 6: 0.09}, (4, 6)),  # of two sets of three the one that holds more
        ({0: 0.5, 10: 0.5}, (0, 10)),
        ({0: 0.2, 1: 0.75, 2: 0.05}, (0, 1)),
    ],
)
def test_interval_is_the_smallest_that_holds_enough(masses: dict[int, float], expected: tuple[int, int]) -> None:
    probabilities = np.zeros((1, 11), np.float32)
    for count, mass in masses.items():
        probabilities[0, count] = mass
    low, high = count_interval(probabilities)
    assert (int(low[0]), int(high[0])) == expected


@settings(deadline=None, max_examples=60)
@given(arrays.arrays(np.float64, 11, elements=st.floats(0, 1)).filter(lambda p: p.sum() > 0.1))
def test_interval_against_every_other_set(raw: np.ndarray) -> None:
    probabilities = (raw / raw.sum()).astype(np.float32)
    low, high = (int(bound[0]) for bound in count_interval(probabilities[None]))
    mass = probabilities[low : high + 1].sum(dtype=np.float64)
    assert mass >= 0.9 - 1e-6
    for first in range(11):
        for last in range(first, 11):
            other = probabilities[first : last + 1].sum(dtype=np.float64)
            if last - first < high - low:
                assert other < 0.9 + 1e-6
            elif last - first == high - low:
                assert other <= mass + 1e-6
