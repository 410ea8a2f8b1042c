"""The steps of a run, each of which does only what is not done yet. All but training may run on another machine."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from segdepth_artefacts import open_store
from segdepth_artefacts.channels import STABLE
from segdepth_artefacts.manifest import Manifest
from segdepth_training.machine.progress import bar, say
from segdepth_training.recipes.seeds import SeedRange
from segdepth_training.runs.workspace import Workspace, stable_family


def simulate_all(workspace: Workspace, processes: int, device: str | None = None) -> None:
    """Fill the stores of exit waves with what they lack."""
    from segdepth_training.frames.exit_waves import simulate

    for purpose in (SeedRange.TRAIN, SeedRange.CALIBRATION, SeedRange.BENCHMARK):
        with bar(purpose.name.lower()) as progress:
            simulate(workspace.data(purpose), workspace.plan(purpose), progress, processes=processes, device=device)
    with bar("strangers") as progress:
        simulate(workspace.strangers_data, workspace.strangers, progress, processes=processes, device=device)


def train_model(workspace: Workspace, store: str, minutes: float | None = None) -> bool:
    """Train to the recipe's last step and write the weights, unless that is done already; False if time was up."""
    from segdepth_training.fitting import model
    from segdepth_training.fitting.optimisation import steps_done
    from segdepth_training.fitting.train import train

    if workspace.model.read(model.MANIFEST) is not None:
        return True
    refuse_leaks(workspace)
    origin = keep_start(workspace, store)
    with bar("training") as progress:
        checkpoint = train(workspace.run(minutes), progress)
    with checkpoint.files() as trained:
        done, steps = steps_done(trained), workspace.recipe.training.steps
        if done < steps:
            say(f"stopped at step {done} of {steps}; the same command goes on from there")
            return False
        with workspace.model.files() as folder:
            model.export_weights(trained, workspace.recipe, folder)
            model.draft(folder, workspace.recipe, workspace.seeds, origin)
    return True


def refuse_leaks(workspace: Workspace) -> None:
    """ValueError where a specimen to train on is one to calibrate or to evaluate on, too."""
    from segdepth_training.frames.leakage import refuse_shared

    purposes = (SeedRange.TRAIN, SeedRange.CALIBRATION, SeedRange.BENCHMARK)
    refuse_shared({purpose.name.lower(): workspace.data(purpose) for purpose in purposes})


def check_start(workspace: Workspace, store: str) -> None:
    """ValueError where the model that training starts from is not there or has another network.

    For the beginning of a run, whose simulation takes hours; of no concern once it is trained.
    """
    from segdepth_training.fitting import model
    from segdepth_training.fitting.optimisation import started

    if workspace.start is None or workspace.model.read(model.MANIFEST) is not None:
        return
    keep_start(workspace, store)
    if workspace.start.read(model.MANIFEST) is None:
        raise ValueError(f'training.start = "{workspace.recipe.training.start}": no released model is there')
    with workspace.start.files() as folder:
        started(folder, workspace.recipe.training)


def keep_start(workspace: Workspace, store: str) -> str | None:
    """Keep the model that training starts from with the run, so that every worker and every later driver has the same.

    Returns its name, None for random weights. ValueError where there is no such model.
    """
    from segdepth_training.fitting import model

    start, family = workspace.recipe.training.start, stable_family(workspace.recipe)
    if start is None or workspace.start is None:
        return None
    if family is None and not workspace.storage.remote:
        return start
    if (known := workspace.start.read(model.MANIFEST)) is None:
        if family is not None:
            artefacts = open_store(store)
            channel = artefacts.channel(family, STABLE)
            if channel is None:
                raise ValueError(
                    f'training.start = "{start}": {family} has no stable version in {artefacts.url}; release one first,'
                    " or leave the field out to begin with random weights"
                )
            with TemporaryDirectory(prefix="segdepth-") as cache:
                _copy(artefacts.fetch(family, channel.version, Path(cache)), workspace)
        elif not (Path(start) / model.MANIFEST).exists():
            raise ValueError(f'training.start = "{start}": no released model is there')
        else:
            _copy(Path(start), workspace)
        known = workspace.start.read(model.MANIFEST)
    assert known is not None, "it was just written"
    manifest = Manifest.model_validate_json(known)
    return f"{manifest.family} {manifest.version}"


def _copy(model_folder: Path, workspace: Workspace) -> None:
    from segdepth_core.weights import WEIGHTS
    from segdepth_training.fitting import model

    assert workspace.start is not None, "there is a model to start from"
    with workspace.start.files() as folder:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (WEIGHTS, model.MANIFEST):  # The manifest last: with it the model is complete.
            shutil.copyfile(model_folder / name, folder / name)


def calibrate_model(workspace: Workspace) -> None:
    """Teach the model in the making what is foreign to it, calibrate its probabilities, and fit how they pool."""
    from segdepth_training.fitting import model
    from segdepth_training.fitting.calibrate import calibrate
    from segdepth_training.fitting.pooling import fit_pooling
    from segdepth_training.frames.exit_waves import load
    from segdepth_training.runs.familiar import familiarise_model

    purpose, cpu = SeedRange.CALIBRATION, torch.device("cpu")
    known = workspace.plan(purpose)
    with workspace.model.files() as folder:
        model.read(folder)  # Says that training comes first, before exit waves are asked for.
    familiarise_model(workspace, workspace.plan(SeedRange.TRAIN))
    with workspace.model.files() as folder, bar("calibration") as progress:
        calibrate(folder, workspace.data(purpose), known, workspace.recipe.calibration, progress)
    with workspace.model.files() as folder, bar("pooling") as progress:
        fit_pooling(folder, load(workspace.data(purpose), known, cpu), known, progress)


def is_calibrated(workspace: Workspace) -> bool:
    """Whether calibration is done."""
    from segdepth_training.fitting import model

    text = workspace.model.read(model.MANIFEST)
    return text is not None and model.calibrated(Manifest.model_validate_json(text))


def evaluate_model(workspace: Workspace, store: str | None = None, processes: int = 1) -> dict[str, Any]:
    """Evaluate the model in the making; with a store also the family's present stable version, on the same frames."""
    from segdepth_training.judging.evaluate import evaluate

    refuse_leaks(workspace)
    purpose, recipe = SeedRange.BENCHMARK, workspace.recipe
    data, plan = workspace.data(purpose), workspace.plan(purpose)
    with workspace.model.files() as folder, rival(workspace, store) as other, bar("evaluation") as progress:
        return evaluate(folder, data, plan, recipe.benchmark, recipe.gates, progress, other, processes)


@contextmanager
def rival(workspace: Workspace, store: str | None) -> Iterator[Any]:
    """The family's present stable version to compare with; None without a store or a stable version."""
    from segdepth_training.judging.evaluate import Rival

    family = workspace.recipe.family
    artefacts = open_store(store) if store else None
    channel = artefacts.channel(family, STABLE) if artefacts else None
    if artefacts is None or channel is None:
        yield None
        return
    with TemporaryDirectory(prefix="segdepth-") as cache:
        folder = artefacts.fetch(family, channel.version, Path(cache))
        yield Rival(folder, channel.version, workspace.run_id)


def read_report(workspace: Workspace) -> dict[str, Any] | None:
    """The report on the model in the making, if there is one."""
    import json

    from segdepth_artefacts.names import REPORT

    text = workspace.model.read(REPORT)
    return dict(json.loads(text)) if text else None


def release_model(workspace: Workspace, store: str, principal: str) -> None:
    """Release the model in the making to `stable`, through its recipe's gates."""
    from segdepth_artefacts.names import REPORT
    from segdepth_training.runs.release import release

    report = read_report(workspace)
    if report is None:
        raise FileNotFoundError(f"{workspace.model / REPORT} is missing; run segdepth-train evaluate first")
    with workspace.model.files() as folder:
        manifest = release(folder, open_store(store), workspace.recipe.gates, report, principal=principal)
    say(f"released {manifest.family} {manifest.version} to {store}")
