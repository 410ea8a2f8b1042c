"""What temperatures are fitted on: every column that the network finds, also where there is none."""

import numpy as np
import torch

from segdepth_core.network import Heads
from segdepth_training.fitting.calibrate import Sample, take_columns
from segdepth_training.frames.labels import View
from segdepth_training.frames.observation import Observation

SIDE, CANONICAL_A, SIGMA_PX = 64, 0.2, 1.75


def heads_of(columns: list[tuple[float, float]]) -> Heads:
    """A network that is sure of three atoms at each of the positions [px]."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    square = torch.stack([(x - column[0]) ** 2 + (y - column[1]) ** 2 for column in columns])
    centre = torch.logit(torch.exp(-square / (2 * SIGMA_PX**2)).amax(0), eps=1e-6)
    depth = torch.zeros(1, 11, SIDE, SIDE)
    depth[0, 3] = 8.0
    return Heads(depth, torch.zeros(1, 2, SIDE, SIDE), centre[None], torch.zeros(1), torch.zeros(1, 4))


def observation(columns: list[tuple[float, float, int, int]]) -> Observation:
    truth = np.array([(*column, 0) for column in columns], np.float32).reshape(-1, 5)
    frame = np.ones((SIDE, SIDE), np.float32)
    return Observation(frame, CANONICAL_A, 500.0, truth, 0, "paper", View(CANONICAL_A, (0, 0), SIDE, SIDE))


def sample_of(true: list[tuple[float, float, int, int]], found: list[tuple[float, float]]) -> Sample:
    sample = Sample()
    take_columns(observation(true), heads_of(found), CANONICAL_A, sample)
    return sample


def test_a_found_column_that_is_none_counts_as_no_atoms():
    """Left out, the network would be called right too often, and confidence would be stated that is not earned."""
    sample = sample_of([(20, 20, 5, 0), (40, 20, 12, 1)], [(20, 20), (40, 20), (30, 44)])
    (logits, counts), (_, kinds) = sample.column[0], sample.species[0]
    assert sorted(counts.tolist()) == [0, 5, 10]
    assert logits.shape == (3, 11)
    assert sorted(kinds.tolist()) == [0, 1], "of what is no column there is no species to learn"


def test_columns_at_the_border_say_nothing():
    counts = sample_of([(20, 20, 5, 0), (3, 30, 7, 0)], [(20, 20), (3, 30), (60, 60)]).column[0][1]
    assert counts.tolist() == [5]
