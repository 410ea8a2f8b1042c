"""Phases that slices of atoms give the wave: projected potentials on a grid, differentiable in where the atoms are.

Each slice is projected whole ("infinite projection"): an atom counts in the slice that its centre is in. Atoms are
spread over neighbouring samples, Fourier transformed, and multiplied by their scattering factor (W. Van den Broek et
al., Ultramicroscopy 158 (2015) 89, doi 10.1016/j.ultramic.2015.07.005).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from segdepth_training.frames.scattering import scattering_factor
from segdepth_training.recipes.recipe import Microscope, Multislice, Placing
from segdepth_training.specimens.specimen import Specimen

PROJECTED_V_A2 = 47.87801
"""2 pi a0 e [V Å²]: the Fourier transform of an atom's projected potential over its scattering factor (Kirkland)."""
REST_eV = 510998.95
"""Rest energy of the electron."""
BORDER_A = 1e-12
"""An atom as near to the border of two slices is on it, and in the second: rounding does not decide."""

ORDERS: dict[Placing, int] = {"bilinear": 2, "exact": 6}
"""Of the B-splines by which an atom is shared among samples: as many along an axis."""


@dataclass(frozen=True)
class Atoms:
    """Atoms of B specimens in cells of one side. Gradients reach positions and occupancies.

    positions_A: [N, 3] x, y, z, the beam along +z (float64); occupancy: [N]; species: index in `elements` [N];
    specimen: which it belongs to [N]; depth_A: of each cell [B]; lowest_A: z of each specimen's lowest atom [B].
    """

    positions_A: Tensor
    occupancy: Tensor
    species: Tensor
    specimen: Tensor
    elements: tuple[str, ...]
    side_A: float
    depth_A: Tensor
    lowest_A: Tensor

    @classmethod
    def of(cls, specimens: Sequence[Specimen], device: torch.device | str = "cpu") -> Self:
        """All atoms of these specimens, on a device. ValueError where their cells have different sides."""
        sides = {float(one.atoms.cell[0, 0]) for one in specimens}
        if len(sides) != 1:
            raise ValueError(f"specimens in cells of sides {sorted(sides)} Å; those of a batch share one")
        symbols = np.concatenate([np.asarray(one.atoms.get_chemical_symbols(), str) for one in specimens])
        elements = sorted(set(symbols.tolist()))
        each = [len(one.atoms) for one in specimens]
        return cls(
            torch.from_numpy(np.concatenate([one.atoms.positions for one in specimens])).to(device),
            torch.ones(len(symbols), device=device),
            torch.from_numpy(np.searchsorted(elements, symbols)).to(device),
            torch.repeat_interleave(torch.arange(len(each)), torch.tensor(each)).to(device),
            tuple(elements),
            sides.pop(),
            torch.tensor([float(one.atoms.cell[2, 2]) for one in specimens], dtype=torch.float64),
            torch.tensor([one.lowest_A for one in specimens], dtype=torch.float64),
        )


class Grid(NamedTuple):
    """Samples along either side of a cell."""

    points: int
    side_A: float
    device: torch.device = torch.device("cpu")

    @property
    def sampling_A(self) -> float:
        """Of the grid [Å/px]."""
        return self.side_A / self.points

    @property
    def frequency(self) -> Tensor:
        """Spatial frequencies along an axis [1/Å], float64 [n]."""
        along: Tensor = torch.fft.fftfreq(self.points, self.sampling_A, dtype=torch.float64, device=self.device)
        return along


class Slice(NamedTuple):
    """The phase that atoms of one slice give the waves, [B, n, n], and how many slices are behind it."""

    phase: Tensor
    behind: int


def slice_A(atoms: Atoms, settings: Multislice) -> Tensor:
    """Thickness of each specimen's slices [B]: as few as fill its cell, all alike, and at most the settings'."""
    return atoms.depth_A / (atoms.depth_A / settings.slice_A).ceil()


def slices(atoms: Atoms, settings: Multislice, microscope: Microscope, grid: Grid) -> Iterator[Slice]:
    """Slices that have atoms, as the beam meets them; those of several specimens end together.

    An atom outside its cell is in the slice next to it.
    """
    thickness_A = slice_A(atoms, settings).to(grid.device)
    number = (atoms.depth_A.to(grid.device) / thickness_A).round()[atoms.specimen]
    within = ((atoms.positions_A[:, 2].detach() + BORDER_A) / thickness_A[atoms.specimen]).floor()
    behind = (number - 1 - within).clamp(min=0).minimum(number - 1).long()
    order = behind.argsort(descending=True, stable=True)
    sample, weight = shared(atoms, settings, grid)
    factors = phase_factors(atoms.elements, settings.placing, grid, microscope)
    found, each = behind[order].unique_consecutive(return_counts=True)
    parts = zip(found.tolist(), order.split(each.tolist()), strict=True)
    shape = (len(atoms.depth_A), len(atoms.elements), grid.points, grid.points)
    for behind_it, part in parts:
        spread = weight.new_zeros(shape).view(-1).index_add(0, sample[part].view(-1), weight[part].view(-1)).view(shape)
        spectrum = (torch.fft.rfft2(spread) * factors).sum(1)
        yield Slice(torch.fft.irfft2(spectrum, s=shape[-2:]), behind_it)


def shared(atoms: Atoms, settings: Multislice, grid: Grid) -> tuple[Tensor, Tensor]:
    """Samples of [B, S, n, n] among which each atom is shared out, flat, and the share of each: [N, p, p]."""
    order = ORDERS[settings.placing]
    at = atoms.positions_A[:, [1, 0]] / grid.sampling_A  # y, x: rows, columns
    whole = at.detach().floor()
    y, x = (spline((at - whole)[:, axis].float(), order) for axis in (0, 1))
    reach = order // 2 - torch.arange(order, device=grid.device)
    row, column = ((whole[:, axis, None].long() + reach) % grid.points for axis in (0, 1))
    plane = atoms.specimen * len(atoms.elements) + atoms.species
    sample = (plane[:, None, None] * grid.points + row[:, :, None]) * grid.points + column[:, None, :]
    return sample, atoms.occupancy[:, None, None] * y[:, :, None] * x[:, None, :]


def spline(fraction: Tensor, order: int) -> Tensor:
    """Cardinal B-splines of an even order at `fraction` of the way from one sample to the next: [N, order].

    Of samples order / 2 ahead, and so on backwards. U. Essmann et al., J. Chem. Phys. 103 (1995) 8577, eq. 4.1.
    """
    shares = [fraction, 1 - fraction]
    for n in range(3, order + 1):
        before = [*shares, torch.zeros_like(fraction)]
        shares = [((fraction + j) * before[j] + (n - fraction - j) * before[j - 1]) / (n - 1) for j in range(n)]
    return torch.stack(shares, dim=1)


def interaction(microscope: Microscope) -> float:
    """Phase for each V Å of projected potential [rad/(V Å)] (Kirkland, eq. 5.6)."""
    energy_eV = microscope.energy_keV * 1e3
    relative = (REST_eV + energy_eV) / (2 * REST_eV + energy_eV)
    return float(2 * np.pi / (microscope.wavelength_A * energy_eV) * relative)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def phase_factors(elements: tuple[str, ...], placing: Placing, grid: Grid, microscope: Microscope) -> Tensor:
    """What turns transforms of spread atoms into those of their phases: [S, n, n // 2 + 1], complex64."""
    y, x = grid.frequency, grid.frequency[: grid.points // 2 + 1]
    k_square = y[:, None] ** 2 + x[None, :] ** 2
    factors = torch.stack([scattering_factor(element, k_square) for element in elements])
    scale = interaction(microscope) * PROJECTED_V_A2 / grid.sampling_A**2
    return (scale * factors / blur(placing, y, x, grid.sampling_A)).to(torch.complex64)


def blur(placing: Placing, y: Tensor, x: Tensor, sampling_A: float) -> Tensor:
    """By how much being shared out damps an atom's spatial frequencies [1/Å], as far as that is undone."""
    if placing == "bilinear":
        # What abTEM undoes, by which released models and the benchmark were simulated: a hundredth at most, where the
        # damping is by sinc² along either axis on average.
        return torch.sinc((y[:, None] ** 2 + x[None, :] ** 2).sqrt() * sampling_A / np.pi)
    order = ORDERS[placing]
    return torch.sinc(y * sampling_A)[:, None] ** order * torch.sinc(x * sampling_A)[None, :] ** order
