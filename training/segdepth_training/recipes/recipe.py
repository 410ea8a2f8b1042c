"""A recipe: everything that makes one model from nothing, as data.

Lengths are in Å and doses in e/Å², unless a name says otherwise.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from ase.data import atomic_numbers
from pydantic import AfterValidator, Field, model_validator

from segdepth_artefacts.names import FAMILY, base_family
from segdepth_core.domain import SMALLEST_FIELD_A
from segdepth_core.network import UNetConfig, build
from segdepth_protos.contract import AUTO
from segdepth_training.recipes.faults import parsed
from segdepth_training.recipes.part import Interval, Part, ordered
from segdepth_training.recipes.second_stage import SecondStage
from segdepth_training.recipes.units import length, plausible


def _no_keyword(family: str) -> str:
    if base_family(family) == AUTO:
        raise ValueError(f"{AUTO!r} is what callers say who leave the family to the frame's lattice; take another name")
    return family


def _per_area(dose: float | str) -> float | str:
    if isinstance(dose, float) and dose < 5:
        raise ValueError(f"{dose:g} e/Å² shows nothing; given per pixel?")
    return dose


def _defocus(interval_A: tuple[float, float]) -> tuple[float, float]:
    low, high = interval_A
    if not 10 <= max(high, -low) <= 2000:
        raise ValueError(f"({low:g}, {high:g}): from 10 to 2000 Å would be plausible; given in nm or pm instead of Å?")
    return interval_A


PAPER = ("flat", "sawtooth", "stepped")
"""Kinds of surface of Leibovich et al. 2026."""

Placing = Literal["bilinear", "exact"]
"""How atoms between samples of a grid are placed on it."""


class Crystal(Part):
    """A cubic crystal and the axes of its view, in units of the cell: two in the image, the third along the beam."""

    elements: tuple[str, ...]
    basis: tuple[tuple[float, float, float], ...]
    spacegroup: int = Field(ge=195, le=230, description="a cubic one")
    lattice_A: Annotated[float, length(2, 30)]
    axes: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

    @model_validator(mode="after")
    def _one_position_each(self) -> "Crystal":
        if len(self.elements) != len(self.basis):
            raise ValueError(f"{len(self.elements)} elements but {len(self.basis)} positions in basis; one for each")
        unknown = [element for element in self.elements if element not in atomic_numbers]
        if unknown or len(set(self.elements)) < len(self.elements):
            raise ValueError(f"elements = {list(self.elements)}: symbols of elements, each once")
        if any(abs(part) >= 1 for position in self.basis for part in position):
            raise ValueError(f"basis = {list(self.basis)}: parts of the cell, below 1; given in Å?")
        return self


class Specimens(Part):
    """Surfaces drawn for training, by weight, and what disturbs them."""

    cell_A: float = Field(57.6, description="side of the simulated cell [Å]")
    kinds: dict[Literal["flat", "sawtooth", "stepped", "smooth", "particle", "islands"], Annotated[float, Field(ge=0)]]
    atoms: Annotated[tuple[Annotated[int, Field(ge=1)], int], AfterValidator(ordered)] = Field(
        (3, 10), description="usual number of atoms in a column"
    )
    thick_share: float = Field(0.1, ge=0, le=1, description="share of specimens with columns of up to `thick_atoms`")
    thick_atoms: int = Field(20, ge=10, le=40)
    perturbed_share: float = Field(0.5, ge=0, le=1, description="share of specimens with isolated defects")
    perturbed_columns: Annotated[Interval, plausible(0.001, 1, "of the columns", "%", none=True)] = Field(
        (0.02, 0.15), description="share of their columns changed by 1 or 2 atoms"
    )
    vacuum_share: float = Field(0.75, ge=0, le=1, description="share of specimens that end inside the field")
    displacement_A: Annotated[Interval, length(0.02, 0.5, none=True)] = Field(
        (0.0, 0.09), description="thermal displacement, standard deviation along an axis [Å]"
    )
    tilt_share: float = Field(0.3, ge=0, le=1)
    tilt_deg: Annotated[float, plausible(0.05, 5, "°", "rad or mrad", none=True)] = Field(
        0.7, ge=0, description="largest tilt off the zone axis [°]"
    )

    @model_validator(mode="after")
    def _drawable(self) -> "Specimens":
        if not sum(self.kinds.values()) > 0:
            raise ValueError(f"specimens.kinds = {self.kinds}: some weight must be above 0")
        if self.atoms[1] > self.thick_atoms:
            raise ValueError(
                f"specimens.atoms = {self.atoms}: at most specimens.thick_atoms ({self.thick_atoms}), what thick"
                " specimens have"
            )
        return self


class Multislice(Part):
    """How exit waves are computed and kept."""

    sampling_A: float = Field(0.1, ge=0.02, le=0.1, description="of the multislice grid [Å/px]")
    slice_A: float = Field(2.0, ge=0.5, le=2.5, description="thickness of a slice [Å]")
    stored_sampling_A: Annotated[float, length(0.05, 0.3)] = Field(
        0.2, description="exit waves are Fourier-cropped to this [Å/px]"
    )
    placing: Placing = Field(
        "bilinear",
        description="of atoms between samples: `bilinear` shares them among four, which blurs them by up to half a"
        " sample (as abTEM does, and as released models were simulated); `exact` does not blur",
    )

    @model_validator(mode="after")
    def _cropped(self) -> "Multislice":
        if self.stored_sampling_A < self.sampling_A:
            raise ValueError(
                f"stored_sampling_A = {self.stored_sampling_A:g}: at least multislice.sampling_A ({self.sampling_A:g})"
            )
        return self


class Microscope(Part):
    """Aberrations in the convention exp(-i chi), C10 > 0 is overfocus."""

    energy_keV: float = Field(300.0, ge=20, le=1000)
    c30_um: Annotated[float, plausible(0.1, 3000, "µm", "mm or Å", none=True)] = Field(
        -9.0, description="third-order spherical aberration [µm]"
    )
    c30_spread_um: Annotated[float, plausible(0.01, 500, "µm", "mm or Å", none=True)] = Field(
        2.0, ge=0, description="of the third-order spherical aberration, standard deviation [µm]"
    )
    c50_mm: Annotated[float, plausible(0.05, 100, "mm", "µm or m", none=True)] = Field(
        5.0, description="fifth-order spherical aberration [mm]"
    )
    defocus_A: Annotated[Interval, AfterValidator(_defocus)] = Field(
        (10.0, 90.0), description="C10 from the plane of the lowest atom; overfocus is positive [Å]"
    )
    focal_spread_A: Annotated[Interval, length(5, 300)] = Field((20.0, 40.0), description="standard deviation [Å]")
    aperture_per_A: Annotated[float, plausible(0.3, 5, "1/Å", "1/nm or mrad")] = Field(
        2.0, description="objective aperture or acceptance of the lens, radius [1/Å]"
    )
    astigmatism_A: Annotated[float, length(1, 500, none=True)] = Field(
        6.0, ge=0, description="largest residual two-fold astigmatism [Å]"
    )
    coma_A: Annotated[float, length(50, 1e5, none=True)] = Field(
        300.0, ge=0, description="largest residual axial coma [Å]"
    )

    @model_validator(mode="after")
    def _compensated(self) -> "Microscope":
        low, high = self.defocus_A
        if (self.c30_um < 0 and high <= 0) or (self.c30_um > 0 and low >= 0):
            side, other = ("underfocus", "over") if high <= 0 else ("overfocus", "under")
            raise ValueError(
                f"microscope.defocus_A = ({low:g}, {high:g}): {side} throughout, which adds to c30_um ="
                f" {self.c30_um:g} instead of balancing it; overfocus is positive here (C10, the negative of what many"
                f" programs call defocus). If it is meant, let the interval begin at some {other}focus"
            )
        return self

    @property
    def wavelength_A(self) -> float:
        """Relativistic electron wavelength [Å] (de Broglie; 0.0197 Å at 300 keV)."""
        return float(12.2643 / (self.energy_keV * 1e3 + 0.97845 * self.energy_keV**2) ** 0.5)


class Camera(Part):
    """The noise chain at the camera's own pixels."""

    samplings_A: Annotated[tuple[Annotated[float, length(0.03, 1)], ...], Field(min_length=1)] = (
        *(0.06, 0.08, 0.1, 0.12, 0.16, 0.2, 0.25),
    )
    dose: Interval = Field((20.0, 5000.0), description="mean electrons per Å² in vacuum and frame, log-uniform")
    noise_free_share: float = Field(0.08, ge=0, le=1)
    vibration_A: Annotated[Interval, length(0.04, 2, none=True)] = Field(
        (0.0, 0.25), description="blur of the specimen's image, standard deviation [Å]"
    )
    drift_A: Annotated[float, length(0.04, 5, none=True)] = Field(
        0.3, ge=0, description="largest drift during a frame [Å]"
    )
    mtf_px: Annotated[Interval, plausible(0.05, 5, "px", "µm", none=True)] = Field(
        (0.0, 0.6), description="point spread of the sensor, standard deviation [px]"
    )
    correlated_share: float = Field(
        0.5, ge=0, le=1, description="share of frames whose noise passes the point spread too"
    )
    read_noise: Annotated[Interval, plausible(0.001, 3, "of the shot noise", "% or electrons", none=True)] = Field(
        (0.0, 0.1), description="read noise as a share of the shot noise's standard deviation"
    )
    contrast: Annotated[Interval, plausible(0.1, 3, "times", "%")] = Field(
        (0.9, 1.05), description="factor on the contrast (Stobbs, inelastic background)"
    )

    @model_validator(mode="after")
    def _per_area(self) -> "Camera":
        low, high = self.dose
        if low < 1 or high < 20:
            raise ValueError(
                f"dose = ({low:g}, {high:g}): from 1 e/Å² up, and beyond 20; given per pixel instead of per Å²?"
                " (Noise-free frames have their own share.)"
            )
        return self


class Training(Part):
    """Optimisation. `steps` at `frames` frames each, on every worker."""

    start: str | None = Field(
        None,
        description="released model to start from: a folder, `stable` for the family's present one, or"
        " `FAMILY/stable` for another's; by default random weights",
    )
    network: dict[str, object] = Field({}, description="arguments of UNetConfig")
    canonical_sampling_A: Annotated[float, length(0.05, 0.4)] = 0.2
    field_px: int = Field(256, ge=64, description="side of a training frame at the canonical sampling [px]")
    steps: int = Field(gt=0)
    frames: int = Field(8, ge=1, description="frames in a step")
    learning_rate: float = Field(2e-3, gt=0)
    start_share: float = Field(1.0, gt=0, le=1, description="share of the learning rate for what `start` already knew")
    keep_norms: bool = Field(
        False, description="batch norms keep the statistics of `start`, which those of a few frames would spoil"
    )
    weight_decay: float = Field(1e-2, ge=0)
    warmup_share: float = Field(0.03, ge=0, lt=1)
    average: float = Field(0.999, ge=0, lt=1, description="decay of the exponential moving average that is released")
    disk_A: Annotated[float, length(0.2, 0.66)] = Field(0.6, description="radius of a column's label [Å]")
    centre_A: Annotated[float, length(0.1, 1)] = Field(0.35, description="standard deviation of the centre target [Å]")
    background_weight: float = Field(0.15, gt=0)
    inverted_share: float = Field(0.06, ge=0, lt=0.5, description="frames shown inverted, to learn to tell them")
    easy_share: float = Field(0.15, ge=0, le=1, description="part of the run that keeps to doses above `easy_dose`")
    easy_dose: float = 300.0
    checkpoint_every: int = Field(200, gt=0, description="steps")
    compile: bool = Field(False, description="compile the network (GPU only)")
    workers: int = Field(1, ge=0, description="Ray Train workers; 0 = in this process, without Ray")

    @property
    def regresses(self) -> bool:
        """Whether the network tells the number of atoms as one number instead of a logit for each class."""
        return self.network.get("depth") == "regression"

    @model_validator(mode="after")
    def _network_fits(self) -> "Training":
        """Build the network and pass a small field through it: a recipe that cannot train ends here."""
        try:
            with torch.random.fork_rng(devices=[]), torch.inference_mode():
                network = build("unet", dict(self.network)).eval()
                stride = network.config.stride
                network(torch.zeros(1, stride, stride))
        except (TypeError, RuntimeError, IndexError) as error:
            raise ValueError(f"network = {self.network}: cannot be built: {error}") from error
        if self.keep_norms and self.start is None:
            raise ValueError("keep_norms = true: only with training.start, whose statistics are kept")
        if self.field_px % stride:
            raise ValueError(f"field_px = {self.field_px}: must be a multiple of {stride}, the network's stride")
        return self


class Set(Part):
    """Specimens of one purpose."""

    specimens: int = Field(ge=3, description="one of each family at least: paper, perturbed, particle")
    frames_per_dose: int = Field(1, ge=1, description="frames of each specimen and dose")
    doses: Annotated[
        tuple[Annotated[float | Literal["noise-free"], AfterValidator(_per_area)], ...], Field(min_length=1)
    ] = (50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, "noise-free")


class Gates(Part):
    """What a model must reach to be released. Doses in e/Å²."""

    paper_accuracy: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        {}, description="least accuracy on paper-like surfaces, a share, by dose"
    )
    ece: float = Field(0.04, ge=0, le=1, description="largest calibration error of all families together, at any dose")


class Recipe(Part):
    """One model, from its crystal to its gates."""

    family: Annotated[str, Field(pattern=FAMILY), AfterValidator(_no_keyword)]
    description: str
    crystal: Crystal
    specimens: Specimens
    multislice: Multislice = Multislice()
    microscope: Microscope = Microscope()
    camera: Camera = Camera()
    train_specimens: int = Field(gt=0)
    foreign_specimens: int = Field(480, ge=4, description="strangers by which the model learns what it does not know")
    calibration: Set
    benchmark: Set
    training: Training
    second_stage: SecondStage = SecondStage()
    gates: Gates = Gates()

    @model_validator(mode="before")
    @classmethod
    def _network_of_its_species(cls, said: Any) -> Any:
        """The network tells as many species as the crystal has elements: a recipe says it once, in `crystal`."""
        try:
            elements, training = len(said["crystal"]["elements"]), said["training"]
            network = {**training.get("network", {})}
        except (TypeError, KeyError, AttributeError):
            return said  # Another fault, which its own field explains.
        if "species" in network or elements == UNetConfig.species:
            return said
        return {**said, "training": {**training, "network": {**network, "species": elements}}}

    @model_validator(mode="after")
    def _doses_are_known(self) -> "Recipe":
        """No dose beyond those trained on, and a gate only at a dose that the evaluation measures."""
        low, high = self.camera.dose
        for name, doses in (("calibration", self.calibration.doses), ("benchmark", self.benchmark.doses)):
            beyond = [dose for dose in doses if isinstance(dose, float) and not low <= dose <= high]
            if beyond:
                raise ValueError(
                    f"{name}.doses: {beyond[0]:g} e/Å² is outside camera.dose ({low:g}-{high:g}); is one of them given"
                    " per pixel?"
                )
        if self.training.easy_share and not 5 <= self.training.easy_dose <= high:
            raise ValueError(
                f"training.easy_dose = {self.training.easy_dose:g}: within camera.dose ({low:g}-{high:g} e/Å²)"
            )
        measured = [dose if isinstance(dose, str) else f"{dose:g}" for dose in self.benchmark.doses]
        if unmeasured := [dose for dose in self.gates.paper_accuracy if dose not in measured]:
            raise ValueError(
                f"gates.paper_accuracy: {unmeasured[0]} e/Å² is not among benchmark.doses ({', '.join(measured)})"
            )
        return self

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        species = self.training.network.get("species", UNetConfig.species)
        if species != len(self.crystal.elements):
            raise ValueError(
                f"training.network.species = {species}: crystal.elements has {len(self.crystal.elements)}; leave it out"
            )
        kinds = self.specimens.kinds
        if not 0 < sum(weight for kind, weight in kinds.items() if kind in PAPER) < sum(kinds.values()):
            raise ValueError(
                f"specimens.kinds = {kinds}: some of {', '.join(PAPER)} and some other kind, for calibration and"
                " evaluation look at either"
            )
        field_A = self.training.field_px * self.training.canonical_sampling_A
        if field_A - max(self.camera.samplings_A) < SMALLEST_FIELD_A:
            raise ValueError(
                f"training.field_px = {self.training.field_px}: a field of {field_A:.3g} Å, evaluation's too; frames"
                f" below {SMALLEST_FIELD_A:g} Å are refused"
            )
        spare = self.specimens.cell_A - field_A
        if spare < 3.2 - 1e-6:
            raise ValueError(
                f"specimens.cell_A = {self.specimens.cell_A:g}: must exceed the training field (training.field_px"
                " x training.canonical_sampling_A) by 3.2 Å, so that what wraps around the periodic cell stays outside;"
                " given in nm?"
            )
        return self


def load_recipe(path: Path) -> Recipe:
    """Read a TOML recipe. Raises ValueError that names the field and what would be right."""
    return parse_recipe(path.read_text(), str(path))


def parse_recipe(text: str, name: str) -> Recipe:
    """A recipe from its TOML; `name` says in errors where that is. Raises ValueError as `load_recipe`."""
    return parsed(Recipe, text, name)
