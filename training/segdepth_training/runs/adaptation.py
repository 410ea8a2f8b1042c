"""A released model refitted to what its instruments are: the first stage stays, the second is made anew."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from segdepth_artefacts import open_store
from segdepth_artefacts.channels import STABLE
from segdepth_artefacts.manifest import File, Known, Manifest, TemperatureTable
from segdepth_artefacts.manifest import SecondStage as Description
from segdepth_artefacts.names import base_family
from segdepth_core.familiarity import FAMILIARITY
from segdepth_core.predictor import Predictor
from segdepth_core.second_reading import SECOND_STAGE, load_second_stage, save_second_stage
from segdepth_core.second_stage import SecondStage
from segdepth_core.weights import WEIGHTS
from segdepth_training.fitting import model
from segdepth_training.fitting.examples import cell_of, load_examples, make_examples
from segdepth_training.fitting.pooling import fit_pooling
from segdepth_training.fitting.second_calibration import error_factors, fitted, look_at
from segdepth_training.fitting.second_conditions import fit_conditions
from segdepth_training.fitting.second_stage import CHECKPOINT, Fit, fit
from segdepth_training.frames.exit_waves import Plan, load, simulate
from segdepth_training.machine.progress import bar
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.recipes.seeds import SeedRange
from segdepth_training.runs.familiar import familiarise_model
from segdepth_training.runs.workspace import Workspace

FIRST_STAGE = (WEIGHTS, FAMILIARITY)
"""What of a model is there before its second stage."""

MODEL = (*FIRST_STAGE, SECOND_STAGE, model.MANIFEST)
"""What of a released model is kept with a run. The manifest last: with it the model is complete."""

UNFITTED = TemperatureTable(dose=(1000.0,), temperature=(1.0,))
UNCALIBRATED: dict[str, Any] = {"on_lattice": UNFITTED, "off_lattice": UNFITTED, "error_factors": {}}


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers too small for a full mantissa count as zero.

    Gradients of what is learned already become such, and a step takes twice as long. Threads inherit it from the one
    that starts them, so that it has to come before the first ones.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@flushed_denormals()
def adapt(workspace: Workspace, base: str, store: str, processes: int, *, told: bool = False) -> None:
    """Fit the second stage for the workspace's recipe on `base` (FAMILY/CHANNEL or FAMILY/VERSION of the store).

    With `told` nothing is fitted: the base's own second stage is told the profile's ranges and calibrated within them.
    What is finished is not done again. ValueError where there is no such model, where its training saw the specimens
    that the second stage would learn from, or where it cannot be told the profile.
    """
    keep_base(workspace, base, store)
    # All of it before the first threads of torch, which do not survive a fork.
    simulate_all(workspace, told, processes)
    if workspace.model.read(model.MANIFEST) is None:
        if told:
            tell(workspace)
        else:
            examine(workspace, processes)
            fit_second_stage(workspace)
    if not model.calibrated(Manifest.model_validate_json(workspace.model.read(model.MANIFEST) or "")):
        if not told:
            familiarise_model(workspace, second_plan(workspace), instruments=True, processes=processes)
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


def simulate_all(workspace: Workspace, told: bool, processes: int) -> None:
    """Fill the stores of exit waves with what they lack; where nothing is fitted, with what calibrates and judges."""
    plans = {purpose: workspace.plan(purpose) for purpose in (SeedRange.CALIBRATION, SeedRange.BENCHMARK)}
    wanted = [(purpose.name.lower(), workspace.data(purpose), plan) for purpose, plan in plans.items()]
    if not told:
        wanted.append(("train", workspace.data(SeedRange.TRAIN), second_plan(workspace)))
        wanted.append(("strangers", workspace.strangers_data, workspace.strangers))
    for name, data, plan in wanted:
        with bar(name) as progress:
            simulate(data, plan, progress, processes=processes)


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

    known = load_examples(workspace.examples, second_plan(workspace))
    with bar("second stage") as progress:
        network = fit(run, known, keep, progress)
    with bar("conditions") as progress:
        fit_conditions(network, known, cell, workspace.seeds["train"], progress)
    write(workspace, network, Description(cell=cell, arguments=dict(recipe.second_stage.network), **UNCALIBRATED))


def tell(workspace: Workspace) -> None:
    """Write the model that assumes the profile of its instrument and is the base in all else, uncalibrated.

    ValueError where the base has no second stage, was made for one profile, or never met such instruments.
    """
    with workspace.base.files() as folder:
        base = model.read(folder)
        before = load_second_stage(folder, base, torch.device("cpu"))
    if before is None or before.description.known != Known():
        instead = "has no second stage" if before is None else "was fitted to one instrument"
        raise ValueError(f"--told: {base.family} {base.version} {instead}; fit one to the profile, without --told")
    met, known = Recipe.model_validate(base.recipe).second_stage, known_of(workspace.recipe)
    for name in ("contrast", "vibration_A"):
        (low, high), (least, most) = getattr(known, name), getattr(met, name)
        if not least <= low <= high <= most:
            raise ValueError(
                f"--told: the profile's {name} is {low:g}-{high:g}, {base.family} {base.version} met"
                f" {least:g}-{most:g}; fit a model to the profile, without --told"
            )
    write(workspace, before.network, before.description.model_copy(update=UNCALIBRATED))


def write(workspace: Workspace, network: SecondStage, stage: Description) -> None:
    """The model of the base's first stage and this second one, which assumes what the workspace's profile states."""
    with workspace.base.files() as base, workspace.model.files() as folder:
        copy(base, folder, FIRST_STAGE)
        described = model.described(save_second_stage(network, folder))
        known = stage.model_copy(update={"known": known_of(workspace.recipe)})
        draft(folder, workspace, model.read(base), {SECOND_STAGE: described}, known)


def known_of(recipe: Recipe) -> Known:
    """What the model may assume of its instrument: a profile's ranges; nothing of the recipe's own instruments."""
    if base_family(recipe.family) == recipe.family:
        return Known()
    camera, microscope = recipe.camera, recipe.microscope
    return Known(contrast=camera.contrast, vibration_A=camera.vibration_A, defocus_A=microscope.defocus_A)


def draft(folder: Path, workspace: Workspace, base: Manifest, files: dict[str, File], stage: Description) -> Manifest:
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
            samples = look_at(predictor, second.network, stage, waves, plan, progress)
        stage = stage.model_copy(
            update={
                "on_lattice": fitted(samples, "on"),
                "off_lattice": fitted(samples, "off"),
                "error_factors": error_factors(samples),
            }
        )
        model.write(folder, manifest.model_copy(update={"second_stage": stage}))
        with bar("pooling") as progress:
            fit_pooling(folder, waves, plan, progress)
