"""Teaching a run's model what is foreign to it, from the run's own exit waves."""

from segdepth_training.fitting.familiarity import MOST_TRAINED, Waves, familiarise, sources
from segdepth_training.frames.exit_waves import Plan
from segdepth_training.machine.progress import bar
from segdepth_training.recipes.seeds import SeedRange
from segdepth_training.runs.workspace import Workspace


def familiarise_model(workspace: Workspace, trained: Plan, *, instruments: bool = False, processes: int = 1) -> None:
    """Fit it to the specimens that calibrate, some of those `trained` on, and strangers.

    With `instruments` a share of all frames is of those that the recipe's second stage names.
    """
    calibrating, strange = workspace.plan(SeedRange.CALIBRATION), workspace.strangers
    looked_at = sources(
        Waves(workspace.data(SeedRange.CALIBRATION), calibrating, calibrating.specimens),
        Waves(workspace.data(SeedRange.TRAIN), trained, min(trained.specimens, MOST_TRAINED)),
        Waves(workspace.strangers_data, strange, strange.specimens),
        instruments=instruments,
    )
    with workspace.model.files() as folder, bar("familiarity") as progress:
        familiarise(folder, looked_at, progress, processes)
