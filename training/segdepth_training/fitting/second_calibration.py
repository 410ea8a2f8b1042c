"""Temperatures of the second stage (on the lattice its own, off it those of the first stage's answers there), and how
far the conditions that it measures are from the true ones.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segdepth_artefacts.manifest import Known, TemperatureTable
from segdepth_artefacts.manifest import SecondStage as Description
from segdepth_core.conditions import measured
from segdepth_core.predictor import Predictor
from segdepth_core.scoring import BORDER_A, inside
from segdepth_core.second_stage import SCALES, SecondStage, known_numbers, table
from segdepth_training.fitting.calibrate import fitted_temperature
from segdepth_training.fitting.examples import conditions_of, look, widening
from segdepth_training.frames.exit_waves import ExitWaves, Plan
from segdepth_training.frames.imaging import Exposure, Optics
from segdepth_training.frames.observation import Alter, Observation, doses, observe
from segdepth_training.recipes.seeds import generator

EVERY = 4
"""Of the specimens one in so many is seen at each dose, others at the next."""

WITHIN = 0.683
"""Share of what is normally distributed that lies within one standard error."""

LEAST_FACTOR = 0.1
"""Of an error: few frames may all be right by chance."""

FEWEST = 2000
"""Columns that a temperature is fitted to, at least."""


class Sample(NamedTuple):
    """Of one frame: its measured dose, and logits and true classes of columns on the lattice and off it."""

    dose: float
    on_NK: Tensor
    on_true_N: Tensor
    off_NK: Tensor
    off_true_N: Tensor
    deviations: dict[str, float]
    """Of each condition measured from the true one, in errors stated; empty without a lattice."""


def observations(waves: ExitWaves, plan: Plan) -> Iterator[tuple[float, Observation, Known]]:
    """Frames by stated dose, of the recipe's instruments and of those that differ, and how they were taken."""
    for number, dose in enumerate(doses(plan.recipe.calibration)):
        for index in range(waves.first + number % EVERY, waves.first + len(waves), EVERY):
            seed = int(generator(plan.purpose, plan.seed, index, 3, number).integers(2**62))
            numbers = torch.Generator().manual_seed(seed)
            taken: list[Known] = []
            alter = partial(_noted, widening(plan.recipe.second_stage, numbers), taken)
            frame = observe(waves, plan, index, dose, alter=alter)
            yield dose, frame, taken[0]


def _noted(alter: Alter, taken: list[Known], optics: Optics, exposure: Exposure) -> tuple[Optics, Exposure]:
    optics, exposure = alter(optics, exposure)
    taken.append(conditions_of(optics, exposure))
    return optics, exposure


def sample(predictor: Predictor, network: SecondStage, stage: Description, frame: Observation, taken: Known) -> Sample:
    """What both stages say of one frame."""
    seen = look(predictor, stage.cell, frame.frame, frame.sampling_A, frame.columns)
    inner_N = torch.from_numpy(inside(seen.xy_px, frame.frame.shape, BORDER_A / frame.sampling_A))
    on_N, off_N = seen.on_lattice_N & inner_N, ~seen.on_lattice_N & inner_N
    logits_NK = torch.zeros_like(seen.reading.depth_NK)
    deviations: dict[str, float] = {}
    if seen.evidence is not None:
        together = table([seen.evidence])
        logits_NK[seen.on_lattice_N] = network(together, torch.tensor([known_numbers(stage.known)]))
        conditions = measured(network, network.gathered(together), dict.fromkeys(SCALES, 1.0))
        assert conditions is not None, "every factor is there"
        for name in SCALES:
            found = getattr(conditions, name)
            deviations[name] = (found.value - getattr(taken, name)[0]) / found.error
    return Sample(
        seen.dose,
        logits_NK[on_N],
        seen.true_N[on_N],
        seen.reading.depth_NK[off_N],
        seen.true_N[off_N],
        deviations,
    )


def look_at(
    predictor: Predictor,
    network: SecondStage,
    stage: Description,
    waves: ExitWaves,
    plan: Plan,
    progress: Callable[[int, int], None],
) -> list[list[Sample]]:
    """Of the calibration's frames by dose; `predictor` is of the first stage alone."""
    groups: dict[float, list[Sample]] = {}
    total = len(doses(plan.recipe.calibration)) * len(waves) // EVERY
    with torch.inference_mode():
        for number, (dose, frame, taken) in enumerate(observations(waves, plan)):
            groups.setdefault(dose, []).append(sample(predictor, network, stage, frame, taken))
            progress(min(number + 1, total), total)
    return list(groups.values())


def error_factors(groups: list[list[Sample]]) -> dict[str, float]:
    """By what the errors stated of each condition are too small: two thirds of all are within as many of them.

    No frame is weighted by how far it is off: one whose lattice was mistaken says nothing of the others. Empty where
    no frame has a lattice.
    """
    seen = [one.deviations for group in groups for one in group if one.deviations]
    if not seen:
        return {}
    return {name: max(LEAST_FACTOR, float(np.quantile([abs(one[name]) for one in seen], WITHIN))) for name in SCALES}


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
