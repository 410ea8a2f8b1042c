"""Exit waves by the multislice method.

E. J. Kirkland, Advanced Computing in Electron Microscopy, 3rd ed. (2020), chapter 6.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segdepth_training.frames.potential import Atoms, Grid, slice_A, slices
from segdepth_training.recipes.recipe import Microscope, Multislice
from segdepth_training.specimens.specimen import Specimen

BAND = 2 / 3
"""Of the largest spatial frequency: products of two factors below it have no aliases below it."""
EDGE = 0.02
"""Width of the band's soft edge, in the same unit."""


def exit_wave(specimen: Specimen, settings: Multislice, microscope: Microscope) -> NDArray[np.complex64]:
    """Exit wave of a plane wave of unit intensity, in the plane of the specimen's lowest atom.

    Returns [n, n] at settings.stored_sampling_A, sample (i, j) at y = i, x = j samplings. The same in every process of
    a machine, to the last bit: a frame whose expected image differs in its last digit has other noise altogether.
    """
    with torch.no_grad():
        wave: NDArray[np.complex64] = exit_waves(Atoms.of([specimen]), settings, microscope)[0].numpy()
    return wave


def exit_waves(atoms: Atoms, settings: Multislice, microscope: Microscope) -> Tensor:
    """Exit waves [B, n, n] of B specimens, on the atoms' device; differentiable in positions and occupancies."""
    device = atoms.positions_A.device
    grid = Grid(round(atoms.side_A / settings.sampling_A), atoms.side_A, device)
    thickness_A, band = slice_A(atoms, settings), aperture(grid)
    steps: dict[int, Tensor] = {}
    wave = torch.ones(len(thickness_A), grid.points, grid.points, dtype=torch.complex64, device=device)
    behind = None
    for phase, behind_it in slices(atoms, settings, microscope, grid):
        transmission = filtered(torch.complex(phase.cos(), phase.sin()), band.to(wave.dtype))
        if behind is None:
            wave = transmission  # In front of it the wave is plane.
        else:
            gap = behind - behind_it
            if gap not in steps:
                steps[gap] = band**gap * propagator(grid, gap * thickness_A, microscope)
            wave = filtered(wave, steps[gap]) * transmission
        behind = behind_it
    # From the last slice with atoms straight to the plane of the lowest one.
    rest = 0 if behind is None else behind + 1
    distance_A = rest * thickness_A + atoms.lowest_A - atoms.depth_A
    stored = grid._replace(points=round(atoms.side_A / settings.stored_sampling_A))
    spectrum = cropped(torch.fft.fft2(wave) * band**rest, stored)
    return inverse(spectrum * propagator(stored, distance_A, microscope))


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def aperture(grid: Grid) -> Tensor:
    """The band: a factor for each spatial frequency [n, n]."""
    frequency = torch.hypot(grid.frequency[:, None], grid.frequency[None, :]) * 2 * grid.sampling_A
    beyond = (frequency - BAND) / EDGE
    return (0.5 - 0.5 * torch.cos(np.pi * beyond.clamp(-1, 0))).float()


def filtered(wave: Tensor, factors: Tensor) -> Tensor:
    """A wave whose transform is multiplied by factors [n, n]."""
    return inverse(torch.fft.fft2(wave) * factors)


def inverse(spectrum: Tensor) -> Tensor:
    """The wave of a transform."""
    wave: Tensor = torch.fft.ifft2(spectrum)
    return wave


def propagator(grid: Grid, distance_A: Tensor, microscope: Microscope) -> Tensor:
    """Factors [B, n, n] of the way through free space, by distance [B] (Fresnel)."""
    phase = -np.pi * microscope.wavelength_A * distance_A.to(grid.device)[:, None] * grid.frequency**2
    axis = torch.complex(phase.cos(), phase.sin()).to(torch.complex64)
    return axis[:, :, None] * axis[:, None, :]


def cropped(spectrum: Tensor, grid: Grid) -> Tensor:
    """The spatial frequencies that a coarser grid has, of transforms [B, n, n]: those of the same wave on that grid."""
    kept = torch.fft.fftfreq(grid.points, 1 / grid.points, device=grid.device).round().long()
    return spectrum[:, kept[:, None], kept[None, :]] * (grid.points / spectrum.shape[-1]) ** 2
