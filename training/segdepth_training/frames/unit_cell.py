"""Images of a crystal of even thickness: one cell of it, as Fourier coefficients. Thousands a second on one core.

What a flat region of a frame shows on average, but for noise: the motif of the lattice. Shape suffixes beside the usual
ones: R reflections, G thicknesses in layers, U thermal displacements.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segdepth_training.frames.imaging import Exposure, Optics, aberration_phase
from segdepth_training.frames.potential import PROJECTED_V_A2, interaction
from segdepth_training.frames.scattering import scattering_factor
from segdepth_training.recipes.recipe import Microscope, Multislice, Recipe
from segdepth_training.specimens.projection import Projection, project

REACH_PER_A = 1.45
"""Reflections up to this spatial frequency [1/Å] are kept: beyond, hardly any microscope passes one."""

SAMPLING_A = 0.1
"""Of the multislice calculation [Å/px], at most."""

DISPLACEMENTS = 4
"""Thermal displacements that are calculated, evenly over the recipe's."""

NODES, SPAN = 11, 2.75
"""Defoci of the focal average, evenly over so many standard deviations to either side."""


def reflections_of(projection: Projection) -> NDArray[np.int64]:
    """Indices (h, k) [R, 2] of the cell's reflections within REACH_PER_A, one of each Friedel pair, without (0, 0).

    Only those that the lattice's centring permits: where all sites of one element lie in phase or not at all.
    """
    limit = [math.ceil(side * REACH_PER_A) for side in projection.cell_A]
    h, k = np.meshgrid(np.arange(0, limit[0] + 1), np.arange(-limit[1], limit[1] + 1), indexing="ij")
    hk = np.stack([h.ravel(), k.ravel()], 1)
    hk = hk[(hk[:, 0] > 0) | (hk[:, 1] > 0)]
    hk = hk[np.hypot(*(hk / projection.cell_A).T) <= REACH_PER_A]
    sites = projection.sites[projection.sites[:, 3] == 0]
    phases = np.exp(2j * np.pi * ((hk / projection.cell_A) @ (sites[:, :2] - sites[0, :2]).T))
    return np.asarray(hk[np.abs(phases.mean(1)) > 0.5])


@dataclass(frozen=True)
class UnitCell:
    """Exit waves of a cell by displacement, first layer and thickness, and the reflections of its images.

    waves: [U, layers a period, G, H, W], in the plane of the last atom; hk: [R, 2]; per_A: [R, 2] spatial frequencies
    along the cell's x and y [1/Å]; thickness g is g + 1 layers.
    """

    waves: Tensor
    hk: NDArray[np.int64]
    per_A: Tensor
    cell_A: tuple[float, float]
    microscope: Microscope

    @classmethod
    def of(cls, recipe: Recipe) -> "UnitCell":
        """Of a recipe's crystal, up to the thickest of its specimens."""
        projection, microscope = project(recipe.crystal), recipe.microscope
        layers, steps_A = _layers(projection)
        waves = _waves(layers, steps_A, projection, recipe)
        hk = reflections_of(projection)
        per_A = torch.from_numpy(hk / np.array(projection.cell_A)).float()
        return cls(waves, hk, per_A, projection.cell_A, microscope)

    @property
    def periods(self) -> int:
        """Layers of one period along the beam."""
        return self.waves.shape[1]

    def coefficients(self, waves_BHW: Tensor, optics: Optics, exposure: Exposure, blur_A: Tensor) -> Tensor:
        """Complex Fourier coefficients [B, R] of images over their mean, pixels not yet integrated.

        blur_A [B]: standard deviation of what spreads images besides vibration and drift. The noise is left out.
        """
        height, width = waves_BHW.shape[-2:]
        ky = torch.fft.fftfreq(height, self.cell_A[1] / height)[:, None]
        kx = torch.fft.fftfreq(width, self.cell_A[0] / width)[None, :]
        wavelength_A = self.microscope.wavelength_A
        phase_BHW = aberration_phase(optics, ky, kx, wavelength_A)
        passes_HW = torch.hypot(ky, kx) <= self.microscope.aperture_per_A
        spectrum = torch.fft.fft2(waves_BHW) * torch.exp(-1j * phase_BHW) * passes_HW
        nodes = np.linspace(-SPAN, SPAN, NODES)
        weights = np.exp(-(nodes**2) / 2)
        defocus = math.pi * wavelength_A * (ky**2 + kx**2) * optics.focal_spread_A[:, None, None]
        step = torch.exp(-1j * defocus * float(nodes[1] - nodes[0]))
        spectrum = spectrum * torch.exp(-1j * defocus * float(nodes[0]))
        total = torch.zeros(waves_BHW.shape)
        for weight in weights / weights.sum():
            total += float(weight) * torch.view_as_real(torch.fft.ifft2(spectrum)).square().sum(-1)
            spectrum = spectrum * step
        found_BHW = torch.fft.fft2(total) / (height * width)
        return self._recorded(found_BHW, exposure, blur_A)

    def _recorded(self, found_BHW: Tensor, exposure: Exposure, blur_A: Tensor) -> Tensor:
        """What of an image's coefficients is left after drift, vibration, blur and loss of contrast; over the mean."""
        gx, gy = self.per_A[:, 0], self.per_A[:, 1]
        along = gx * torch.cos(exposure.drift_rad[:, None]) + gy * torch.sin(exposure.drift_rad[:, None])
        spread_A2 = exposure.vibration_A.square() + blur_A.square()
        transfer = torch.exp(-2 * math.pi**2 * spread_A2[:, None] * (gx**2 + gy**2))
        transfer = transfer * torch.sinc(along * exposure.drift_A[:, None]) * exposure.contrast[:, None]
        mean_B = 1 + (found_BHW[:, 0, 0].real - 1) * exposure.contrast
        hk = torch.from_numpy(self.hk)
        return found_BHW[:, hk[:, 1], hk[:, 0]] * transfer / mean_B[:, None]


def _layers(projection: Projection) -> tuple[list[NDArray[np.float64]], list[float]]:
    """Sites of each layer along the beam, and the distance [Å] to the next layer."""
    phases = np.unique(projection.sites[:, 2])
    distances = np.diff(np.append(phases, phases[0] + 1)) * projection.period_A
    return [projection.sites[projection.sites[:, 2] == phase] for phase in phases], distances.tolist()


def _waves(layers: list[NDArray[np.float64]], steps_A: list[float], projection: Projection, recipe: Recipe) -> Tensor:
    width, height = (2 * math.ceil(side / SAMPLING_A / 2) for side in projection.cell_A)
    ky, kx = np.fft.fftfreq(height, projection.cell_A[1] / height), np.fft.fftfreq(width, projection.cell_A[0] / width)
    k2 = ky[:, None] ** 2 + kx[None, :] ** 2
    potentials_VA = [potential(sites, projection, recipe.multislice, ky, kx) for sites in layers]
    band = np.sqrt(k2) < min(abs(ky).max(), abs(kx).max()) * 2 / 3
    small = _small(projection, recipe.microscope, (height, width))
    wavelength_A = recipe.microscope.wavelength_A
    propagators = [np.exp(-1j * np.pi * wavelength_A * step_A * k2) * band for step_A in steps_A]
    per_volt = interaction(recipe.microscope)
    thickest = recipe.specimens.thick_atoms * len(layers)
    displacements_A = np.linspace(*recipe.specimens.displacement_A, DISPLACEMENTS)
    kept = np.zeros((DISPLACEMENTS, len(layers), thickest, len(small[0]), len(small[1])), np.complex64)
    for u, displacement_A in enumerate(displacements_A):
        damped = np.exp(-2 * np.pi**2 * displacement_A**2 * k2)
        passes = [np.exp(1j * per_volt * np.fft.ifft2(np.fft.fft2(layer) * damped).real) for layer in potentials_VA]
        for first in range(len(layers)):
            spectrum = np.fft.fft2(np.ones((height, width)))
            for layer in range(thickest):
                now = (first + layer) % len(layers)
                spectrum = np.fft.fft2(np.fft.ifft2(spectrum) * passes[now]) * band
                kept[u, first, layer] = np.fft.ifft2(spectrum[np.ix_(*small)]) * (kept[0, 0, 0].size / spectrum.size)
                spectrum = spectrum * propagators[now]
    return torch.from_numpy(kept)


def potential(
    sites: NDArray[np.float64],
    projection: Projection,
    settings: Multislice,
    ky_per_A: NDArray[np.floating],
    kx_per_A: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Projected potential of one layer of a cell [H, W], in V Å (Kirkland, appendix on atomic potentials).

    Damped as specimens' potentials are on average over where their atoms lie between samples of the multislice grid.
    """
    ky, kx = ky_per_A[:, None], kx_per_A[None, :]
    k2 = torch.from_numpy(ky**2 + kx**2)
    spectrum = np.zeros(k2.shape, complex)
    for x, y, _, species in sites:
        factor = scattering_factor(projection.elements[int(species)], k2).numpy()
        spectrum += factor * np.exp(-2j * np.pi * (kx * x + ky * y))
    if settings.placing == "bilinear":
        # sinc² along two axes, whatever their turn, is nearly this; what the multislice undoes of it it undoes.
        k = np.sqrt(k2.numpy()) * settings.sampling_A
        spectrum *= np.exp(-((np.pi * k) ** 2) / 3) / np.sinc(k / np.pi)
    area_A2 = projection.cell_A[0] * projection.cell_A[1]
    return np.asarray(np.fft.ifft2(spectrum).real * (spectrum.size * PROJECTED_V_A2 / area_A2))


def _small(
    projection: Projection, microscope: Microscope, points: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the frequencies that waves keep: as few as leave no kept reflection of an image aliased."""
    reach = 2 * microscope.aperture_per_A + REACH_PER_A
    index = []
    for side_A, most in zip(projection.cell_A[::-1], points, strict=True):
        keep = min(most, 2 * math.ceil(side_A * reach / 2))
        index.append(np.fft.fftfreq(keep, 1 / keep).astype(int))
    return index[0], index[1]
