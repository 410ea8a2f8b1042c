"""Exit waves by the multislice method. The only room that imports abTEM (GPL-3.0, extra `simulate`)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth_training.recipes.recipe import Microscope, Multislice
from segdepth_training.specimens.specimen import Specimen


def abtem() -> Any:
    """The abTEM package, or an error that says how to get it."""
    try:
        import abtem
    except ImportError as error:
        raise ImportError("exit waves need abTEM (GPL-3.0): pip install 'segdepth-training[simulate]'") from error
    abtem.config.set({"local_diagnostics.progress_bar": False, "diagnostics.progress_bar": False})
    # FFTW_MEASURE, which abTEM sets, picks transforms by the clock: in every process others, which round otherwise, and
    # a frame whose expected image differs in the last digit has other noise altogether.
    abtem.config.set({"fftw.planning_effort": "FFTW_ESTIMATE"})
    return abtem


def exit_wave(specimen: Specimen, settings: Multislice, microscope: Microscope) -> NDArray[np.complex64]:
    """Exit wave of a plane wave of unit intensity, in the plane of the specimen's lowest atom.

    Returns [n, n] at settings.stored_sampling_A, sample (i, j) at y = i, x = j samplings. Columns of abTEM arrays run
    along x first; ours run along y first, as images do.
    """
    tem = abtem()
    side_A = float(specimen.atoms.cell[0, 0])
    points = round(side_A / settings.sampling_A)
    potential = tem.Potential(
        specimen.atoms,
        gpts=points,
        slice_thickness=settings.slice_A,
        projection="infinite",
        parametrization="kirkland",
    )
    wave = tem.PlaneWave(energy=microscope.energy_keV * 1e3).multislice(potential, lazy=False).array
    cell_end_A = float(specimen.atoms.cell[2, 2])
    stored = round(side_A / settings.stored_sampling_A)
    return propagated(wave.T, side_A, specimen.lowest_A - cell_end_A, microscope.wavelength_A, stored)


def propagated(
    wave: NDArray[np.complex64], side_A: float, distance_A: float, wavelength_A: float, points: int
) -> NDArray[np.complex64]:
    """The wave `distance_A` further along the beam (Fresnel), Fourier-cropped to points x points."""
    frequency = np.fft.fftfreq(points, side_A / points)
    phase = -np.pi * wavelength_A * distance_A * (frequency[:, None] ** 2 + frequency[None, :] ** 2)
    spectrum = np.fft.fft2(wave)
    index = np.fft.fftfreq(points, 1 / points).astype(int)
    cropped = spectrum[np.ix_(index, index)] * (points / wave.shape[0]) ** 2
    return np.fft.ifft2(cropped * np.exp(1j * phase)).astype(np.complex64)


def layer_potentials(atoms: Any, points: tuple[int, int], thicknesses_A: tuple[float, ...]) -> NDArray[np.float64]:
    """Projected potentials of a cell's layers along the beam [V Å], as [layers, H, W]; W along x, H along y.

    atoms: an ase.Atoms whose cell the layers fill. points: of y and x.
    """
    potential = abtem().Potential(
        atoms,
        gpts=points[::-1],
        slice_thickness=thicknesses_A,
        projection="infinite",
        parametrization="kirkland",
    )
    layers: NDArray[np.float64] = np.asarray(potential.build(lazy=False).array, np.float64)
    return layers.transpose(0, 2, 1)
