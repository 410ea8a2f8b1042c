"""What the Predictor says of a frame, as numpy arrays. `messages` turns it into the messages of the contract."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth_protos.conditions import Conditions
from segdepth_protos.contract import CLASSES

Array = NDArray[Any]


@dataclass(frozen=True)
class Detail:
    """What to give back besides the columns."""

    depth_map: bool = False
    confidence_map: bool = False
    probabilities: bool = False

    @property
    def maps(self) -> bool:
        """Whether any map is asked for."""
        return self.depth_map or self.confidence_map or self.probabilities


@dataclass(frozen=True)
class Detector:
    """What the caller knows of the detector; None = nothing, then the frame itself has to tell.

    black_level: what a pixel reads that no electron reached, in the frame's own unit; blur_px: standard deviation of
    the Gaussian that has its modulation transfer [px].
    """

    black_level: float | None = None
    blur_px: float | None = None


class Status(IntEnum):
    """Whether an answer may be believed. The numbers are those of the contract's DomainStatus."""

    OK = 1
    SUSPECT = 2
    REFUSED = 3


@dataclass(frozen=True)
class Check:
    """One question asked of a frame: the value measured and the range permitted, both in `unit`. None = open.

    Outside `lower` to `upper` the frame is refused, outside `ok_lower` to `ok_upper` suspect; None = as the outer one.
    """

    name: str
    status: Status
    value: float
    lower: float | None = None
    upper: float | None = None
    unit: str = ""
    message: str = ""
    ok_lower: float | None = None
    ok_upper: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The worst status of all checks. A refused frame has no columns."""

    checks: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """The worst of the checks; ok if there are none."""
        return worst(self.checks)

    @property
    def reason(self) -> str:
        """What is wrong and what would be right; empty when all is well."""
        return "; ".join(check.message for check in self.checks if check.message)


def worst(checks: Iterable[Check]) -> Status:
    """The worst status of `checks`; ok if there are none."""
    return max((check.status for check in checks), default=Status.OK)


@dataclass(frozen=True)
class Columns:
    """The atomic columns of a frame, sorted by y, then x; every array has one entry a column."""

    x_px: Array
    """f32: position in px of the caller's frame; (0, 0) is the centre of the top-left pixel, x along a row."""
    y_px: Array
    species: Array
    """u8: 1 is the first of the model's species (`Version.species`), and so on."""
    count: Array
    """u8: most likely number of atoms, 1-10; 10 = ten or more. Filled also where abstained."""
    lo90: Array
    """u8: the smallest contiguous set of counts that holds at least 0.90 of the posterior."""
    hi90: Array
    abstained: Array
    """bool: the posterior is too flat for the count to be used."""
    probabilities: Array
    """f32 [size, 11]: posterior of 0, 1, ... 9, ten or more atoms."""

    def __len__(self) -> int:
        return len(self.count)

    @property
    def xy_px(self) -> Array:
        """f32 [size, 2]: both positions, x first."""
        return np.column_stack([self.x_px, self.y_px])

    @classmethod
    def none(cls) -> "Columns":
        """No columns: what a refused frame has."""
        byte, real = np.zeros(0, np.uint8), np.zeros(0, np.float32)
        table = np.zeros((0, CLASSES), np.float32)
        return cls(real, real, byte, byte, byte, byte, np.zeros(0, np.bool_), table)


@dataclass(frozen=True)
class Version:
    """Which model answered, by which engine and number type, and the elements of its columns."""

    family: str
    version: str
    sha256: str
    engine: str
    species: tuple[str, ...] = ("Ce", "O")


@dataclass(frozen=True)
class Timings:
    """How long the stages took [ms] of the batch in which the frame was answered."""

    prepare_ms: float = 0.0
    network_ms: float = 0.0
    columns_ms: float = 0.0


@dataclass(frozen=True)
class Maps:
    """Maps on the caller's own pixels; None where not asked for."""

    depth: Array | None = None
    """u8 [height, width]: most likely class; 255 throughout a refused frame."""
    confidence: Array | None = None
    """f32 [height, width]: calibrated probability of that class; NaN throughout a refused frame."""
    probabilities: Array | None = None
    """f32 [11, height, width]; NaN throughout a refused frame."""


@dataclass(frozen=True)
class Prediction:
    """The answer to one frame."""

    version: Version
    height: int
    width: int
    sampling_A: float
    """Sampling [Å/px] of the caller's frame, as stated."""
    dose: float
    """Dose [e/Å²] that the frame's noise floor shows; NaN where a refused frame was not looked at."""
    verdict: Verdict
    columns: Columns = field(default_factory=Columns.none)
    maps: Maps = Maps()
    timings: Timings = Timings()
    conditions: Conditions | None = None
    """None where nothing tells them: a refused frame, no lattice, a model that does not measure them."""
