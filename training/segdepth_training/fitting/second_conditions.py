"""Fitting of what tells how a frame was taken: value and error of each condition, from the context of its columns."""

from collections.abc import Callable

import torch
from torch import Tensor

from segdepth_artefacts.manifest import Cell, Known
from segdepth_core.second_stage import SCALES, SecondStage, known_numbers, table
from segdepth_training.fitting.examples import Example
from segdepth_training.fitting.second_stage import drawn
from segdepth_training.recipes.seeds import SeedRange, generator

STEPS, BATCH, LEARNING_RATE = 1500, 256, 2e-3
VIEWS = 2
"""Of each example: as it is, and as a step of the fit sees it, which may be a part of it."""

NOISE = 0.05
"""Standard deviation that contexts get at each step: those of the examples are known too well."""


def fit_conditions(
    network: SecondStage, examples: list[Example], cell: Cell, seed: int, progress: Callable[[int, int], None]
) -> None:
    """Fit `network.conditions` alone, to the likelihood of normal errors; all else stays as it is."""
    context_BC, true_BC = contexts(network, examples, cell, seed, progress)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        optimizer = torch.optim.AdamW(network.conditions.parameters(), LEARNING_RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            some = torch.randint(len(context_BC), (BATCH,))
            seen_BC = context_BC[some] + NOISE * torch.randn(BATCH, context_BC.shape[1])
            value_BC, log_error_BC = network.judge(seen_BC)
            loss = (log_error_BC + 0.5 * ((true_BC[some] - value_BC) * torch.exp(-log_error_BC)).square()).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def contexts(
    network: SecondStage, examples: list[Example], cell: Cell, seed: int, progress: Callable[[int, int], None]
) -> tuple[Tensor, Tensor]:
    """Contexts of all examples to one who knows nothing [B, C], and their conditions in widths [B, conditions]."""
    untold_1C = torch.tensor([known_numbers(Known())])
    found, true = [], []
    for number, one in enumerate(examples):
        wanted = [(getattr(one.conditions, name)[0] - middle) / width for name, (middle, width) in SCALES.items()]
        for view in range(VIEWS):
            numbers = generator(SeedRange.TRAIN, seed, 10**7 + 1, number)
            evidence = drawn(one, cell, numbers)[0] if view else one.evidence
            found.append(network.context(network.gathered(table([evidence])), untold_1C)[0])
            true.append(wanted)
        progress(number + 1, len(examples))
    return torch.stack(found).clone(), torch.tensor(true)
