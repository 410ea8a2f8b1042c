"""A released model refitted to what its instruments are: the first stage stays, the second is made anew."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from segdepth_artefacts import open_store
from segdepth_artefacts.channels import STABLE
from segdepth_artefacts.manifest import File, Known, Manifest, SecondStage, TemperatureTable
from segdepth_artefacts.names import base_family
from segdepth_core.familiarity import FAMILIARITY
from segdepth_core.predictor import Predictor
from segdepth_core.second_reading import SECOND_STAGE, load_second_stage, save_second_stage
from segdepth_core.weights import WEIGHTS
from segdepth_training.fitting import model
from segdepth_training.fitting.examples import cell_of, load_examples, make_examples
from segdepth_training.fitting.pooling import fit_pooling
from segdepth_training.fitting.second_calibration import second_temperatures
from segdepth_training.fitting.second_stage import CHECKPOINT, Fit, fit
from segdepth_training.frames.exit_waves import Plan, load, simulate
from segdepth_training.machine.progress import bar
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.recipes.seeds import SeedRange
from segdepth_training.runs.workspace import Workspace

FIRST_STAGE = (WEIGHTS, FAMILIARITY)
"""What of a model stays as it is."""

MODEL = (*FIRST_STAGE, SECOND_STAGE, model.MANIFEST)
"""What of a released model is kept with a run. The manifest last: with it the model is complete."""

UNFITTED = TemperatureTable(dose=(1000.0,), temperature=(1.0,))


def adapt(workspace: Workspace, base: str, store: str, processes: int) -> None:
    """Fit the second stage for the workspace's recipe on `base` (FAMILY/CHANNEL or FAMILY/VERSION of the store).

    What is finished is not done again. ValueError where there is no such model, or where its training saw the
    specimens that the second stage would learn from.
    """
    keep_base(workspace, base, store)
    if workspace.model.read(model.MANIFEST) is None:
        simulate_all(workspace, processes)
        examine(workspace, processes)
        fit_second_stage(workspace)
    if not model.calibrated(Manifest.model_validate_json(workspace.model.read(model.MANIFEST) or "")):
        calibrate(workspace)


def keep_base(workspace: Workspace, base: str, store: str) -> None:
    """Copy the model to adapt into the run: it stays the same, whatever its channel points at later."""
    if workspace.base.read(model.MANIFEST) is None:
        artefacts = open_store(store)
        family, _, name = base.partition("/")
        channel = artefacts.channel(family, name or STABLE)
        if channel is None and name in ("", STABLE):
            raise ValueError(f"--model {base}: {family} has no stable version in {artefacts.url}")
        version = channel.version if channel else name
        with TemporaryDirectory(prefix="segdepth-") as cache, workspace.base.files() as folder:
            copy(artefacts.fetch(family, version, Path(cache)), folder, MODEL)
    with workspace.base.files() as folder:
        manifest = model.read(folder)
    if manifest.species != workspace.recipe.crystal.elements:
        ours, theirs = (", ".join(each) for each in (workspace.recipe.crystal.elements, manifest.species))
        raise ValueError(f"--model {base} counts columns of {theirs}, the recipe's crystal is of {ours}")
    if workspace.seeds["train"] in (manifest.seeds.get("train"), manifest.seeds.get("second_stage")):
        raise ValueError(
            f"{base} was trained on the specimens of run {workspace.run_id}; give another --run-id, or --work folder"
        )


def copy(source: Path, folder: Path, files: tuple[str, ...]) -> None:
    """Copy those of a model's files that it has, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if (source / file).exists():
            shutil.copyfile(source / file, folder / file)


def second_plan(workspace: Workspace) -> Plan:
    """The specimens that the second stage learns from."""
    recipe = workspace.recipe
    return Plan(recipe, SeedRange.TRAIN, workspace.seeds["train"], recipe.second_stage.specimens)


def simulate_all(workspace: Workspace, processes: int) -> None:
    """Fill the stores of exit waves with what they lack."""
    for purpose in (SeedRange.TRAIN, SeedRange.CALIBRATION, SeedRange.BENCHMARK):
        plan = second_plan(workspace) if purpose == SeedRange.TRAIN else workspace.plan(purpose)
        with bar(purpose.name.lower()) as progress:
            simulate(workspace.data(purpose), plan, progress, processes=processes)


def examine(workspace: Workspace, processes: int) -> None:
    """Let the first stage look at frames of the specimens."""
    with workspace.base.files() as folder, bar("examples") as progress:
        make_examples(
            folder,
            workspace.data(SeedRange.TRAIN),
            second_plan(workspace),
            workspace.examples,
            progress,
            max(1, processes),
        )


def fit_second_stage(workspace: Workspace) -> None:
    """Fit the second stage to the examples and write the model, uncalibrated."""
    recipe, train = workspace.recipe, workspace.storage / "train"
    cell = cell_of(recipe)
    run = Fit(recipe.second_stage, cell, len(recipe.crystal.elements), workspace.seeds["train"])
    with train.files() as folder, workspace.base.files() as base:
        if (folder / CHECKPOINT).exists():
            run.restore(folder)
        elif (before := load_second_stage(base, model.read(base), torch.device("cpu"))) is not None:
            run.start(before.network)

    def keep() -> None:
        with train.files() as folder:
            run.save(folder)

    with bar("second stage") as progress:
        network = fit(run, load_examples(workspace.examples, second_plan(workspace)), keep, progress)
    with workspace.base.files() as base, workspace.model.files() as folder:
        copy(base, folder, FIRST_STAGE)
        described = model.described(save_second_stage(network, folder))
        arguments = dict(recipe.second_stage.network)
        known = known_of(recipe)
        stage = SecondStage(cell=cell, arguments=arguments, known=known, on_lattice=UNFITTED, off_lattice=UNFITTED)
        draft(folder, workspace, model.read(base), {SECOND_STAGE: described}, stage)


def known_of(recipe: Recipe) -> Known:
    """What the model may assume of its instrument: a profile's ranges; nothing of the recipe's own instruments."""
    if base_family(recipe.family) == recipe.family:
        return Known()
    camera, microscope = recipe.camera, recipe.microscope
    return Known(contrast=camera.contrast, vibration_A=camera.vibration_A, defocus_A=microscope.defocus_A)


def draft(folder: Path, workspace: Workspace, base: Manifest, files: dict[str, File], stage: SecondStage) -> Manifest:
    """Write the manifest of a model whose second stage is new; how the base pools says nothing of it."""
    created = datetime.now(UTC).replace(microsecond=0)
    kept = {name: file for name, file in base.files.items() if name in FIRST_STAGE}
    start = workspace.recipe.training.model_copy(update={"start": f"{base.family} {base.version}"})
    manifest = base.model_copy(
        update={
            "family": workspace.recipe.family,
            "version": f"{created:%Y%m%d}-{files[SECOND_STAGE].sha256[:8]}",
            "created": created,
            "code_version": model.code_version(),
            "files": kept | files,
            "second_stage": stage,
            "pooling": None,
            "recipe": workspace.recipe.model_copy(update={"training": start}).model_dump(mode="json"),
            "seeds": base.seeds | {"second_stage": workspace.seeds["train"]},
        }
    )
    model.write(folder, manifest)
    return manifest


def calibrate(workspace: Workspace) -> None:
    """Fit the temperatures of the second stage, and how its posteriors pool."""
    purpose = SeedRange.CALIBRATION
    plan = workspace.plan(purpose)
    waves = load(workspace.data(purpose), plan, torch.device("cpu"))
    with workspace.model.files() as folder:
        manifest = model.read(folder)
        predictor = Predictor.load(folder, device="cpu", engine="torch-fp32", evaluated=False)
        second, stage = predictor.second, manifest.second_stage
        assert second is not None, "its weights were just written"
        assert stage is not None, "with them"
        with bar("calibration") as progress:
            on, off = second_temperatures(predictor, second.network, stage.cell, stage.known, waves, plan, progress)
        stage = stage.model_copy(update={"on_lattice": on, "off_lattice": off})
        model.write(folder, manifest.model_copy(update={"second_stage": stage}))
        with bar("pooling") as progress:
            fit_pooling(folder, waves, plan, progress)
