"""The training loop that every worker runs, in this process or under Ray Train."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch.utils.tensorboard import SummaryWriter

from segdepth_training.fitting.optimisation import Optimisation
from segdepth_training.frames.batches import draw_batch
from segdepth_training.frames.exit_waves import ExitWaves, Plan, load
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.recipe import Recipe, Training
from segdepth_training.recipes.seeds import SeedRange, generator

Progress = Callable[[int, int, dict[str, float]], None]
LOG_EVERY = 20
CHECK_EVERY = 50
"""Steps after which the loss is looked at, besides every checkpoint: looking waits for the device."""


@dataclass(frozen=True)
class Run:
    """One training run: the recipe, the exit waves it reads, the place it writes to, and its seed."""

    recipe: Recipe
    data: Storage
    storage: Storage
    seed: int
    minutes: float | None = None
    """Stop, with a checkpoint, after this long."""
    start: Storage | None = None
    """The released model to start from."""

    @property
    def plan(self) -> Plan:
        """What `data` holds."""
        return Plan(self.recipe, SeedRange.TRAIN, self.seed, self.recipe.train_specimens)


def step_generator(run: Run, rank: int, step: int, device: torch.device) -> torch.Generator:
    """The random numbers of one step: a resumed run draws what an unbroken one would have drawn."""
    seed = int(generator(SeedRange.TRAIN, run.seed, 10**6 + rank, step).integers(2**62))
    return torch.Generator(device).manual_seed(seed)


def fast_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def begun(run: Run, device: torch.device) -> Optimisation:
    """The first step's network and optimiser. ValueError where the model to start from is of another network."""
    with run.start.files() if run.start else nullcontext() as folder:
        return Optimisation(run.recipe.training, run.seed, device, folder)


def agreed(mine: bool) -> bool:
    """Whether any worker says so: workers that stopped at different steps would wait for each other for ever."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return mine
    said = torch.tensor(int(mine), device=fast_device())
    torch.distributed.all_reduce(said, torch.distributed.ReduceOp.MAX)
    return bool(said)


def loop(
    run: Run,
    optimisation: Optimisation,
    rank: int,
    keep: Callable[[dict[str, float]], None],
    progress: Progress,
) -> None:
    """Steps until the recipe's number is reached; `keep(metrics)` stores a checkpoint from time to time.

    Raises NonFiniteLoss, before a checkpoint holds what is not a number.
    """
    settings: Training = run.recipe.training
    if optimisation.step >= settings.steps:
        return
    data: ExitWaves = load(run.data, run.plan, optimisation.device)
    watched = rank == 0 and not run.storage.remote  # TensorBoard writes files alone.
    writer = SummaryWriter(run.storage.folder / "tensorboard") if watched else None
    started, imaging_s, metrics = time.monotonic(), 0.0, {}
    first = optimisation.step
    while optimisation.step < settings.steps:
        before = time.monotonic()
        numbers = step_generator(run, rank, optimisation.step, optimisation.device)
        easy = optimisation.step < settings.easy_share * settings.steps
        batch = draw_batch(data, run.recipe, numbers, easy=easy)
        imaging_s += time.monotonic() - before
        losses = optimisation.advance(batch)
        step = optimisation.step
        out_of_time = run.minutes is not None and agreed(time.monotonic() - started > run.minutes * 60)
        keeps = step % settings.checkpoint_every == 0 or step == settings.steps or out_of_time
        if keeps or step % CHECK_EVERY == 0:
            optimisation.check(losses)
        if step % LOG_EVERY == 0 or step == settings.steps:
            metrics = {name: float(value) for name, value in losses.items()}
            elapsed = time.monotonic() - started
            metrics |= {"steps_per_s": (step - first) / elapsed, "imaging_share": imaging_s / elapsed}
            progress(step, settings.steps, metrics)
            if writer is not None:
                for name, value in metrics.items():
                    writer.add_scalar(name, value, step)
        if keeps:
            keep(metrics)
        if out_of_time:
            break
    if writer is not None:
        writer.close()
