"""Temperatures of the second stage: on the lattice its own, off it those of the first stage's answers there."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segdepth_artefacts.manifest import Cell, Known, TemperatureTable
from segdepth_core.predictor import Predictor
from segdepth_core.scoring import BORDER_A, inside
from segdepth_core.second_stage import SecondStage, known_numbers, table
from segdepth_training.fitting.calibrate import fitted_temperature
from segdepth_training.fitting.examples import look, widened
from segdepth_training.frames.exit_waves import ExitWaves, Plan
from segdepth_training.frames.imaging import Exposure, Optics
from segdepth_training.frames.observation import Observation, doses, observe
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.recipes.seeds import generator

EVERY = 4
"""Of the specimens one in so many is seen at each dose, others at the next."""

FEWEST = 2000
"""Columns that a temperature is fitted to, at least."""


class Sample(NamedTuple):
    """Of one frame: its measured dose, and logits and true classes of columns on the lattice and off it."""

    dose: float
    on_NK: Tensor
    on_true_N: Tensor
    off_NK: Tensor
    off_true_N: Tensor


def observations(waves: ExitWaves, plan: Plan) -> Iterator[tuple[float, Observation]]:
    """Frames by stated dose, of the recipe's instruments and of those that differ."""
    for number, dose in enumerate(doses(plan.recipe.calibration)):
        for index in range(waves.first + number % EVERY, waves.first + len(waves), EVERY):
            seed = int(generator(plan.purpose, plan.seed, index, 3, number).integers(2**62))
            numbers = torch.Generator().manual_seed(seed)
            yield dose, observe(waves, plan, index, dose, alter=partial(_altered, plan.recipe, numbers))


def _altered(recipe: Recipe, numbers: torch.Generator, optics: Optics, exposure: Exposure) -> tuple[Optics, Exposure]:
    return optics, widened(exposure, recipe.second_stage, numbers)


def sample(predictor: Predictor, network: SecondStage, cell: Cell, known: Known, frame: Observation) -> Sample:
    """What both stages say of one frame."""
    seen = look(predictor, cell, frame.frame, frame.sampling_A, frame.columns)
    inner_N = torch.from_numpy(inside(seen.xy_px, frame.frame.shape, BORDER_A / frame.sampling_A))
    on_N, off_N = seen.on_lattice_N & inner_N, ~seen.on_lattice_N & inner_N
    logits_NK = torch.zeros_like(seen.reading.depth_NK)
    if seen.evidence is not None:
        logits_NK[seen.on_lattice_N] = network(table([seen.evidence]), torch.tensor([known_numbers(known)]))
    return Sample(seen.dose, logits_NK[on_N], seen.true_N[on_N], seen.reading.depth_NK[off_N], seen.true_N[off_N])


def second_temperatures(
    predictor: Predictor,
    network: SecondStage,
    cell: Cell,
    known: Known,
    waves: ExitWaves,
    plan: Plan,
    progress: Callable[[int, int], None],
) -> tuple[TemperatureTable, TemperatureTable]:
    """On the lattice and off it; `predictor` is of the first stage alone."""
    groups: dict[float, list[Sample]] = {}
    total = len(doses(plan.recipe.calibration)) * len(waves) // EVERY
    with torch.inference_mode():
        for number, (dose, frame) in enumerate(observations(waves, plan)):
            groups.setdefault(dose, []).append(sample(predictor, network, cell, known, frame))
            progress(min(number + 1, total), total)
    return fitted(list(groups.values()), "on"), fitted(list(groups.values()), "off")


def fitted(groups: list[list[Sample]], where: str) -> TemperatureTable:
    """Temperatures of groups in order of dose; one with too few columns goes together with the next."""
    nodes: dict[float, float] = {}
    for group in together(groups, where):
        logits_NK = torch.cat([getattr(one, f"{where}_NK") for one in group])
        true_N = torch.cat([getattr(one, f"{where}_true_N") for one in group])
        dose = float(np.exp(np.mean([np.log(one.dose) for one in group])))
        nodes[dose] = fitted_temperature(logits_NK, true_N) if len(true_N) else 1.0
    ordered = sorted(nodes.items())
    return TemperatureTable(dose=tuple(d for d, _ in ordered), temperature=tuple(t for _, t in ordered))


def together(groups: list[list[Sample]], where: str) -> list[list[Sample]]:
    """Groups of enough columns each, as far as there are; the last ones go with those before."""
    joined: list[list[Sample]] = [[]]
    for group in groups:
        if _columns(joined[-1], where) >= FEWEST:
            joined.append([])
        joined[-1] += group
    if len(joined) > 1 and _columns(joined[-1], where) < FEWEST:
        last = joined.pop()
        joined[-1] += last
    return joined


def _columns(group: list[Sample], where: str) -> int:
    return sum(len(getattr(one, f"{where}_true_N")) for one in group)
