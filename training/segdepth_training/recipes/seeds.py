"""Where random numbers come from: four ranges that never meet, and one generator for each specimen of a range."""

import hashlib
from enum import IntEnum

import numpy as np


class SeedRange(IntEnum):
    """What specimens are for. Fixed in code: a specimen of one range can never appear in another."""

    TRAIN = 1
    VALIDATION = 2
    """Search and early stopping."""
    CALIBRATION = 3
    BENCHMARK = 4
    """Once per release."""


def run_seed(run_id: str) -> int:
    """The seed of a run: another id means other data, the same id the same data. A number is its own seed."""
    if run_id.isdecimal():
        return int(run_id)
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:4], "big")


def generator(purpose: SeedRange, seed: int, *index: int) -> np.random.Generator:
    """The generator of one item (a specimen, a frame) of a range, independent of every other item's."""
    return np.random.default_rng(np.random.SeedSequence([int(purpose), seed, *index]))
