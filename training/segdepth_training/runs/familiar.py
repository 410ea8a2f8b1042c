"""Teaching a run's model what is foreign to it, from the run's own exit waves."""

import torch

from segdepth_training.fitting.familiarity import MOST_TRAINED, Waves, familiarise, sources
from segdepth_training.frames.exit_waves import Plan, load
from segdepth_training.machine.progress import bar
from segdepth_training.recipes.seeds import SeedRange
from segdepth_training.runs.workspace import Workspace


def familiarise_model(workspace: Workspace, trained: Plan, *, instruments: bool = False) -> None:
    """Fit it to the specimens that calibrate, some of those `trained` on, and strangers.

    With `instruments` a share of all frames is of those that the recipe's second stage names.
    """
    calibrating, cpu = workspace.plan(SeedRange.CALIBRATION), torch.device("cpu")
    some = range(min(trained.specimens, MOST_TRAINED))
    looked_at = sources(
        Waves(load(workspace.data(SeedRange.CALIBRATION), calibrating, cpu), calibrating),
        Waves(load(workspace.data(SeedRange.TRAIN), trained, cpu, some), trained),
        Waves(load(workspace.strangers_data, workspace.strangers, cpu), workspace.strangers),
        instruments=instruments,
    )
    with workspace.model.files() as folder, bar("familiarity") as progress:
        familiarise(folder, looked_at, progress)
