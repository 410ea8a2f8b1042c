"""Attributes that travel with a frame: which of them say how it was taken.

Those of our own have their unit in the name, so that they may be read without being told; of any other the unit is said
by whoever names it, never guessed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from segdepth.calibration import Calibration
from segdepth.errors import InvalidFrame
from segdepth.files.units import angstrom_per

SAMPLING = "SamplingAngstromPerPx"

NAMES = {
    "counts_per_electron": "CountsPerElectron",
    "dose_per_A2": "DoseElectronsPerAngstrom2",
    "beam_energy_kev": "BeamEnergyKeV",
    "spherical_aberration_um": "SphericalAberrationUm",
    "black_level": "BlackLevelCounts",
}
"""The attributes of the other fields of a Calibration."""

FORM = "NAME:UNIT, such as PixelSize:nm"


def attributes_of(calibration: Calibration) -> dict[str, float]:
    """A calibration as attributes of our own names; the modulation transfer is too long for one."""
    known = {NAMES[name]: float(value) for name in NAMES if (value := getattr(calibration, name)) is not None}
    return {SAMPLING: float(calibration.sampling_A), **known}


@dataclass(frozen=True)
class CalibrationAttributes:
    """By which attributes to know a frame's calibration.

    sampling: of the pixel size; sampling_unit: its unit, a length [per px]; the others: see NAMES.
    """

    sampling: str = SAMPLING
    sampling_unit: str = "Å"
    counts_per_electron: str = NAMES["counts_per_electron"]
    dose_per_A2: str = NAMES["dose_per_A2"]
    beam_energy_kev: str = NAMES["beam_energy_kev"]
    spherical_aberration_um: str = NAMES["spherical_aberration_um"]
    black_level: str = NAMES["black_level"]

    def __post_init__(self) -> None:
        if not self.sampling or angstrom_per(self.sampling_unit) is None:
            raise InvalidFrame(
                f"attributes.sampling: {self.sampling_unit!r} is no unit of length; one is Å, nm or pm",
                "attributes.sampling",
            )

    def with_sampling(self, name_and_unit: str) -> Self:
        """These with the pixel size in another attribute, as "NAME:UNIT". InvalidFrame where the unit is missing."""
        name, _, unit = name_and_unit.rpartition(":")
        if not name or angstrom_per(unit) is None:
            raise InvalidFrame(
                f"{name_and_unit!r} does not say the attribute and its unit of length: {FORM}", "attributes.sampling"
            )
        return replace(self, sampling=name, sampling_unit=unit)

    def calibration(self, attributes: Mapping[str, Any], stated: Mapping[str, Any]) -> Calibration | None:
        """What a frame's attributes say, what is `stated` before them, field by field; None without a pixel size.

        An attribute that is no number says nothing: "n/a", NaN, an empty string.
        """
        said: dict[str, Any] = {
            name: known for name in NAMES if (known := _number(attributes.get(getattr(self, name)))) is not None
        }
        said["sampling_A"] = self._sampling_A(attributes)
        said |= stated
        return None if said["sampling_A"] is None else Calibration(**said)

    def _sampling_A(self, attributes: Mapping[str, Any]) -> float | None:
        size, factor = _number(attributes.get(self.sampling)), angstrom_per(self.sampling_unit)
        if size is None or factor is None or size <= 0:
            return None
        # Without the noise of 0.01 * 10.
        return float(f"{size * factor:.12g}")


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
