"""From logits to probabilities that mean what they say: a temperature by measured dose, and what follows from it."""

import torch
from torch import Tensor

from segdepth_artefacts.manifest import TemperatureTable

INTERVAL = 0.90
"""Posterior that the interval of counts holds at least."""


def temperature(table: TemperatureTable, dose_B: Tensor) -> Tensor:
    """Softmax temperature of each frame by its dose [e/Å²]: linear in log dose, constant beyond the table; [B]."""
    nodes_T = torch.tensor(table.dose, dtype=torch.float64, device=dose_B.device).log()
    values_T = torch.tensor(table.temperature, dtype=torch.float64, device=dose_B.device)
    if len(nodes_T) == 1:
        return values_T.float().expand(dose_B.shape)
    at_B = dose_B.double().clamp(min=1e-9).log().clamp(nodes_T[0], nodes_T[-1])
    right_B = torch.searchsorted(nodes_T, at_B).clamp(1, len(nodes_T) - 1)
    share_B = (at_B - nodes_T[right_B - 1]) / (nodes_T[right_B] - nodes_T[right_B - 1])
    return torch.lerp(values_T[right_B - 1], values_T[right_B], share_B).float()


def pixel_probabilities(logits_BKHW: Tensor, temperature_B: Tensor) -> Tensor:
    """Calibrated probability of every class for each pixel [B, K, H, W]."""
    return torch.softmax(logits_BKHW / temperature_B[:, None, None, None], dim=1)


def posterior(logits_NK: Tensor, temperature_N: Tensor) -> Tensor:
    """Calibrated posterior of each column's classes [N, K]."""
    return torch.softmax(logits_NK / temperature_N[:, None], dim=1)


def interval(posterior_NK: Tensor, level: float = INTERVAL) -> tuple[Tensor, Tensor]:
    """Smallest contiguous set of classes with at least `level` of the posterior: first and last class, both [N].

    Among sets of equal size the one that holds most.
    """
    classes = posterior_NK.shape[1]
    first_S, last_S = torch.triu_indices(classes, classes, device=posterior_NK.device)
    below_NK = torch.nn.functional.pad(posterior_NK.double().cumsum(1), (1, 0))
    mass_NS = below_NK[:, last_S + 1] - below_NK[:, first_S]
    size_S = (last_S - first_S + 1).double()
    # A tolerance, because eleven float32 probabilities need not sum to exactly one.
    enough_NS = mass_NS >= min(level, 1 - 1e-6) - 1e-7
    rank_NS = torch.where(enough_NS, size_S - 0.5 * mass_NS, torch.inf)
    best_N = rank_NS.argmin(1)
    return first_S[best_N], last_S[best_N]
