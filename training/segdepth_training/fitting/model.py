"""The folder of a model in the making: weights, and a manifest that grows as calibration and evaluation are done."""

import shutil
import subprocess
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from safetensors.torch import load_file

from segdepth_artefacts.manifest import Calibration, Domain, Engine, File, Manifest, Range, Reflection, TemperatureTable
from segdepth_core.domain import SMALLEST_FIELD_A
from segdepth_core.lattice import SEARCHED
from segdepth_core.network import build
from segdepth_core.weights import WEIGHTS, network_of, save_weights
from segdepth_training.fitting.optimisation import CHECKPOINT
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.specimens.projection import project

MANIFEST = "manifest.json"
UNCALIBRATED = TemperatureTable(dose=(1000.0,), temperature=(1.0,))
SMALLEST_REFLECTION_A = 1.5
FINEST_REFLECTION_A = 1.2
"""Near the information limit: down to it where a small crystal has too few above for the gate's search."""


def export_weights(checkpoint: Path, recipe: Recipe, folder: Path) -> Path:
    """Write the moving average of a checkpoint as weights.safetensors."""
    network = build("unet", dict(recipe.training.network))
    tensors = load_file(checkpoint / CHECKPOINT)
    network.load_state_dict({k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")})
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(network, folder / WEIGHTS)
    return folder / WEIGHTS


def described(path: Path) -> File:
    """A file as the manifest names it."""
    return File(sha256=sha256(path.read_bytes()).hexdigest(), size_bytes=path.stat().st_size)


def code_version() -> str:
    """Version of this code, with the commit where there is a repository and git to ask."""
    suffix = ""
    if git := shutil.which("git"):
        command = [git, "rev-parse", "--short", "HEAD"]
        said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
        suffix = f"+{said.stdout.strip()}" if said.returncode == 0 else ""
    return version("segdepth-training") + suffix


def draft(folder: Path, recipe: Recipe, seeds: dict[str, int], origin: str | None = None) -> Manifest:
    """Write the manifest of freshly trained weights: no calibration yet, gates at what the recipe covers.

    `origin` names the model whose weights training started from.
    """
    training = recipe.training.model_copy(update={"start": origin})
    weights = described(folder / WEIGHTS)
    created = datetime.now(UTC).replace(microsecond=0)
    manifest = Manifest(
        family=recipe.family,
        version=f"{created:%Y%m%d}-{weights.sha256[:8]}",
        created=created,
        code_version=code_version(),
        files={WEIGHTS: weights},
        network=network_of(build("unet", dict(recipe.training.network))),
        canonical_sampling_A=recipe.training.canonical_sampling_A,
        species=recipe.crystal.elements,
        domain=stated_domain(recipe),
        calibration=Calibration(pixel=UNCALIBRATED, column=UNCALIBRATED, species=UNCALIBRATED, abstain_below=0.5),
        engines=(Engine(name="torch-fp32", counts_equal=1.0, ece_difference=0.0),),
        recipe=recipe.model_copy(update={"training": training}).model_dump(mode="json"),
        seeds=seeds,
    )
    write(folder, manifest)
    return manifest


def stated_domain(recipe: Recipe) -> Domain:
    """The gate's ranges that follow from the recipe alone; calibration adds the contrast that it measures."""
    low_A, high_A = min(recipe.camera.samplings_A), max(recipe.camera.samplings_A)
    checks = {
        "sampling": Range(
            lower=0.9 * low_A, upper=1.1 * high_A, ok_lower=0.99 * low_A, ok_upper=1.01 * high_A, unit="Å/px"
        ),
        "field": Range(lower=SMALLEST_FIELD_A, upper=820.0, unit="Å"),
        "snr": Range(lower=0.5 * recipe.camera.dose[0], ok_lower=0.8 * recipe.camera.dose[0], unit="e/Å²"),
        "lattice": Range(lower=0.96, upper=1.04, ok_lower=0.985, ok_upper=1.015),
        "inverted": Range(upper=0.9, ok_upper=0.5),
    }
    projection = project(recipe.crystal)
    found = projection.reflections(SMALLEST_REFLECTION_A)
    if len(found) < SEARCHED:
        found = projection.reflections(FINEST_REFLECTION_A)
    reflections = tuple(Reflection(spacing_A=d, azimuth_deg=azimuth, weight=weight) for d, azimuth, weight in found)
    return Domain(description=recipe.description, checks=checks, reflections=reflections)


def read(folder: Path) -> Manifest:
    """The manifest of a model folder. Raises FileNotFoundError that says which step comes first."""
    path = folder / MANIFEST
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; run segdepth-train train first")
    return Manifest.model_validate_json(path.read_text())


def calibrated(manifest: Manifest) -> bool:
    """Whether a model has been calibrated: how it pools is fitted last."""
    return manifest.pooling is not None


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, complete or not at all."""
    partial = folder / (MANIFEST + ".partial")
    partial.write_text(manifest.model_dump_json(indent=1) + "\n")
    partial.replace(folder / MANIFEST)
