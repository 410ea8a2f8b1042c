"""The second stage: what the first one said of each column, read again in the light of the whole frame.

The first stage sees a column's neighbourhood; how much contrast and blur a frame has is common to all of its columns
and shows in their mean. Here each column's posterior and patch of the frame, turned into the lattice's axes, meet the
frame's mean patch of each species and its histogram of counts, in a network over the lattice's cells.

Suffixes: B frames of a batch, N columns of them all, K classes, P points of a patch, S species, Q sites of a cell,
C channels, h, w cells.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segdepth_artefacts.manifest import Cell, Known
from segdepth_core.cell import place
from segdepth_protos.contract import CLASSES

PATCH_SIDE = 19
PATCH_STEP_A = 0.25
POINTS = PATCH_SIDE**2

LEAST = 1e-3
"""Added to the first stage's probabilities before their logarithm: nothing is impossible."""

EDGE_A = 1.5
"""A column nearer to the frame's edge has part of its patch outside."""

DOSES = (10.0, 1e5)
"""Beyond these [e/Å²] a frame counts as one at the bound."""

SCALES = {"contrast": (0.75, 0.25), "vibration_A": (0.3, 0.2), "defocus_A": (50.0, 30.0)}
"""Middle and width by which a known range is told to the network."""

LEAST_LOG_ERROR = -4.0
"""Of a condition that is measured, in units of these widths."""


@dataclass(frozen=True)
class Evidence:
    """The columns of one frame that stand on its lattice, as the first stage found them."""

    patches_NP: Tensor
    """Network input around each column, along the lattice's axes; float16."""
    posterior_NK: Tensor
    """Of the first stage, calibrated."""
    species_N: Tensor
    site_N: Tensor
    cell_N2: Tensor
    """Counted from the frame's first row and column of cells."""
    edge_N: Tensor
    """1 for a column near the frame's edge, else 0."""
    dose: float
    """Measured, e/Å²."""

    def __len__(self) -> int:
        return len(self.species_N)


def gather(
    x_hw: Tensor, xy_N2: Tensor, posterior_NK: Tensor, species_N: Tensor, dose: float, cell: Cell, canonical_A: float
) -> tuple[Evidence, Tensor] | None:
    """What the second stage needs of the columns at `xy_N2` [px] of network input `x_hw`; and which of them it is.

    None where the columns are on no lattice.
    """
    placed = place(xy_N2.double().cpu().numpy() * canonical_A, species_N.cpu().numpy(), cell)
    if placed is None:
        return None
    on_N = torch.from_numpy(placed.site_N >= 0)
    cell_N2 = torch.from_numpy(placed.cell_N2)[on_N]
    here_N2 = xy_N2[on_N.to(xy_N2.device)]
    size = torch.tensor([x_hw.shape[1], x_hw.shape[0]], device=xy_N2.device)
    margin_A = torch.minimum(here_N2 + 0.5, size - 0.5 - here_N2).amin(1) * canonical_A
    kept_N = on_N.to(xy_N2.device)
    evidence = Evidence(
        patches_NP=patches(x_hw, here_N2, placed.turn_rad, canonical_A).half(),
        posterior_NK=posterior_NK[kept_N],
        species_N=species_N[kept_N].long(),
        site_N=torch.from_numpy(placed.site_N)[on_N].to(xy_N2.device),
        cell_N2=(cell_N2 - cell_N2.amin(0)).to(xy_N2.device),
        edge_N=(margin_A < EDGE_A).float(),
        dose=dose,
    )
    return evidence, kept_N


def patches(x_hw: Tensor, xy_N2: Tensor, turn_rad: float, canonical_A: float) -> Tensor:
    """Network input around positions [px], turned by an angle [N, P]; bicubic, the edge's pixel beyond the edge."""
    at_px = (torch.arange(PATCH_SIDE, device=x_hw.device) - PATCH_SIDE // 2) * (PATCH_STEP_A / canonical_A)
    v, u = torch.meshgrid(at_px, at_px, indexing="ij")
    cos, sin = float(np.cos(turn_rad)), float(np.sin(turn_rad))
    offset_P2 = torch.stack([cos * u - sin * v, sin * u + cos * v], -1).reshape(-1, 2)
    height, width = x_hw.shape
    scale = torch.tensor([width, height], device=x_hw.device)
    grid_NP2 = (2 * (xy_N2[:, None] + offset_P2) + 1) / scale - 1
    sampled = F.grid_sample(
        x_hw[None, None], grid_NP2[None].float(), mode="bicubic", padding_mode="border", align_corners=False
    )
    return sampled[0, 0]


class Table(NamedTuple):
    """The evidence of a batch of frames, joined."""

    frames: int
    frame_N: Tensor
    patches_NP: Tensor
    log_NK: Tensor
    species_N: Tensor
    edge_N: Tensor
    site_N: Tensor
    cell_N2: Tensor
    cells: tuple[int, int]
    """Rows and columns of cells that hold every frame's."""
    dose_B: Tensor


def table(parts: list[Evidence]) -> Table:
    """Frames together. Their answers are the same as alone, but for rounding."""
    device = parts[0].patches_NP.device
    cell_N2 = torch.cat([part.cell_N2 for part in parts])
    across, down = (cell_N2.amax(0) + 1).tolist()
    return Table(
        frames=len(parts),
        frame_N=torch.cat([torch.full((len(part),), number, device=device) for number, part in enumerate(parts)]),
        patches_NP=torch.cat([part.patches_NP for part in parts]).float(),
        log_NK=(torch.cat([part.posterior_NK for part in parts]) + LEAST).log(),
        species_N=torch.cat([part.species_N for part in parts]),
        edge_N=torch.cat([part.edge_N for part in parts]),
        site_N=torch.cat([part.site_N for part in parts]),
        cell_N2=cell_N2,
        cells=(int(down), int(across)),
        dose_B=torch.tensor([part.dose for part in parts], device=device),
    )


def known_numbers(known: Known) -> list[float]:
    """A profile as the network is told it: of each condition both bounds of its range and whether it is known."""
    numbers: list[float] = []
    for name, (middle, width) in SCALES.items():
        bounds = getattr(known, name)
        numbers += [0.0, 0.0, 0.0] if bounds is None else [*((bound - middle) / width for bound in bounds), 1.0]
    return numbers


class SecondStage(nn.Module):
    """Evidence of a batch of frames and what is known of the instrument -> logits of each column's count."""

    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        species: int,
        sites: int,
        width: int = 128,
        blocks: int = 6,
        hidden: int = 160,
        told: int = 32,
        context: int = 96,
    ):
        super().__init__()
        self.species, self.sites, self.told = species, sites, told
        features = species * (POINTS + CLASSES) + 2
        each, pooled = POINTS + CLASSES + species, 64
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.pool = nn.Sequential(nn.Linear(each, 128), nn.GELU(), nn.Linear(128, pooled), nn.GELU())
        self.describe = nn.Sequential(
            nn.Linear(features + species * pooled + 3 * len(SCALES), 256),
            nn.GELU(),
            nn.Dropout(0.2),
            nn.Linear(256, context),
            nn.GELU(),
        )
        self.conditions = nn.Sequential(nn.Linear(context, 64), nn.GELU(), nn.Linear(64, 2 * len(SCALES)))
        self.patch = nn.Linear(POINTS + 1, hidden)
        self.posterior = nn.Linear(CLASSES, hidden)
        self.kind = nn.Embedding(species, hidden)
        self.frame = nn.Linear(context, hidden)
        self.column = nn.Linear(hidden, hidden)
        self.tell = nn.Linear(hidden, told)
        self.enter = nn.Conv2d(sites * (told + 1), width, 1)
        self.blocks = nn.ModuleList(Block(width, context) for _ in range(blocks))
        self.norm = ChannelNorm(width)
        self.leave = nn.Conv2d(width, sites * CLASSES, 1)
        self.own = nn.Linear(hidden, CLASSES)
        self.trust = nn.Parameter(torch.ones(1))
        for weight in (*self.leave.parameters(), *self.own.parameters()):
            nn.init.zeros_(weight)

    def forward(self, seen: Table, known_BC: Tensor) -> Tensor:
        """Logits [N, K]; `known_BC` as `known_numbers` of each frame."""
        return self.read(seen, self.context(self.gathered(seen), known_BC))

    def gathered(self, seen: Table) -> Tensor:
        """What the columns of each frame have in common [B, C]."""
        features_BC = (frame_features(seen, self.species) - self.mean) / self.spread
        features_BC = F.dropout(features_BC, 0.1, self.training)
        kind_NS = F.one_hot(seen.species_N, self.species)
        each_NC = self.pool(torch.cat([seen.patches_NP, seen.log_NK.exp(), kind_NS], 1))
        pooled_BC = means(each_NC, seen, self.species)[0].view(seen.frames, -1)
        return torch.cat([features_BC, pooled_BC], 1)

    def context(self, gathered_BC: Tensor, known_BC: Tensor) -> Tensor:
        """That and what is known of each frame's instrument, in few numbers [B, C]."""
        context_BC: Tensor = self.describe(torch.cat([gathered_BC, known_BC], 1))
        return context_BC

    def judge(self, context_BC: Tensor) -> tuple[Tensor, Tensor]:
        """What contexts tell of the instruments, in the order of SCALES and in units of its widths.

        Values from its middles and logarithms of their errors (standard deviations), each [B, conditions].
        """
        value_BC, log_error_BC = self.conditions(context_BC).chunk(2, 1)
        return value_BC, log_error_BC.clamp(min=LEAST_LOG_ERROR)

    def read(self, seen: Table, context_BC: Tensor) -> Tensor:
        """Logits [N, K] of each column in its frame's context."""
        patch_NP = torch.cat([seen.patches_NP, seen.edge_N[:, None]], 1)
        each = self.patch(patch_NP) + self.posterior(seen.log_NK) + self.kind(seen.species_N)
        each = F.gelu(self.column(F.gelu(each + self.frame(context_BC)[seen.frame_N])))
        own_NK: Tensor = self.own(each) + self.trust * seen.log_NK
        return own_NK + self._neighbours(self.tell(each), seen, context_BC)

    def _neighbours(self, told_NC: Tensor, seen: Table, context_BC: Tensor) -> Tensor:
        """What a column's surroundings add to its logits [N, K]."""
        down, across = seen.cells
        at_N = ((seen.frame_N * down + seen.cell_N2[:, 1]) * across + seen.cell_N2[:, 0]) * self.sites + seen.site_N
        flat = told_NC.new_zeros(seen.frames * down * across * self.sites, self.told + 1)
        flat = flat.index_put((at_N,), torch.cat([told_NC, torch.ones_like(told_NC[:, :1])], 1))
        cells = flat.view(seen.frames, down, across, self.sites, self.told + 1)
        filled_B1hw = cells[..., -1].amax(-1)[:, None]
        x_BChw = self.enter(cells.flatten(3).permute(0, 3, 1, 2)) * filled_B1hw
        for block in self.blocks:
            x_BChw = block(x_BChw, context_BC, filled_B1hw)
        out: Tensor = self.leave(F.gelu(self.norm(x_BChw)))
        return out.permute(0, 2, 3, 1).reshape(-1, CLASSES)[at_N]


def frame_features(seen: Table, species: int) -> Tensor:
    """What a frame's columns have in common [B, features]: mean patch and posterior of each species, number, dose."""
    mean_GC, number_G = means(torch.cat([seen.patches_NP, seen.log_NK.exp()], 1), seen, species)
    log_dose_B = seen.dose_B.clamp(*DOSES).log() / 3 - 2
    log_number_B = number_G.view(seen.frames, -1).sum(1).log() / 3 - 1
    return torch.cat([mean_GC.view(seen.frames, -1), log_dose_B[:, None], log_number_B[:, None]], 1)


def means(values_NC: Tensor, seen: Table, species: int) -> tuple[Tensor, Tensor]:
    """Mean over the columns of each species in each frame [frames * species, C] (0 of none), and how many they are."""
    group_N = seen.frame_N * species + seen.species_N
    total_GC = values_NC.new_zeros(seen.frames * species, values_NC.shape[1]).index_add(0, group_N, values_NC)
    number_G = torch.bincount(group_N, minlength=seen.frames * species)
    return total_GC / number_G.clamp(min=1)[:, None], number_G


class ChannelNorm(nn.Module):
    """Each cell's channels to mean 0 and variance 1."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x_BChw: Tensor) -> Tensor:
        """The same shape."""
        rest = x_BChw - x_BChw.mean(1, keepdim=True)
        normal: Tensor = rest * torch.rsqrt(rest.square().mean(1, keepdim=True) + 1e-5)
        return normal * self.weight + self.bias


class Block(nn.Module):
    """Two convolutions over the cells, told the frame's features (FiLM, Perez et al., AAAI 2018).

    Cells without a column stay at zero, as what lies beyond the frame is: the answer knows no frame's size.
    """

    def __init__(self, channels: int, context: int):
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(context, 2 * channels)
        for weight in (*self.conv2.parameters(), *self.film.parameters()):
            nn.init.zeros_(weight)

    def forward(self, x_BChw: Tensor, context_BC: Tensor, filled_B1hw: Tensor) -> Tensor:
        """The same shape."""
        scale, shift = self.film(context_BC)[..., None, None].chunk(2, 1)
        y_BChw = F.gelu(self.norm(x_BChw) * (1 + scale) + shift) * filled_B1hw
        added: Tensor = self.conv2(F.gelu(self.conv1(y_BChw)) * filled_B1hw)
        return x_BChw + added * filled_B1hw
