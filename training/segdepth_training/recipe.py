"""A recipe: everything that makes one model from nothing, as data.

Lengths are in Å and doses in e/Å², unless a name says otherwise.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from segdepth_inference.network import UNetConfig, build


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    low, high = interval
    if not low <= high:
        raise ValueError(f"({low:g}, {high:g}): the lower bound comes first")
    return interval


def _not_nm(lattice_A: float) -> float:
    if lattice_A < 1:
        raise ValueError(f"{lattice_A:g} Å is no crystal's; given in nm?")
    return lattice_A


def _camera_sampling(sampling_A: float) -> float:
    if not 0.03 <= sampling_A <= 1:
        raise ValueError(f"{sampling_A:g} Å/px resolves no columns or no camera has it; given in nm/px or pm/px?")
    return sampling_A


def _thermal(interval_A: tuple[float, float]) -> tuple[float, float]:
    if interval_A[1] > 0.5:
        raise ValueError(f"({interval_A[0]:g}, {interval_A[1]:g}) Å: no crystal vibrates so far; given in pm?")
    return interval_A


def _spread(interval_A: tuple[float, float]) -> tuple[float, float]:
    if interval_A[1] < 5 or interval_A[1] > 300:
        raise ValueError(f"({interval_A[0]:g}, {interval_A[1]:g}) Å is no microscope's; given in nm or pm?")
    return interval_A


def _per_area(dose: float | str) -> float | str:
    if isinstance(dose, float) and dose < 5:
        raise ValueError(f"{dose:g} e/Å² shows nothing; given per pixel?")
    return dose


Interval = Annotated[tuple[float, float], AfterValidator(_ordered)]


class Part(BaseModel):
    """Immutable; a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Crystal(Part):
    """A cubic crystal and the axes of its view, in units of the cell: two in the image, the third along the beam."""

    elements: tuple[str, ...]
    basis: tuple[tuple[float, float, float], ...]
    spacegroup: int = Field(ge=1, le=230)
    lattice_A: Annotated[float, Field(gt=0, lt=30), AfterValidator(_not_nm)]
    axes: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

    @model_validator(mode="after")
    def _one_position_each(self) -> "Crystal":
        if len(self.elements) != len(self.basis):
            raise ValueError(f"{len(self.elements)} elements but {len(self.basis)} positions in basis; one for each")
        return self


class Specimens(Part):
    """Surfaces drawn for training, by weight, and what disturbs them."""

    cell_A: float = Field(57.6, description="side of the simulated cell [Å]")
    kinds: dict[Literal["flat", "sawtooth", "stepped", "smooth", "particle", "islands"], float]
    atoms: tuple[int, int] = Field((3, 10), description="usual number of atoms in a column")
    thick_share: float = Field(0.1, ge=0, le=1, description="share of specimens with columns of up to `thick_atoms`")
    thick_atoms: int = Field(20, ge=10, le=40)
    perturbed_share: float = Field(0.5, ge=0, le=1, description="share of specimens with isolated defects")
    perturbed_columns: Interval = Field((0.02, 0.15), description="share of their columns changed by 1 or 2 atoms")
    vacuum_share: float = Field(0.75, ge=0, le=1, description="share of specimens that end inside the field")
    displacement_A: Annotated[Interval, AfterValidator(_thermal)] = Field(
        (0.0, 0.09), description="thermal displacement, standard deviation along an axis [Å]"
    )
    tilt_share: float = Field(0.3, ge=0, le=1)
    tilt_deg: float = Field(0.7, ge=0, le=5, description="largest tilt off the zone axis [°]")


class Multislice(Part):
    """How exit waves are computed and kept."""

    sampling_A: float = Field(0.1, ge=0.02, le=0.1, description="of the multislice grid [Å/px]")
    slice_A: float = Field(2.0, ge=0.5, le=2.5, description="thickness of a slice [Å]")
    stored_sampling_A: float = Field(0.2, gt=0, description="exit waves are Fourier-cropped to this [Å/px]")


class Microscope(Part):
    """Aberrations in the convention exp(-i chi), C10 > 0 is overfocus."""

    energy_keV: float = Field(300.0, ge=20, le=1000)
    c30_um: float = Field(-9.0, ge=-2000, le=3000, description="third-order spherical aberration [µm]")
    c30_spread_um: float = Field(2.0, ge=0)
    c50_mm: float = Field(5.0, ge=-100, le=100, description="fifth-order spherical aberration [mm]")
    defocus_A: Interval = Field(
        (10.0, 90.0), description="C10 from the plane of the lowest atom; overfocus is positive [Å]"
    )
    focal_spread_A: Annotated[Interval, AfterValidator(_spread)] = Field(
        (20.0, 40.0), description="standard deviation [Å]"
    )
    aperture_per_A: float = Field(2.0, gt=0, description="objective aperture or acceptance of the lens, radius [1/Å]")
    astigmatism_A: float = Field(6.0, ge=0, description="largest residual two-fold astigmatism [Å]")
    coma_A: float = Field(300.0, ge=0, description="largest residual axial coma [Å]")

    @property
    def wavelength_A(self) -> float:
        """Relativistic electron wavelength [Å] (de Broglie; 0.0197 Å at 300 keV)."""
        return float(12.2643 / (self.energy_keV * 1e3 + 0.97845 * self.energy_keV**2) ** 0.5)

    @model_validator(mode="after")
    def _units(self) -> "Microscope":
        low, high = self.defocus_A
        if high <= 0 and low < 0:
            raise ValueError(
                f"defocus_A = ({low:g}, {high:g}): underfocus throughout; overfocus is positive here (C10, the"
                " negative of what many programs call defocus)"
            )
        if high < 10:
            raise ValueError(f"defocus_A = ({low:g}, {high:g}): below 10 Å throughout; given in nm instead of Å?")
        return self


class Camera(Part):
    """The noise chain at the camera's own pixels."""

    samplings_A: Annotated[tuple[Annotated[float, AfterValidator(_camera_sampling)], ...], Field(min_length=1)] = (
        *(0.06, 0.08, 0.1, 0.12, 0.16, 0.2, 0.25),
    )
    dose: Interval = Field((20.0, 5000.0), description="mean electrons per Å² in vacuum and frame, log-uniform")
    noise_free_share: float = Field(0.08, ge=0, le=1)
    vibration_A: Interval = Field((0.0, 0.25), description="blur of the specimen's image, standard deviation [Å]")
    drift_A: float = Field(0.3, ge=0, description="largest drift during a frame [Å]")
    mtf_px: Interval = Field((0.0, 0.6), description="point spread of the sensor, standard deviation [px]")
    correlated_share: float = Field(
        0.5, ge=0, le=1, description="share of frames whose noise passes the point spread too"
    )
    read_noise: Interval = Field((0.0, 0.1), description="read noise as a share of the shot noise's standard deviation")
    contrast: Interval = Field((0.9, 1.05), description="factor on the contrast (Stobbs, inelastic background)")

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
        description="released model to start from: a folder, or `stable` for the family's present one; by default"
        " random weights",
    )
    network: dict[str, object] = {}
    canonical_sampling_A: float = Field(0.2, gt=0)
    field_px: int = Field(256, ge=64, description="side of a training frame at the canonical sampling [px]")
    steps: int = Field(gt=0)
    frames: int = Field(8, ge=1, description="frames in a step")
    learning_rate: float = Field(2e-3, gt=0)
    start_share: float = Field(1.0, gt=0, le=1, description="share of the learning rate for what `start` already knew")
    weight_decay: float = Field(1e-2, ge=0)
    warmup_share: float = Field(0.03, ge=0, lt=1)
    average: float = Field(0.999, ge=0, lt=1, description="decay of the exponential moving average that is released")
    disk_A: float = Field(0.6, gt=0, le=0.66, description="radius of a column's label [Å]")
    centre_A: float = Field(0.35, gt=0, description="standard deviation of the centre target [Å]")
    background_weight: float = Field(0.15, gt=0)
    inverted_share: float = Field(0.06, ge=0, lt=0.5, description="frames shown inverted, to learn to tell them")
    easy_share: float = Field(0.15, ge=0, le=1, description="part of the run that keeps to doses above `easy_dose`")
    easy_dose: float = 300.0
    checkpoint_every: int = Field(200, gt=0, description="steps")
    compile: bool = Field(False, description="compile the network (GPU only)")
    workers: int = Field(1, ge=0, description="Ray Train workers; 0 = in this process, without Ray")

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
        if self.field_px % stride:
            raise ValueError(f"field_px = {self.field_px}: must be a multiple of {stride}, the network's stride")
        return self


class Set(Part):
    """Specimens of one purpose."""

    specimens: int = Field(gt=0)
    frames_per_dose: int = Field(1, ge=1, description="frames of each specimen and dose")
    doses: tuple[Annotated[float | Literal["noise-free"], AfterValidator(_per_area)], ...] = (
        50.0,
        100.0,
        200.0,
        500.0,
        1000.0,
        2000.0,
        "noise-free",
    )


class Gates(Part):
    """What a model must reach to be released. Doses in e/Å²."""

    paper_accuracy: dict[str, float] = Field({}, description="least accuracy on paper-like surfaces, by dose")
    ece: float = Field(0.04, description="largest calibration error of all families together, at any dose")


class Recipe(Part):
    """One model, from its crystal to its gates."""

    family: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    description: str
    crystal: Crystal
    specimens: Specimens
    multislice: Multislice = Multislice()
    microscope: Microscope = Microscope()
    camera: Camera = Camera()
    train_specimens: int = Field(gt=0)
    foreign_specimens: int = Field(240, ge=4, description="strangers by which the model learns what it does not know")
    calibration: Set
    benchmark: Set
    training: Training
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
    def _fits(self) -> "Recipe":
        species = self.training.network.get("species", UNetConfig.species)
        if species != len(self.crystal.elements):
            raise ValueError(
                f"training.network.species = {species}: crystal.elements has {len(self.crystal.elements)}; leave it out"
            )
        spare = self.specimens.cell_A - self.training.field_px * self.training.canonical_sampling_A
        if spare < 3.2 - 1e-6:
            raise ValueError(
                f"specimens.cell_A = {self.specimens.cell_A:g}: must exceed the training field (training.field_px"
                " x training.canonical_sampling_A) by 3.2 Å, so that what wraps around the periodic cell stays outside"
            )
        return self


def load_recipe(path: Path) -> Recipe:
    """Read a TOML recipe. Raises ValueError that names the field and what would be right."""
    return parse_recipe(path.read_text(), str(path))


def parse_recipe(text: str, name: str) -> Recipe:
    """A recipe from its TOML; `name` says in errors where that is. Raises ValueError as `load_recipe`."""
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name}: not TOML: {error}") from error
    except ValidationError as error:
        raise ValueError(f"{name}:\n" + "\n".join(_in_words(fault) for fault in error.errors())) from error


def _in_words(fault: Mapping[str, Any]) -> str:
    """One fault of a recipe as `section.field: what is wrong`."""
    place = ".".join(str(part) for part in fault["loc"]) or "recipe"
    if fault["type"] == "extra_forbidden":
        return f"- {place}: no such field; misspelt?"
    if fault["type"] == "missing":
        return f"- {place}: missing"
    return f"- {place}: {fault['msg'].removeprefix('Value error, ')}"
