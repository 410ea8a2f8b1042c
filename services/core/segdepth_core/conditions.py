"""What a frame tells of its instrument, and whether that is what the model assumes."""

import torch
from torch import Tensor

from segdepth_artefacts.manifest import Known, Range
from segdepth_core.domain import judge
from segdepth_core.prediction import Check
from segdepth_core.second_stage import SCALES, SecondStage, known_numbers
from segdepth_protos.conditions import Conditions, Measured

DOUBT = 3.0
"""Errors by which a measured condition must lie outside what the model assumes."""

CHECKS = {"contrast": ("instrument contrast", ""), "vibration_A": ("vibration", "Å"), "defocus_A": ("defocus", "Å")}
"""Name and unit of the check of each condition."""

LEAST = {"contrast": 0.0, "vibration_A": 0.0, "defocus_A": -float("inf")}
"""What a condition is at least."""


def measured(network: SecondStage, gathered_1C: Tensor, error_factors: dict[str, float]) -> Conditions | None:
    """Conditions of one frame by what its columns have in common; None of a model whose errors nobody measured."""
    if error_factors.keys() != SCALES.keys():
        return None
    untold_1C = torch.tensor([known_numbers(Known())], device=gathered_1C.device)
    value_1C, log_error_1C = network.judge(network.context(gathered_1C, untold_1C))
    values, errors = value_1C[0].tolist(), log_error_1C[0].exp().tolist()
    return Conditions(
        **{
            name: Measured(max(LEAST[name], middle + width * value), width * error * error_factors[name])
            for (name, (middle, width)), value, error in zip(SCALES.items(), values, errors, strict=True)
        }
    )


def checks(conditions: Conditions | None, known: Known) -> list[Check]:
    """A check of each condition that the model assumes to be in a range: outside of it the frame is suspect."""
    if conditions is None:
        return []
    asked = []
    for name, (check, unit) in CHECKS.items():
        bounds, found = getattr(known, name), getattr(conditions, name)
        if bounds is not None:
            low, high = bounds
            permitted = Range(ok_lower=low - DOUBT * found.error, ok_upper=high + DOUBT * found.error, unit=unit)
            said = (
                f"{found.value:.2f} ± {found.error:.2f} {unit}".rstrip()
                + f" where the model assumes {low:g} to {high:g}: ask the model of another instrument, or of none"
            )
            asked.append(judge(check, round(found.value, 4), permitted, said))
    return asked
