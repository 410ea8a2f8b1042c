"""Fitting of the second stage to examples, on whatever cores there are; resumable."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segdepth_artefacts.manifest import Cell, Known
from segdepth_core.second_stage import (
    PATCH_SIDE,
    SCALES,
    Evidence,
    SecondStage,
    Table,
    frame_features,
    known_numbers,
    means,
    table,
)
from segdepth_training.fitting.examples import Example
from segdepth_training.fitting.optimisation import NonFiniteLoss, follow
from segdepth_training.recipes.second_stage import SecondStage as Settings
from segdepth_training.recipes.seeds import SeedRange, generator

CHECKPOINT = "second-stage.pt"

CROPPED_SHARE = 0.4
"""Of the frames: what small frames show is learned from parts of large ones."""

SMALLEST_A = 18.0

BLURRED_SHARE, BLUR = 0.5, 0.15
"""Share of the frames whose patches get more noise, and its standard deviation."""

UNTOLD_SHARE = 0.5
"""Of the frames: nothing is known of their instrument."""

FULL = {"contrast": (0.4, 1.05), "vibration_A": (0.0, 0.6), "defocus_A": (0.0, 100.0)}
"""Conditions of which a known range is a random part."""

SPREAD_AT_LEAST = 1e-3
"""Of a frame's features."""

ATOMS = 5.0
"""Of a column, by and large."""

COMMON_WEIGHT = 0.3
"""Of what a frame's columns have in common, beside the loss of each: few frames teach it, many columns the other."""


def mirrored(evidence: Evidence, axis: int, cell: Cell) -> Evidence:
    """The evidence of the mirrored frame; `axis` is the side of the cell that is turned about."""
    sites_Q, shift_Q = mirror(cell, axis)
    cell_N2 = evidence.cell_N2.clone()
    cell_N2[:, axis] = shift_Q[evidence.site_N] - cell_N2[:, axis]
    patches = evidence.patches_NP.view(-1, PATCH_SIDE, PATCH_SIDE).flip(2 - axis).flatten(1)
    return replace(evidence, patches_NP=patches, site_N=sites_Q[evidence.site_N], cell_N2=cell_N2 - cell_N2.amin(0))


@cache
def mirror(cell: Cell, axis: int) -> tuple[Tensor, Tensor]:
    """The site that each becomes, and what its new cell and its old one have for a sum. ValueError without a mirror."""
    places = {(round(u % 1, 4) % 1, round(v % 1, 4) % 1, s): q for q, (u, v, s) in enumerate(cell.sites)}
    images, sums = [], []
    for site in cell.sites:
        turned = [site[0], site[1]]
        turned[axis] = -turned[axis]
        image = places.get((round(turned[0] % 1, 4) % 1, round(turned[1] % 1, 4) % 1, site[2]))
        if image is None:
            raise ValueError(f"crystal: its projection has no mirror along its side {axis + 1}")
        images.append(image)
        sums.append(-round(site[axis] + cell.sites[image][axis]))
    return torch.tensor(images), torch.tensor(sums)


def part(evidence: Evidence, keep_N: Tensor) -> Evidence:
    """Some of the columns."""
    cell_N2 = evidence.cell_N2[keep_N]
    columns = {
        name: getattr(evidence, name)[keep_N]
        for name in ("patches_NP", "posterior_NK", "species_N", "site_N", "edge_N")
    }
    return Evidence(**columns, cell_N2=cell_N2 - cell_N2.amin(0), dose=evidence.dose)


def drawn(one: Example, cell: Cell, numbers: np.random.Generator) -> tuple[Evidence, Tensor]:
    """The example as a step sees it: mirrored, cropped and with more noise, by chance; with its true classes."""
    evidence, true_N = one.evidence, one.true_N
    if numbers.random() < CROPPED_SHARE:
        keep_N = window(evidence, cell, numbers)
        evidence, true_N = part(evidence, keep_N), true_N[keep_N]
    for axis in range(2):
        if numbers.random() < 0.5:
            evidence = mirrored(evidence, axis, cell)
    if numbers.random() < BLURRED_SHARE:
        noise = torch.from_numpy(numbers.standard_normal(evidence.patches_NP.shape, np.float32))
        evidence = replace(evidence, patches_NP=evidence.patches_NP + BLUR * noise)
    return evidence, true_N


def window(evidence: Evidence, cell: Cell, numbers: np.random.Generator) -> Tensor:
    """Which columns are in a square around one of them; its side is drawn."""
    at_N2 = evidence.cell_N2.float() * torch.tensor(cell.sides_A)
    side_A = float(np.exp(numbers.uniform(np.log(SMALLEST_A), np.log(2 * SMALLEST_A))))
    middle = at_N2[int(numbers.integers(len(at_N2)))]
    return (at_N2 - middle).abs().amax(1) <= side_A / 2


def told(conditions: Known, numbers: np.random.Generator) -> Known:
    """What a caller may know of the instrument: nothing, or ranges in which the frame's conditions are."""
    if numbers.random() < UNTOLD_SHARE:
        return Known()
    ranges = {}
    for name in SCALES:
        value, (low, high) = getattr(conditions, name)[0], FULL[name]
        if numbers.random() < 0.7:
            width = numbers.random() * (high - low)
            start = max(min(low, value), value - width * numbers.random())
            ranges[name] = (start, max(value, min(high, start + width)))
    return Known(**ranges)


def common_numbers(seen: Table, true_N: Tensor, conditions: list[Known], species: int) -> Tensor:
    """Of each frame its conditions, and its columns' mean true count by species [B, conditions + species]."""
    mean_BS = means(true_N[:, None].float(), seen, species)[0].view(seen.frames, species) / ATOMS - 1
    scaled = [
        [(getattr(one, name)[0] - middle) / width for name, (middle, width) in SCALES.items()] for one in conditions
    ]
    return torch.cat([torch.tensor(scaled), mean_BS], 1)


class Fit:
    """The second stage on its way."""

    def __init__(self, settings: Settings, cell: Cell, species: int, seed: int):
        torch.manual_seed(seed)
        self.settings, self.cell, self.seed = settings, cell, seed
        self.network, self.average = (SecondStage(species, len(cell.sites), **settings.network) for _ in range(2))
        self.average.load_state_dict(self.network.state_dict())
        self.common = nn.Linear(self.network.frame.in_features, len(SCALES) + species)
        """Tells conditions and mean counts of a frame from its context; for the fit alone."""
        self.optimizer = torch.optim.AdamW(
            [*self.network.parameters(), *self.common.parameters()],
            settings.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=0.05,
        )
        self.step = 0
        self.standardised = False
        """Whether it is known what frames' features are like."""

    def start(self, network: SecondStage) -> None:
        """Begin with what another second stage knows. ValueError where it is of another shape."""
        try:
            for own in (self.network, self.average):
                own.load_state_dict(network.state_dict())
        except RuntimeError as error:
            raise ValueError(f"second_stage.network: not that of the model to adapt: {error}") from error
        self.standardised = True

    def standardise(self, examples: list[Example]) -> None:
        """Measure what frames' features are on average, and how they differ."""
        species = self.network.species
        seen = torch.cat([frame_features(table([one.evidence]), species) for one in examples])
        for network in (self.network, self.average):
            network.mean.copy_(seen.mean(0))
            network.spread.copy_(seen.std(0) + SPREAD_AT_LEAST)
        self.standardised = True

    def advance(self, examples: list[Example]) -> float:
        """One step; returns the loss [nats a column]. What is drawn depends on the seed and the step alone."""
        numbers = generator(SeedRange.TRAIN, self.seed, 10**7, self.step)
        some = [examples[i] for i in numbers.choice(len(examples), self.settings.batch, replace=False)]
        frames = [drawn(one, self.cell, numbers) for one in some]
        known_BC = torch.tensor([known_numbers(told(one.conditions, numbers)) for one in some])
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * schedule(self.step / self.settings.steps, self.step)
        seen, true_N = table([evidence for evidence, _ in frames]), torch.cat([true_N for _, true_N in frames])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(numbers.integers(2**62)))
            context_BC = self.network.context(self.network.gathered(seen), known_BC)
        columns = F.cross_entropy(self.network.read(seen, context_BC), true_N)
        wanted_BC = common_numbers(seen, true_N, [one.conditions for one in some], self.network.species)
        loss = columns + COMMON_WEIGHT * F.mse_loss(self.common(context_BC), wanted_BC)
        if not bool(torch.isfinite(loss)):
            raise NonFiniteLoss(f"loss is {float(loss)} at step {self.step}; lower second_stage.learning_rate")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        follow(self.average, self.network, self.settings.average, self.step)
        return float(columns.detach())

    def save(self, folder: Path) -> None:
        """Write a checkpoint, complete or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / (CHECKPOINT + ".partial")
        state = {name: getattr(self, name).state_dict() for name in ("network", "average", "common", "optimizer")}
        torch.save({**state, "step": self.step}, partial)
        partial.replace(folder / CHECKPOINT)

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint that `save` wrote."""
        state = torch.load(folder / CHECKPOINT, weights_only=True)
        for name in ("network", "average", "common", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.standardised = state["step"], True


def schedule(done: float, step: int) -> float:
    """Share of the learning rate: a short rise, then a cosine down to a fiftieth."""
    return min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def fit(
    run: Fit, examples: list[Example], keep: Callable[[], None], progress: Callable[[int, int, dict[str, float]], None]
) -> SecondStage:
    """Steps up to the recipe's number; `keep()` stores a checkpoint from time to time. Returns the average."""
    if not run.standardised:
        run.standardise(examples)
    losses: list[float] = []
    began, first = time.monotonic(), run.step
    while run.step < run.settings.steps:
        losses = [*losses[-49:], run.advance(examples)]
        if run.step % run.settings.checkpoint_every == 0 or run.step == run.settings.steps:
            keep()
        if run.step % 20 == 0 or run.step == run.settings.steps:
            rate = (run.step - first) / (time.monotonic() - began)
            progress(run.step, run.settings.steps, {"loss": float(np.mean(losses)), "steps_per_s": rate})
    return run.average.eval()
