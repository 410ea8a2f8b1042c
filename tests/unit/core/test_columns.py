"""Columns from maps: where they are, to a hundredth of an Ångström, and what is read of them."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from segdepth_artefacts.manifest import Calibration, TemperatureTable
from segdepth_core.columns import column_logits, find_columns, read, tables, to_canonical, to_frame
from segdepth_core.network import Heads
from segdepth_core.prediction import Columns
from segdepth_core.prepare import canonical_shape, resample

CANONICAL_A = 0.2
SIGMA_A = 0.35
ONE = TemperatureTable(dose=(100.0,), temperature=(1.0,))
CALIBRATION = Calibration(pixel=ONE, column=ONE, species=ONE, abstain_below=0.5)


def centre_logits(xy: Tensor, shape: tuple[int, int], sigma_px: float) -> Tensor:
    """The training target of columns at `xy` [n, 2], as logits."""
    y, x = torch.meshgrid(torch.arange(shape[0]), torch.arange(shape[1]), indexing="ij")
    square = (x - xy[:, 0, None, None]) ** 2 + (y - xy[:, 1, None, None]) ** 2
    return torch.logit(torch.exp(-square / (2 * sigma_px**2)).amax(0), eps=1e-6)[None]


def heads(xy: Tensor, shape: tuple[int, int], counts: list[int], species: list[int], sharp: float = 8.0) -> Heads:
    """What a sure network says of columns: disks of 0.6 Å with their count and species."""
    y, x = torch.meshgrid(torch.arange(shape[0]), torch.arange(shape[1]), indexing="ij")
    square = (x - xy[:, 0, None, None]) ** 2 + (y - xy[:, 1, None, None]) ** 2
    nearest, index = square.min(0)
    label = torch.where(nearest < (0.6 / CANONICAL_A) ** 2, torch.tensor(counts)[index], 0)
    depth = sharp * torch.nn.functional.one_hot(label, 11).permute(2, 0, 1).float()
    kind = sharp * torch.nn.functional.one_hot(torch.tensor(species)[index], 2).permute(2, 0, 1).float()
    return Heads(
        depth[None], kind[None], centre_logits(xy, shape, SIGMA_A / CANONICAL_A), torch.zeros(1), torch.zeros(1, 4)
    )


def read_columns(
    maps: Heads, dose_B: Tensor, calibration: Calibration, canonical_A: float, shape: tuple[int, int]
) -> list[Columns]:
    """Columns of each frame, of a model of one stage."""
    reading = read(maps, dose_B, calibration, canonical_A)
    frames, height, width = maps.centre_BHW.shape
    return tables(reading, frames, (height, width), shape, calibration.abstain_below)


def farthest(found: Tensor, truth: Tensor) -> float:
    """Largest distance of a true position to the nearest one found."""
    return float(torch.cdist(truth.double(), found.double()).min(1).values.max())


def test_a_dumbbell_of_ceria_is_two_columns_at_their_places() -> None:
    """Ce and O, 1.353 Å apart, in any direction and at any fraction of a pixel."""
    rng = np.random.default_rng(5)
    for _ in range(40):
        angle, start = rng.uniform(0, math.pi), rng.uniform(25, 35, 2)
        other = start + 1.353 / CANONICAL_A * np.array([math.cos(angle), math.sin(angle)])
        truth = torch.from_numpy(np.stack([start, other])).float()
        found = find_columns(centre_logits(truth, (64, 64), SIGMA_A / CANONICAL_A), CANONICAL_A)
        assert len(found.xy_N2) == 2
        assert farthest(found.xy_N2, truth) * CANONICAL_A < 0.02


@pytest.mark.parametrize("sampling_A", [0.06, 0.1, 0.16, 0.25])
@pytest.mark.parametrize("frame", [(427, 400), (400, 411)])
def test_no_column_moves_on_its_way_through_the_canonical_grid(sampling_A: float, frame: tuple[int, int]) -> None:
    """Blobs drawn on the camera's pixels, resampled, found, and mapped back: at most 0.02 Å off."""
    rng = np.random.default_rng(7)
    margin, apart = 2.5 / sampling_A, 4.0 / sampling_A
    nodes = np.stack(
        np.meshgrid(np.arange(margin, frame[1] - margin, apart), np.arange(margin, frame[0] - margin, apart)), -1
    ).reshape(-1, 2)
    truth = torch.from_numpy(nodes + rng.uniform(-0.5, 0.5, nodes.shape) / sampling_A).float()[:60]
    y, x = torch.meshgrid(torch.arange(frame[0]), torch.arange(frame[1]), indexing="ij")
    sigma_px = 0.45 / sampling_A
    blobs = torch.exp(-((x - truth[:, 0, None, None]) ** 2 + (y - truth[:, 1, None, None]) ** 2) / (2 * sigma_px**2))
    canonical = canonical_shape(*frame, sampling_A, CANONICAL_A)
    seen = resample(blobs.amax(0)[None], canonical).clamp(1e-6, 1 - 1e-6)
    found = find_columns(torch.logit(seen), CANONICAL_A)
    positions = to_frame(found.xy_N2, canonical, frame)
    assert len(positions) == len(truth)
    assert farthest(positions, truth) * sampling_A <= 0.02


def test_each_axis_is_mapped_by_its_own_rounding() -> None:
    frame, canonical = (205, 333), canonical_shape(205, 333, 0.1, CANONICAL_A)
    assert canonical == (102, 166)
    corners = torch.tensor([[-0.5, -0.5], [332.5, 204.5]])
    there = to_canonical(corners, canonical, frame)
    torch.testing.assert_close(there, torch.tensor([[-0.5, -0.5], [165.5, 101.5]]))
    torch.testing.assert_close(to_frame(there, canonical, frame), corners)


def test_columns_at_the_edge_are_found_and_those_beyond_are_not() -> None:
    inside = torch.tensor([[0.2, 20.0], [62.8, 40.3], [30.0, -0.3]])
    beyond = torch.tensor([[-2.5, 50.0], [30.0, 66.0]])
    logits = centre_logits(torch.cat([inside, beyond]), (64, 64), SIGMA_A / CANONICAL_A)
    found = find_columns(logits, CANONICAL_A)
    assert len(found.xy_N2) == len(inside)
    assert farthest(found.xy_N2, inside) * CANONICAL_A < 0.02


def test_of_two_equal_pixels_one_is_the_peak() -> None:
    truth = torch.tensor([[20.5, 30.0], [40.5, 12.5]])
    found = find_columns(centre_logits(truth, (64, 64), SIGMA_A / CANONICAL_A), CANONICAL_A)
    assert len(found.xy_N2) == 2
    assert farthest(found.xy_N2, truth) < 0.02


def test_a_flat_map_has_no_columns() -> None:
    assert len(find_columns(torch.full((2, 64, 64), -8.0), CANONICAL_A).xy_N2) == 0


def test_columns_are_sorted_by_y_then_x_in_every_frame() -> None:
    rng = np.random.default_rng(1)
    truth = torch.from_numpy(rng.permuted(np.mgrid[8:56:12, 8:56:12].reshape(2, -1).T, axis=0)).float()
    both = torch.cat([centre_logits(truth, (64, 64), 1.75), centre_logits(truth.flip(0) + 2, (64, 64), 1.75)])
    found = find_columns(both, CANONICAL_A)
    order = np.lexsort((found.xy_N2[:, 0], found.xy_N2[:, 1], found.frame_N))
    assert (order == np.arange(len(order))).all()
    assert found.frame_N.unique().tolist() == [0, 1]


def test_counts_species_and_posteriors_are_those_of_the_disks() -> None:
    truth = torch.tensor([[12.3, 10.1], [30.6, 12.9], [20.0, 40.4]])
    maps = heads(truth, (64, 64), counts=[3, 10, 7], species=[0, 1, 0])
    (columns,) = read_columns(maps, torch.tensor([500.0]), CALIBRATION, CANONICAL_A, (128, 128))
    assert columns.count.tolist() == [3, 10, 7]
    assert columns.species.tolist() == [1, 2, 1]
    assert columns.lo90.tolist() == columns.hi90.tolist() == [3, 10, 7]
    assert not columns.abstained.any()
    np.testing.assert_allclose(columns.probabilities.sum(1), 1, atol=1e-5)
    expected = to_frame(truth, (64, 64), (128, 128)).numpy()
    np.testing.assert_allclose(np.stack([columns.x_px, columns.y_px], 1), expected, atol=0.05)


def test_a_column_most_likely_empty_is_no_column() -> None:
    maps = heads(torch.tensor([[12.0, 10.0], [40.0, 40.0]]), (64, 64), counts=[0, 4], species=[0, 0])
    (columns,) = read_columns(maps, torch.tensor([500.0]), CALIBRATION, CANONICAL_A, (64, 64))
    assert columns.count.tolist() == [4]


def test_a_flat_posterior_is_abstained_but_counted() -> None:
    maps = heads(torch.tensor([[20.0, 20.0]]), (64, 64), counts=[6], species=[0], sharp=0.5)
    (columns,) = read_columns(maps, torch.tensor([500.0]), CALIBRATION, CANONICAL_A, (64, 64))
    assert columns.abstained.tolist() == [True]
    assert columns.count.tolist() == [6]
    assert columns.hi90[0] - columns.lo90[0] > 5


def test_the_dose_decides_the_temperature() -> None:
    table = TemperatureTable(dose=(100.0, 1000.0), temperature=(4.0, 1.0))
    calibration = CALIBRATION.model_copy(update={"column": table})
    one = heads(torch.tensor([[20.0, 20.0]]), (64, 64), counts=[6], species=[0])
    two = Heads(*(torch.cat([logits, logits]) for logits in one))
    low, high = read_columns(two, torch.tensor([100.0, 1000.0]), calibration, CANONICAL_A, (64, 64))
    assert low.probabilities[0, 6] < high.probabilities[0, 6]


def test_logits_are_the_mean_over_a_disk_read_between_pixels() -> None:
    """A map that is linear in x and y has its own value at the disk's middle as its mean."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
    depth = torch.stack([0.3 * x - 0.2 * y + k for k in range(11)])[None].repeat(2, 1, 1, 1)
    maps = Heads(depth, depth[:, :2], depth[:, 0], torch.zeros(2), torch.zeros(2, 4))
    xy = torch.tensor([[10.3, 12.7], [30.9, 20.2]])
    logits, species = column_logits(maps, torch.tensor([1, 0]), xy, CANONICAL_A)
    expected = (0.3 * xy[:, 0] - 0.2 * xy[:, 1])[:, None] + torch.arange(11.0)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(species, expected[:, :2], rtol=1e-4, atol=1e-4)


def test_logits_outside_the_frame_are_those_of_its_edge() -> None:
    depth = torch.arange(16.0).reshape(1, 1, 1, 16).expand(1, 11, 16, 16)
    maps = Heads(depth, depth[:, :2], depth[:, 0], torch.zeros(1), torch.zeros(1, 4))
    logits, _ = column_logits(maps, torch.tensor([0]), torch.tensor([[40.0, 5.0]]), CANONICAL_A)
    torch.testing.assert_close(logits, torch.full((1, 11), 15.0))
