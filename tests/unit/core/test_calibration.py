"""Temperatures by dose, posteriors and their intervals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segdepth_artefacts.manifest import TemperatureTable
from segdepth_core.calibration import interval, pixel_probabilities, posterior, temperature

TABLE = TemperatureTable(dose=(100.0, 1000.0, 10000.0), temperature=(2.0, 1.0, 0.5))


def test_temperature_is_linear_in_log_dose() -> None:
    doses = torch.tensor([100.0, 10**2.5, 1000.0, 10**3.25])
    torch.testing.assert_close(temperature(TABLE, doses), torch.tensor([2.0, 1.5, 1.0, 0.875]))


def test_temperature_is_constant_beyond_its_table() -> None:
    torch.testing.assert_close(temperature(TABLE, torch.tensor([0.0, 1.0, 1e6])), torch.tensor([2.0, 2.0, 0.5]))


def test_one_temperature_holds_for_every_dose() -> None:
    one = TemperatureTable(dose=(500.0,), temperature=(1.3,))
    torch.testing.assert_close(temperature(one, torch.tensor([1.0, 1e5])), torch.tensor([1.3, 1.3]))


def test_a_high_temperature_flattens() -> None:
    logits = torch.tensor([[3.0, 0.0, 0.0]]).repeat(2, 1)
    cold, hot = posterior(logits, torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(cold, torch.softmax(logits[0], 0))
    torch.testing.assert_close(hot, torch.softmax(logits[0] / 3, 0))


def test_each_frame_has_its_own_temperature() -> None:
    logits = torch.randn(2, 11, 4, 4, generator=torch.Generator().manual_seed(0))
    both = pixel_probabilities(logits, torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(both[1], torch.softmax(logits[1] / 2, 0))
    torch.testing.assert_close(both.sum(1), torch.ones(2, 4, 4))


@pytest.mark.parametrize(
    "masses, expected",
    [
        ({5: 1.0}, (5, 5)),
        ({4: 0.05, 5: 0.9, 6: 0.05}, (5, 5)),
        ({4: 0.3, 5: 0.4, 6: 0.3}, (4, 6)),
        ({3: 0.1, 4: 0.5, 5: 0.39, 6: 0.01}, (3, 5)),
        ({0: 0.5, 10: 0.5}, (0, 10)),
        ({0: 0.2, 1: 0.75, 2: 0.05}, (0, 1)),
    ],
)
def test_interval_is_the_smallest_that_holds_enough(masses: dict[int, float], expected: tuple[int, int]) -> None:
    probabilities = torch.zeros(1, 11)
    for count, mass in masses.items():
        probabilities[0, count] = mass
    low, high = interval(probabilities)
    assert (int(low), int(high)) == expected


@settings(deadline=None, max_examples=60)
@given(arrays.arrays(np.float64, 11, elements=st.floats(0, 1)).filter(lambda p: p.sum() > 0.1))
def test_interval_against_every_other_set(raw: np.ndarray) -> None:
    probabilities = (raw / raw.sum()).astype(np.float32)
    low, high = (int(bound) for bound in interval(torch.from_numpy(probabilities)[None]))
    mass = probabilities[low : high + 1].sum(dtype=np.float64)
    assert mass >= 0.9 - 1e-6
    for first in range(11):
        for last in range(first, 11):
            other = probabilities[first : last + 1].sum(dtype=np.float64)
            if last - first < high - low:
                assert other < 0.9 + 1e-6
            elif last - first == high - low:
                assert other <= mass + 1e-6
