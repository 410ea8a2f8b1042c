"""Exit waves by abTEM (GPL-3.0), an independent program: what ours are measured against, where it is installed."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segdepth_training.frames.multislice import cropped, propagator
from segdepth_training.frames.potential import Grid
from segdepth_training.recipes.recipe import Microscope, Multislice
from segdepth_training.specimens.specimen import Specimen


def abtem() -> Any:
    """The package; the test that asks is skipped without it."""
    package = pytest.importorskip("abtem", reason="abTEM is not installed")
    package.config.set({"local_diagnostics.progress_bar": False, "diagnostics.progress_bar": False})
    package.config.set({"fftw.planning_effort": "FFTW_ESTIMATE"})
    return package


def abtem_wave(specimen: Specimen, settings: Multislice, microscope: Microscope) -> NDArray[np.complex64]:
    """As `exit_wave`, with abTEM's own scattering factors, potentials and slices."""
    side_A, depth_A = float(specimen.atoms.cell[0, 0]), float(specimen.atoms.cell[2, 2])
    tem = abtem()
    potential = tem.Potential(
        specimen.atoms,
        gpts=round(side_A / settings.sampling_A),
        slice_thickness=settings.slice_A,
        projection="infinite",
        parametrization="kirkland",
    )
    wave = tem.PlaneWave(energy=microscope.energy_keV * 1e3).multislice(potential, lazy=False).array
    stored = Grid(round(side_A / settings.stored_sampling_A), side_A)
    # abTEM's arrays run along x first, ours along y.
    return propagated(np.ascontiguousarray(wave.T), stored, specimen.lowest_A - depth_A, microscope)


def propagated(
    wave: NDArray[np.complex64], grid: Grid, distance_A: float, microscope: Microscope
) -> NDArray[np.complex64]:
    """A wave [n, n] `distance_A` further along the beam, on a grid as fine or coarser."""
    spectrum = cropped(torch.fft.fft2(torch.from_numpy(wave))[None], grid)
    distances_A = torch.tensor([distance_A], dtype=torch.float64)
    return torch.fft.ifft2(spectrum * propagator(grid, distances_A, microscope))[0].numpy()
