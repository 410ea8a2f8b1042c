"""segdepth-train baseline: train, calibrate and write the networks that models are compared with.

A baseline's folder is a model's, but for its domain: nothing is refused, so that no refusal counts against it.
"""

import shutil
from pathlib import Path

import torch

from segdepth_artefacts.manifest import Domain, Manifest, Network
from segdepth_core.predictor import Predictor
from segdepth_core.weights import WEIGHTS, save_weights
from segdepth_training.benchmark.denoising import DENOISER, SEGMENTED_BY, denoising, load_denoiser, train
from segdepth_training.fitting import model
from segdepth_training.fitting.calibrate import temperatures
from segdepth_training.frames.exit_waves import load
from segdepth_training.machine.progress import bar, say
from segdepth_training.recipes.seeds import SeedRange
from segdepth_training.runs import steps
from segdepth_training.runs.workspace import Workspace

REGRESSION = "regression"
KINDS = (REGRESSION, DENOISER)
"""Each is the name of its folder, too."""


def make_regression(workspace: Workspace, store: str, out: Path) -> None:
    """Train the recipe's network, if that is not done, and write it calibrated to `out`."""
    if not steps.train_model(workspace, store):
        return
    with workspace.model.files() as folder:
        manifest = ungated(model.read(folder))
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / WEIGHTS, out / WEIGHTS)
    model.write(out, manifest)
    predictor = Predictor.load(out, device="cpu", engine="torch-fp32", evaluated=False)
    finish(workspace, out, manifest, predictor)


def make_denoiser(workspace: Workspace, segments: Path, out: Path) -> None:
    """Train the recipe's denoiser, unless `out` has one, and write it to `out`, calibrated before `segments`' model."""
    if not (out / WEIGHTS).exists():
        purpose = SeedRange.TRAIN
        with bar("denoiser") as progress:
            waves = load(workspace.data(purpose), workspace.plan(purpose), torch.device("cpu"))
            trained = train(waves, workspace.recipe, workspace.seeds["train"], progress)
        out.mkdir(parents=True, exist_ok=True)
        save_weights(trained, out / WEIGHTS)
    manifest = described(workspace, segments, out)
    model.write(out, manifest)
    finish(workspace, out, manifest, denoising(load_denoiser(out), segments, manifest))


def described(workspace: Workspace, segments: Path, out: Path) -> Manifest:
    """The manifest of the denoiser's weights in `out`, before calibration."""
    recipe = workspace.recipe
    manifest = ungated(model.draft(out, recipe, workspace.seeds))
    network = Network(kind=DENOISER, arguments=dict(recipe.training.network))
    said = {**manifest.recipe, SEGMENTED_BY: model.read(segments).weights_sha256}
    return manifest.model_copy(update={"network": network, "engines": (), "recipe": said})


def ungated(manifest: Manifest) -> Manifest:
    """The manifest of a network that answers everything."""
    weights = {WEIGHTS: manifest.files[WEIGHTS]}
    return manifest.model_copy(update={"files": weights, "domain": Domain(description="", checks={}), "pooling": None})


def finish(workspace: Workspace, out: Path, manifest: Manifest, predictor: Predictor) -> None:
    """Fit the temperatures on the calibration specimens and write them to the manifest in `out`."""
    purpose = SeedRange.CALIBRATION
    with bar("calibration") as progress:
        calibration, _ = temperatures(
            predictor, workspace.data(purpose), workspace.plan(purpose), workspace.recipe.calibration, progress
        )
    model.write(out, manifest.model_copy(update={"calibration": calibration}))
    say(f"wrote {out}")
