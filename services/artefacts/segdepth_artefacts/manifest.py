"""What a released model says of itself: its files, the frames it knows, and how its probabilities were calibrated."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from segdepth_artefacts.names import FAMILY


class Strict(BaseModel):
    """Immutable, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class File(Strict):
    """One file of a version."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class Range(Strict):
    """Values a domain check permits, in `unit`.

    Inside `ok_*` the frame is ok, outside `lower`-`upper` refused, between them suspect.

    An absent bound is open; an absent `ok_*` bound equals the outer one.
    """

    lower: float | None = None
    upper: float | None = None
    ok_lower: float | None = None
    ok_upper: float | None = None
    unit: str = ""


class Reflection(Strict):
    """A lattice reflection of the family's projection: spacing [Å] and azimuth [°] from an arbitrary common axis."""

    spacing_A: float = Field(gt=0)
    azimuth_deg: float
    weight: float = 1.0


class Domain(Strict):
    """What the model knows. `checks` is keyed by the name of the check (see segdepth_core.domain)."""

    description: str
    checks: dict[str, Range]
    reflections: tuple[Reflection, ...] = ()


class TemperatureTable(Strict):
    """Softmax temperature by measured dose [e/Å²], linear in log dose between the nodes, constant beyond them."""

    dose: tuple[float, ...]
    temperature: tuple[float, ...]


class Calibration(Strict):
    """Temperatures of both heads, and the posterior below which a column is abstained."""

    pixel: TemperatureTable
    column: TemperatureTable
    species: TemperatureTable
    abstain_below: float = Field(ge=0, le=1)


class Pooling(Strict):
    """What clients need to combine the posteriors of a column over the frames of a movie (segdepth_protos.pooling)."""

    prior: tuple[tuple[float, ...], ...] = Field(description="of each species: probability of each class")
    dose: tuple[float, ...] = Field(description="e/Å² of a frame, ascending")
    correlation: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        description="of the model's error between frames, at each dose"
    )
    hop: float = Field(ge=0, lt=1, description="of no effect; for clients of before tracking")

    @model_validator(mode="after")
    def _table(self) -> "Pooling":
        if len(self.dose) != len(self.correlation) or list(self.dose) != sorted(set(self.dose)):
            raise ValueError(f"dose = {self.dose}: ascending, and as many as correlation has ({len(self.correlation)})")
        return self


class Engine(Strict):
    """An engine and number type that the report evaluated, and how far it is from the reference."""

    name: str = Field(description="for example torch-fp32, torch-bf16")
    counts_equal: float = Field(ge=0, le=1, description="share of columns with the reference's count")
    ece_difference: float


class Network(Strict):
    """How to build the network that the weights fit (see segdepth_core.network)."""

    kind: str
    arguments: dict[str, Any] = {}


class Cell(Strict):
    """The rectangle that the family's projection repeats, and the columns in it."""

    sides_A: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    sites: tuple[tuple[float, float, Annotated[int, Field(ge=0)]], ...] = Field(
        min_length=1, description="of each column: parts of the two sides, index of its species"
    )


class Known(Strict):
    """Ranges of imaging conditions that are known of an instrument; None = not known."""

    contrast: tuple[float, float] | None = Field(None, description="factor on the simulated contrast")
    vibration_A: tuple[float, float] | None = Field(None, description="standard deviation of the blur")
    defocus_A: tuple[float, float] | None = Field(None, description="C10, overfocus is positive")

    @property
    def words(self) -> str:
        """Its ranges with their units; empty where nothing is known."""
        said = []
        for name, bounds in self.model_dump(exclude_none=True).items():
            quantity, _, unit = name.partition("_")
            said.append(f"{quantity} {bounds[0]:g} to {bounds[1]:g} {unit.replace('A', 'Å')}".rstrip())
        return ", ".join(said)


class SecondStage(Strict):
    """How the second stage reads the first one's columns (see segdepth_core.second_stage)."""

    cell: Cell
    arguments: dict[str, Any] = Field({}, description="of its network")
    known: Known = Field(Known(), description="what it assumes of the instrument")
    on_lattice: TemperatureTable = Field(description="of its posteriors")
    off_lattice: TemperatureTable = Field(description="of the first stage's, which columns off the lattice keep")
    error_factors: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {}, description="on the errors that it states of the conditions it measures, by name; of none that is absent"
    )


class Manifest(Strict):
    """manifest.json of models/<family>/<version>/. Names every other file of the version with its sha256."""

    format: Literal[1] = 1
    family: str = Field(pattern=FAMILY)
    version: str = Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$")
    created: datetime
    code_version: str
    files: dict[str, File]
    network: Network
    canonical_sampling_A: float = Field(gt=0)
    species: tuple[str, ...] = Field(
        ("Ce", "O"), min_length=1, max_length=255, description="elements of the columns, in the order of the network's"
    )
    domain: Domain
    calibration: Calibration
    second_stage: SecondStage | None = Field(None, description="absent in models of one stage")
    pooling: Pooling | None = Field(None, description="absent in models whose columns cannot be tracked")
    engines: tuple[Engine, ...]
    recipe: dict[str, Any]
    seeds: dict[str, int]
    notes: str = Field("", description="what a reader of the card should know beyond the recipe")

    @model_validator(mode="after")
    def _prior_of_each_species(self) -> "Manifest":
        if self.pooling is not None and len(self.pooling.prior) != len(self.species):
            raise ValueError(f"pooling.prior is of {len(self.pooling.prior)} species, the model of {len(self.species)}")
        return self

    @property
    def assumes(self) -> str:
        """What the model assumes of the instrument, in words; of one stage it knows no other than its recipe's."""
        if self.second_stage is not None:
            return self.second_stage.known.words or "nothing"
        camera, microscope = (self.recipe.get(part, {}) for part in ("camera", "microscope"))
        ranges = {"contrast": camera, "vibration_A": camera, "defocus_A": microscope}
        return Known(**{name: part.get(name) for name, part in ranges.items()}).words or "its recipe's instruments"

    @property
    def weights_sha256(self) -> str:
        """sha256 of weights.safetensors, hex."""
        return self.files["weights.safetensors"].sha256
