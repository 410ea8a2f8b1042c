"""A model's second stage at work: the columns of a batch read again, frame by frame.

A frame is read alone, whatever frames it came with, so that its answer never depends on them.
"""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from segdepth_artefacts.manifest import Manifest
from segdepth_artefacts.manifest import SecondStage as Description
from segdepth_core.calibration import posterior, temperature
from segdepth_core.columns import Reading
from segdepth_core.conditions import measured
from segdepth_core.maps import Change
from segdepth_core.second_stage import LEAST, SecondStage, Table, gather, known_numbers, table
from segdepth_protos.conditions import Conditions

SECOND_STAGE = "second-stage.safetensors"


class SecondReading:
    """Makes of what the first stage said of columns what the model says of them."""

    def __init__(self, network: SecondStage, description: Description, canonical_A: float):
        self.network, self.description, self.canonical_A = network, description, canonical_A
        self._known_BC = torch.tensor([known_numbers(description.known)], device=network.mean.device)

    def __call__(self, reading: Reading, x_Bhw: Tensor, dose_B: Tensor) -> tuple[Reading, list[Conditions | None]]:
        """The reading of network input [B, h, w], with the posteriors of both stages together; and of each frame how
        it was taken, None where it has no lattice.
        """
        frame_N = reading.found.frame_N
        # Off the lattice a column keeps the first stage's answer, with a temperature of its own.
        posterior_NK = posterior(reading.depth_NK, temperature(self.description.off_lattice, dose_B)[frame_N])
        temperature_B = temperature(self.description.on_lattice, dose_B)
        conditions: list[Conditions | None] = []
        for number, x_hw in enumerate(x_Bhw):
            of_frame = torch.nonzero(frame_N == number)[:, 0]
            found = self._on_lattice(reading, x_hw, dose_B[number], of_frame)
            if found is None:
                conditions.append(None)
                continue
            which, seen = found
            gathered_1C = self.network.gathered(seen)
            logits_NK = self.network.read(seen, self.network.context(gathered_1C, self._known_BC))
            posterior_NK[which] = posterior(logits_NK, temperature_B[number].expand(len(which)))
            conditions.append(measured(self.network, gathered_1C, self.description.error_factors))
        return replace(reading, posterior_NK=posterior_NK), conditions

    def change(self, first: Reading, second: Reading, frame: int) -> Change:
        """What the second reading made of the first one's posteriors in one frame of the batch."""
        of_frame = first.found.frame_N == frame
        before_NK, after_NK = first.posterior_NK[of_frame], second.posterior_NK[of_frame]
        return Change(first.found.xy_N2[of_frame], after_NK / (before_NK + LEAST), self.canonical_A)

    def _on_lattice(
        self, reading: Reading, x_hw: Tensor, dose: Tensor, of_frame: Tensor
    ) -> tuple[Tensor, Table] | None:
        """Indices of a frame's columns that are on its lattice, and what is seen of them; None without a lattice."""
        if not len(of_frame):
            return None
        seen = gather(
            x_hw,
            reading.found.xy_N2[of_frame],
            reading.posterior_NK[of_frame],
            reading.species_N[of_frame],
            float(dose),
            self.description.cell,
            self.canonical_A,
        )
        if seen is None:
            return None
        evidence, kept_N = seen
        return of_frame[kept_N], table([evidence])


def save_second_stage(network: SecondStage, folder: Path) -> Path:
    """Write it beside the weights, its matrices in fp16."""
    state = {
        name: (tensor.half() if tensor.ndim > 1 else tensor).detach().contiguous()
        for name, tensor in network.state_dict().items()
    }
    save_file(state, folder / SECOND_STAGE)
    return folder / SECOND_STAGE


def load_second_stage(folder: Path, manifest: Manifest, device: torch.device) -> SecondReading | None:
    """The second stage of the model in `folder`; None of a model of one stage.

    Raises ValueError where its weights cannot be read or do not fit the manifest.
    """
    description = manifest.second_stage
    if description is None:
        return None
    network = SecondStage(len(manifest.species), len(description.cell.sites), **description.arguments)
    try:
        state = load_file(folder / SECOND_STAGE)
        network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ValueError(f"{SECOND_STAGE} of {manifest.family} {manifest.version} does not fit: {error}") from error
    return SecondReading(network.eval().to(device), description, manifest.canonical_sampling_A)
