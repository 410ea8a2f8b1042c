"""The second stage: what it is shown, and that a frame's answer is its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from segdepth_artefacts.manifest import Known, SecondStage, TemperatureTable
from segdepth_core.columns import Found, Reading
from segdepth_core.maps import Change
from segdepth_core.second_reading import SecondReading
from segdepth_core.second_stage import (
    PATCH_SIDE,
    PATCH_STEP_A,
    SCALES,
    Evidence,
    gather,
    known_numbers,
    patches,
    table,
)
from segdepth_core.second_stage import SecondStage as Network
from segdepth_protos.contract import CLASSES
from tests.unit.core.test_cell import CERIA, crystal

CANONICAL_A = 0.2
SIDE_PX = 160


@pytest.fixture
def network() -> Network:
    """With weights of its own everywhere: as it is made, a second stage changes nothing."""
    torch.manual_seed(3)
    network = Network(2, len(CERIA.sites), width=16, blocks=2, hidden=24, told=6, context=8)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network.eval()


def frame(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Network input [h, w], positions [px], posteriors and species of columns on a lattice."""
    rng = np.random.default_rng(seed)
    xy, species, _, _ = crystal(CERIA, 14.0, rng.uniform(0, 3))
    xy_N2 = torch.from_numpy(xy / CANONICAL_A + SIDE_PX / 2)
    posterior_NK = torch.from_numpy(rng.dirichlet(np.ones(CLASSES), len(xy))).float()
    x_hw = torch.from_numpy(rng.normal(size=(SIDE_PX, SIDE_PX))).float()
    return x_hw, xy_N2.float(), posterior_NK, torch.from_numpy(species)


def evidence(seed: int) -> Evidence:
    x_hw, xy_N2, posterior_NK, species_N = frame(seed)
    seen = gather(x_hw, xy_N2, posterior_NK, species_N, 500.0, CERIA, CANONICAL_A)
    assert seen is not None
    return seen[0]


def test_patches_are_the_frame_around_a_column_along_the_lattice() -> None:
    """Of a frame that is a plane wave along the turned axis, each patch is that wave along its rows."""
    turn, period_px = 0.7, 24.0
    y, x = torch.meshgrid(torch.arange(100.0), torch.arange(120.0), indexing="ij")
    wave = torch.cos(2 * np.pi / period_px * (x * np.cos(turn) + y * np.sin(turn)))
    at = torch.tensor([[60.0, 50.0], [41.3, 47.7]])
    seen = patches(wave, at, turn, CANONICAL_A).view(2, PATCH_SIDE, PATCH_SIDE)
    along = (torch.arange(PATCH_SIDE) - PATCH_SIDE // 2) * PATCH_STEP_A / CANONICAL_A
    for number, (cx, cy) in enumerate(at.tolist()):
        expected = torch.cos(2 * np.pi / period_px * (cx * np.cos(turn) + cy * np.sin(turn) + along))
        np.testing.assert_allclose(seen[number], expected.expand(PATCH_SIDE, -1), atol=0.02)


def test_frames_together_have_the_answers_they_have_alone(network: Network) -> None:
    """Whatever the other frames' size: cells without a column are nothing."""
    parts = [evidence(1), evidence(2)]
    wide = replace(parts[1], cell_N2=parts[1].cell_N2 + torch.tensor([9, 4]))
    untold = torch.tensor([known_numbers(Known())])
    with torch.inference_mode():
        alone = torch.cat([network(table([part]), untold) for part in parts])
        both = network(table([parts[0], wide]), untold.expand(2, -1))
    np.testing.assert_allclose(both, alone, atol=1e-4)


def test_what_is_known_of_the_instrument_counts(network: Network) -> None:
    with torch.inference_mode():
        untold, told = (
            network(table([evidence(1)]), torch.tensor([known_numbers(known)]))
            for known in (Known(), Known(contrast=(0.47, 0.53)))
        )
    assert (untold - told).abs().max() > 1e-3


def reading(frames: list[int]) -> tuple[Reading, Tensor]:
    """What the first stage said of some frames, and their network input."""
    parts = [frame(seed) for seed in frames]
    frame_N = torch.cat([torch.full((len(part[1]),), number) for number, part in enumerate(parts)])
    posterior_NK = torch.cat([part[2] for part in parts])
    found = Found(frame_N, torch.cat([part[1] for part in parts]))
    return Reading(found, posterior_NK.log(), torch.cat([part[3] for part in parts]), posterior_NK), torch.stack(
        [part[0] for part in parts]
    )


def reader(network: Network) -> SecondReading:
    sharp, flat = (TemperatureTable(dose=(100.0,), temperature=(t,)) for t in (0.5, 4.0))
    description = SecondStage(cell=CERIA, on_lattice=sharp, off_lattice=flat, error_factors=dict.fromkeys(SCALES, 1.0))
    return SecondReading(network, description, CANONICAL_A)


def test_an_answer_is_the_same_to_the_last_digit_whatever_frames_come_with_it(network: Network) -> None:
    read = reader(network)
    doses = torch.tensor([500.0, 900.0, 200.0])
    with torch.inference_mode():
        together, conditions = read(*reading([1, 2, 3]), doses)
        alone, (its_own,) = read(*reading([2]), doses[1:2])
    assert torch.equal(together.posterior_NK[together.found.frame_N == 1], alone.posterior_NK)
    assert its_own is not None
    assert its_own == conditions[1] != conditions[0]


def test_a_column_off_the_lattice_keeps_the_first_answer_at_a_temperature_of_its_own(network: Network) -> None:
    first, x_Bhw = reading([1])
    first.found.xy_N2[30] += 0.6 / CANONICAL_A
    with torch.inference_mode():
        second, _ = reader(network)(first, x_Bhw, torch.tensor([500.0]))
    np.testing.assert_allclose(second.posterior_NK[30], torch.softmax(first.depth_NK[30] / 4.0, 0), atol=1e-6)
    assert (second.posterior_NK[29] - torch.softmax(first.depth_NK[29] / 4.0, 0)).abs().max() > 1e-3
    np.testing.assert_allclose(second.posterior_NK.sum(1), 1, atol=1e-5)


def test_pixels_around_a_column_follow_its_count_and_stay_as_much_background_as_they_were() -> None:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.dirichlet(np.ones(CLASSES), (40, 40))).float().permute(2, 0, 1)
    ratio = torch.ones(2, CLASSES)
    ratio[0, 5] = 1e4
    after = Change(torch.tensor([[12.3, 20.1], [30.0, 8.0]]), ratio, CANONICAL_A).of(pixels)
    np.testing.assert_allclose(after.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(after[0], pixels[0], atol=1e-6)
    assert after[1:, 20, 12].argmax() == 4
    far = (torch.arange(40) - 12.3).abs() > 0.7 / CANONICAL_A
    np.testing.assert_allclose(after[:, :, far], pixels[:, :, far], atol=1e-6)
