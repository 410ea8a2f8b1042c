"""Imaging conditions of one value each, for as many frames as a test wants."""

import torch

from segdepth_training.frames.imaging import Exposure, Optics


def optics(frames: int = 1, **values: float) -> Optics:
    """Perfect optics but for what is named."""
    names = ("c10_A", "c30_A", "c50_A", "focal_spread_A", "c12_A", "c12_rad", "c21_A", "c21_rad")
    assert set(values) <= set(names)
    return Optics(**{name: torch.full((frames,), values.get(name, 0.0)) for name in names})


def exposure(frames: int = 1, *, correlated: bool = False, **values: float) -> Exposure:
    """A perfect camera without noise but for what is named."""
    perfect = {"dose": float("inf"), "contrast": 1.0, "vibration_A": 0.0, "drift_A": 0.0, "drift_rad": 0.0}
    perfect |= {"mtf_px": 0.0, "read_noise": 0.0}
    assert set(values) <= set(perfect)
    tensors = {name: torch.full((frames,), values.get(name, value)) for name, value in perfect.items()}
    return Exposure(**tensors, correlated=torch.full((frames,), correlated))


def numbers(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
