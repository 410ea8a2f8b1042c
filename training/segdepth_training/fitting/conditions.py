"""What a motif tells of the instrument: its contrast, its vibration and the defocus, all else unknown.

A small network learns from images of unit cells the posterior of these three, each given as probabilities of nodes. Its
prior is even over the nodes, so that posteriors of independent specimens may be multiplied. Shape suffixes beside the
usual ones: D conditions drawn together, M motifs of each, E nodes of contrast and vibration.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from segdepth_training.frames.imaging import Exposure, Optics, draw_exposure, draw_optics, uniform
from segdepth_training.frames.motif import Motif
from segdepth_training.frames.unit_cell import UnitCell
from segdepth_training.recipes.recipe import Recipe

CONTRAST = torch.linspace(0.4, 1.05, 14)
VIBRATION_A = torch.linspace(0.0, 0.6, 13)
"""Nodes; what is measured lies between the first and the last."""

DEFOCUS_NODES = 12
THICKNESSES = 3
"""Of which each frame's region may have some."""

IMAGES = 200_000
"""Simulated for training: a minute or two of one core."""

STEPS, BATCH, SEED = 8000, 128, 20

LARGEST_RATE = 1.5e-3
GAIN = 8.0
"""Coefficients are some hundredths; a network wants numbers near 1."""

VARIANCES = (3e-8, 4e-5)
"""Of a coefficient by noise: 20,000 e/Å² over 1,600 Å², and 50 over 500."""

ORIGIN_A = 0.12
"""By which the lattice's origin may be off [Å], standard deviation along an axis."""

LOWEST_A = 12.0
"""A region may end so far above the specimen's lowest atom [Å], from which defocus counts: its own is larger."""

Progress = Callable[..., None]
"""progress(done, total, figures)"""


@dataclass(frozen=True)
class Measured:
    """A quantity's posterior at its nodes."""

    nodes: Tensor
    probabilities: Tensor

    @property
    def mean(self) -> float:
        """Expected value."""
        return float((self.nodes * self.probabilities).sum())

    @property
    def error(self) -> float:
        """Standard deviation; what lies within a node's reach cannot be told from the node."""
        spread = float(((self.nodes - self.mean) ** 2 * self.probabilities).sum())
        return math.sqrt(spread)


@dataclass(frozen=True)
class Conditions:
    """Log posterior of contrast and vibration together [14, 13], and of the defocus of the first frame [12]."""

    both: Tensor
    defocus: Measured

    @property
    def joint(self) -> Tensor:
        """Posterior of contrast and vibration together, whose sum is 1."""
        return self.both.flatten().softmax(0).reshape(self.both.shape)

    @property
    def contrast(self) -> Measured:
        """Of the contrast, a factor on that of a simulation."""
        return Measured(CONTRAST, self.joint.sum(1))

    @property
    def vibration_A(self) -> Measured:
        """Of the vibration [Å]."""
        return Measured(VIBRATION_A, self.joint.sum(0))


def together(several: Sequence[Conditions]) -> Tensor:
    """Log posterior of contrast and vibration by independent specimens of one instrument, each of which may mislead.

    To each a small probability is left that it tells nothing.
    """
    total = torch.zeros_like(several[0].both)
    for one in several:
        total = total + torch.log(0.95 * one.joint + 0.05 / one.joint.numel())
    return total


class Network(nn.Module):
    """From coefficients [B, F, R] (complex) and the logarithm of their variance [B] to the posteriors' logits."""

    def __init__(self, frames: int, reflections: int):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Linear(2 * frames * reflections + 1, 384), nn.GELU()),
            *(nn.Linear(384, 384), nn.GELU()),
            *(nn.Linear(384, 256), nn.GELU()),
        )
        self.both = nn.Linear(256, len(CONTRAST) * len(VIBRATION_A))
        self.defocus = nn.Linear(256, DEFOCUS_NODES)

    def forward(self, values_BFR: Tensor, log_variance_B: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, E] and [B, nodes of defocus]."""
        numbers = torch.view_as_real(values_BFR).flatten(1) * GAIN
        low, high = (math.log(value) for value in VARIANCES)
        level = (2 * log_variance_B - low - high) / (high - low)
        seen = self.body(torch.cat([numbers, level[:, None]], 1))
        return self.both(seen), self.defocus(seen)


@dataclass(frozen=True)
class Regressor:
    """A trained network and what it was trained for."""

    network: Network
    defocus_A: Tensor
    frames: int

    @torch.inference_mode()
    def of(self, motifs: Sequence[Motif]) -> Conditions:
        """What the motifs of a series tell, as many as the network was trained for."""
        values = torch.stack([torch.from_numpy(one.values) for one in motifs])[None].to(torch.complex64)
        variance = sum(float(one.variance.mean()) for one in motifs) / len(motifs)
        level = torch.tensor([math.log(min(max(variance, VARIANCES[0]), VARIANCES[1]))])
        both, defocus = self.network(values, level)
        return Conditions(
            both[0].log_softmax(0).reshape(len(CONTRAST), len(VIBRATION_A)),
            Measured(self.defocus_A, defocus[0].softmax(0)),
        )


@dataclass(frozen=True)
class Draws:
    """Images of many conditions: coefficients [D, M, F, R] of M thicknesses, and what is to be told of each [D]."""

    values: Tensor
    contrast: Tensor
    vibration_A: Tensor
    defocus_A: Tensor

    def __len__(self) -> int:
        return len(self.contrast)

    def some(self, index: Tensor) -> "Draws":
        """Those of an index."""
        return Draws(*(each[index] for each in vars(self).values()))

    @classmethod
    def of(cls, several: "Sequence[Draws]") -> "Draws":
        """Several in one."""
        return cls(*(torch.cat(each) for each in zip(*(vars(one).values() for one in several), strict=True)))


class Simulation:
    """Draws what frames may show: everything of the recipe unknown, contrast and vibration far beyond its ranges."""

    def __init__(self, cell: UnitCell, recipe: Recipe, pixel_A: float, frames: int = 1, focal_step_A: float = 0.0):
        self.cell, self._recipe, self._pixel_A = cell, recipe, pixel_A
        self.frames, self._step_A = frames, focal_step_A
        low, high = recipe.microscope.defocus_A
        # A series leads through the recipe's range: it begins where all of it is within, as far as that can be.
        reach = (frames - 1) * focal_step_A
        self._first_A = (min(low, high - reach), max(low, high - reach))
        self.defocus_A = torch.linspace(*self._first_A, DEFOCUS_NODES)

    def draw(self, generator: torch.Generator, size: int) -> Draws:
        """`size` conditions, with THICKNESSES of each."""
        recipe, total = self._recipe, size * THICKNESSES
        optics = draw_optics(generator, recipe.microscope, size)
        optics = replace(optics, c10_A=uniform(generator, *self._first_A, size))
        exposure = draw_exposure(generator, recipe.camera, size)
        exposure = replace(
            exposure,
            contrast=uniform(generator, float(CONTRAST[0]), float(CONTRAST[-1]), size),
            vibration_A=uniform(generator, float(VIBRATION_A[0]), float(VIBRATION_A[-1]), size),
        )
        # Of counted electrons the noise tells the spread, which is then undone.
        blur_A = torch.where(exposure.correlated, 0.0, exposure.mtf_px) * self._pixel_A
        waves = self._waves(generator, size)
        optics_each, exposure_each = _repeated(optics), _repeated(exposure)
        ends_A = uniform(generator, 0, LOWEST_A, total)
        found = []
        for frame in range(self.frames):
            there = replace(optics_each, c10_A=optics_each.c10_A + frame * self._step_A + ends_A)
            found.append(self.cell.coefficients(waves, there, exposure_each, blur_A.repeat_interleave(THICKNESSES)))
        values = torch.stack(found, 1).unflatten(0, (size, THICKNESSES))
        return Draws(values, exposure.contrast, exposure.vibration_A, optics.c10_A)

    def _waves(self, generator: torch.Generator, size: int) -> Tensor:
        """Exit waves of size x THICKNESSES cells: of each conditions one displacement, and thicknesses near by."""
        displacements, periods, thickest = self.cell.waves.shape[:3]
        few, many = (atoms * periods for atoms in self._recipe.specimens.atoms)
        middle = uniform(generator, max(1, few - periods), many + periods, size)
        thick = uniform(generator, 0, 1, size) < self._recipe.specimens.thick_share
        middle = torch.where(thick, uniform(generator, many, thickest, size), middle)
        spread = uniform(generator, 0, 4 * periods, size) * (uniform(generator, 0, 1, size) < 0.7)
        around = uniform(generator, -0.5, 0.5, size * THICKNESSES).reshape(size, THICKNESSES)
        layers = (middle[:, None] + spread[:, None] * around).round().long().clamp(1, thickest) - 1
        first = torch.randint(periods, layers.shape, generator=generator)
        moved = torch.randint(displacements, (size, 1), generator=generator).expand_as(layers)
        return self.cell.waves[moved, first, layers].flatten(0, 1)

    def seen(self, draws: Draws, level_B: Tensor, generator: torch.Generator) -> Tensor:
        """Coefficients [B, F, R] by other shares of the thicknesses, another origin, and noise of log variance [B]."""
        size = len(draws)
        shares = torch.log(uniform(generator, 1e-6, 1, size * THICKNESSES)).reshape(size, THICKNESSES).square()
        shares = shares / shares.sum(1, keepdim=True)
        values = (draws.values * shares[:, :, None, None]).sum(1)
        shift_A = torch.randn(size, self.frames, 2, generator=generator) * ORIGIN_A
        values = values * torch.exp(-2j * math.pi * (shift_A @ self.cell.per_A.T))
        noise = torch.randn(*values.shape, 2, generator=generator) * torch.exp(level_B / 2)[:, None, None, None]
        return values + torch.view_as_complex(noise / 2**0.5)


def simulated(simulation: Simulation, progress: Progress, images: int = IMAGES) -> Draws:
    """What a network is trained on: as many conditions as so many images make. The same each time."""
    generator = torch.Generator().manual_seed(SEED)
    size = max(4, 288 // (THICKNESSES * simulation.frames))
    rounds = max(1, images // (size * THICKNESSES * simulation.frames))
    several = []
    for done in range(rounds):
        several.append(simulation.draw(generator, size))
        progress(done + 1, rounds)
    return Draws.of(several)


def trained(simulation: Simulation, draws: Draws, progress: Progress, steps: int = STEPS) -> Regressor:
    """A network trained on these, at every step with other noise. The same each time."""
    generator = torch.Generator().manual_seed(SEED + 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = Network(simulation.frames, len(simulation.cell.hk))
    optimiser = torch.optim.AdamW(network.parameters(), LARGEST_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LARGEST_RATE, steps, pct_start=0.05)
    running = math.nan
    for step in range(steps):
        some = draws.some(torch.randint(len(draws), (BATCH,), generator=generator))
        level = uniform(generator, math.log(VARIANCES[0]), math.log(VARIANCES[1]), BATCH)
        both, defocus = network(simulation.seen(some, level, generator), level)
        of_both = _shares(some.contrast, CONTRAST)[:, :, None] * _shares(some.vibration_A, VIBRATION_A)[:, None, :]
        loss = nn.functional.cross_entropy(both, of_both.flatten(1))
        loss = loss + nn.functional.cross_entropy(defocus, _shares(some.defocus_A, simulation.defocus_A))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        now = loss.item()
        running = now if math.isnan(running) else 0.99 * running + 0.01 * now
        progress(step + 1, steps, {"loss": running})
    return Regressor(network.eval(), simulation.defocus_A, simulation.frames)


def _shares(values: Tensor, nodes: Tensor) -> Tensor:
    """Each value [B] as shares [B, nodes] of the two nodes that it lies between."""
    step = nodes[1] - nodes[0]
    return (1 - (values[:, None] - nodes).abs() / step).clamp(min=0)


Kind = TypeVar("Kind", Optics, Exposure)


def _repeated(conditions: Kind) -> Kind:
    """Every condition THICKNESSES times in a row."""
    return replace(conditions, **{name: one.repeat_interleave(THICKNESSES) for name, one in vars(conditions).items()})
