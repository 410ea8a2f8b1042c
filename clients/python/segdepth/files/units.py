"""Units as files spell them: of length, of time, of energy, and of what is no length but its inverse."""

import math

ANGSTROM_PER = {
    "fm": 1e-5,
    "pm": 1e-2,
    "picometer": 1e-2,
    "å": 1.0,
    "a": 1.0,
    "ang": 1.0,
    "angstrom": 1.0,
    "ångström": 1.0,
    "nm": 10.0,
    "nanometer": 10.0,
    "µm": 1e4,
    "um": 1e4,
    "micron": 1e4,
    "micrometer": 1e4,
    "mm": 1e7,
    "millimeter": 1e7,
    "cm": 1e8,
    "centimeter": 1e8,
    "dm": 1e9,
    "m": 1e10,
    "meter": 1e10,
    "inch": 2.54e8,
    "in": 2.54e8,
}
"""Lower case, singular, American, without brackets; the micro sign and Å in one of their spellings each."""


def angstrom_per(unit: str) -> float | None:
    """Å of one `unit` as a file writes it ("nm", "[n_m]", "Nanometres", "\\u00B5m"); None if it is no length."""
    return ANGSTROM_PER.get(_plain(unit), ANGSTROM_PER.get(_plain(unit).rstrip("s")))


def length_A(value: float | str | None, unit: str) -> float | None:
    """`value` in Å, None unless it is a positive length."""
    factor = angstrom_per(unit)
    if value is None or factor is None:
        return None
    try:
        length = float(value) * factor
    except ValueError:
        return None
    return length if length > 0 and math.isfinite(length) else None


SECONDS_PER = {
    "ns": 1e-9,
    "nanosecond": 1e-9,
    "µs": 1e-6,
    "us": 1e-6,
    "microsecond": 1e-6,
    "ms": 1e-3,
    "millisecond": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
}
"""Lower case, singular."""


def time_s(value: float | str | None, unit: str) -> float | None:
    """`value` in seconds, None unless it is a positive time."""
    factor = SECONDS_PER.get(_plain(unit), SECONDS_PER.get(_plain(unit).rstrip("s")))
    if value is None or factor is None:
        return None
    try:
        time = float(value) * factor
    except ValueError:
        return None
    return time if time > 0 and math.isfinite(time) else None


def is_reciprocal(unit: str) -> bool:
    """Whether a picture in this unit is a diffraction pattern: "1/nm", "[n_m^-1]", "mrad"."""
    # As people and LaTeX write it: nm⁻¹, $A^{-1}$.
    plain = _plain(unit).replace("⁻¹", "-1").translate(str.maketrans("", "", " ${}\\"))
    for inverse in (plain.removeprefix("1/"), plain.removesuffix("-1").rstrip("^*")):
        if inverse != plain and angstrom_per(inverse) is not None:
            return True
    return plain in ("mrad", "rad", "µrad")


def is_energy(unit: str) -> bool:
    """Whether an axis in this unit is that of a spectrum: "eV", "keV"."""
    return _plain(unit) in ("mev", "ev", "kev")


def _plain(unit: str) -> str:
    for written, meant in (("\\u00B5", "µ"), ("\\u00b5", "µ"), ("\\u00C5", "Å"), ("\\u00c5", "Å")):
        unit = unit.replace(written, meant)
    unit = unit.replace("\u03bc", "µ").replace("\u212b", "Å").strip().strip("[]").replace("_", "")
    return unit.lower().replace("metre", "meter")
