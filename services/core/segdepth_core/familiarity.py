"""Whether a frame looks like those the model was made for: another crystal, zone axis, tilt or defocus does not.

The network's own features tell: a small classifier looks at their means over the frame. What it needs lies beside the
weights, fitted at calibration to frames of the domain and to simulated strangers.

Suffixes: B frames, C features.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

FAMILIARITY = "familiarity.safetensors"
CHECK = "foreign"
"""Name of the check in the manifest's domain."""

DOSES = (10.0, 1e5)
"""Beyond these [e/Å²] a frame counts as one at the bound: with fewer electrons nothing shows, with more no noise."""

FARTHEST = 6.0
"""Standard deviations beyond which a feature says no more."""


class Familiarity(nn.Module):
    """Means of features, dose and field of a frame -> logit that the frame is foreign.

    Features change with the noise: each is first compared with its mean and spread at the frame's own dose, polynomials
    in its logarithm.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, features: int, hidden: int, mean_terms: int = 4, spread_terms: int = 2):
        super().__init__()
        self.register_buffer("mean", torch.zeros(mean_terms, features))
        self.register_buffer("spread", torch.zeros(spread_terms, features))
        self.hidden = nn.Linear(features + 2, hidden)
        self.out = nn.Linear(hidden, 1)

    def inputs(self, means_BC: Tensor, dose_B: Tensor, field_A: Tensor) -> Tensor:
        """Standardised features, log dose and log field [B, C + 2] of frames with a dose [e/Å²] and shorter side [Å].

        In float64: sums then round to the same float32 whatever the batch's size.
        """
        means_BC, dose_B, field_A = means_BC.double(), dose_B.double(), field_A.double()
        log_B = log_dose(dose_B)
        expected_BC = powers(log_B, len(self.mean)) @ self.mean.double()
        spread_BC = (powers(log_B, len(self.spread)) @ self.spread.double()).exp()
        standard_BC = ((means_BC - expected_BC) / spread_BC).clamp(-FARTHEST, FARTHEST)
        return torch.cat([standard_BC, log_B[:, None], (field_A[:, None] / 40).log()], dim=1)

    def forward(self, means_BC: Tensor, dose_B: Tensor, field_A: Tensor) -> Tensor:
        """Logits [B]."""
        x_BC = self.inputs(means_BC, dose_B, field_A)
        hidden = F.relu(F.linear(x_BC, self.hidden.weight.double(), self.hidden.bias.double()))
        return F.linear(hidden, self.out.weight.double(), self.out.bias.double())[:, 0].float()


def log_dose(dose_B: Tensor) -> Tensor:
    """Decades above 1000 e/Å² [B]."""
    return dose_B.clamp(*DOSES).log10() - 3


def powers(x_B: Tensor, terms: int) -> Tensor:
    """1, x, x², ... [B, terms]."""
    return torch.stack([x_B**power for power in range(terms)], dim=1)


def save_familiarity(familiarity: Familiarity, folder: Path) -> None:
    """Write it beside the weights, its large matrix in fp16."""
    state = familiarity.state_dict()
    state["hidden.weight"] = state["hidden.weight"].half()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / FAMILIARITY)


def load_familiarity(folder: Path, features: int) -> Familiarity:
    """Read what `save_familiarity` wrote. Raises ValueError where it cannot be read, or looks at other features."""
    try:
        state = load_file(folder / FAMILIARITY)
        sizes = state["mean"].shape[1], len(state["hidden.bias"]), len(state["mean"]), len(state["spread"])
        familiarity = Familiarity(*sizes)
        familiarity.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except (SafetensorError, KeyError, RuntimeError, OSError) as error:
        raise ValueError(f"{folder / FAMILIARITY} cannot be read: {error}") from error
    if sizes[0] != features:
        raise ValueError(f"{folder / FAMILIARITY} is of another network: {sizes[0]} features instead of {features}")
    return familiarity.eval()
