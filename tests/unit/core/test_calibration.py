"""Temperatures by dose, posteriors, and what is too flat to be used."""

import torch

from segdepth_artefacts.manifest import TemperatureTable
from segdepth_core.calibration import abstained, pixel_probabilities, posterior, temperature

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


def test_a_flat_posterior_abstains() -> None:
    posteriors = torch.tensor([[0.49, 0.51, 0.0], [0.4, 0.3, 0.3], [0.5, 0.5, 0.0]])
    assert abstained(posteriors, 0.5).tolist() == [False, True, False]
