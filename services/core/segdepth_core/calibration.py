"""From logits to probabilities that mean what they say: a temperature by measured dose, and what follows from it."""

import torch
from torch import Tensor

from segdepth_artefacts.manifest import TemperatureTable


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


def abstained(posterior_NK: Tensor, abstain_below: float) -> Tensor:
    """Whether each column's posterior [N, K] is too flat for its count to be used [N]."""
    return posterior_NK.amax(1) < abstain_below
