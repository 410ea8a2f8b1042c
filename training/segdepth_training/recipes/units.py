"""Slips of the unit: a number that no crystal, microscope or camera has is refused with the unit that may be meant."""

from pydantic import AfterValidator


def plausible(low: float, high: float, unit: str, meant: str, *, none: bool = False) -> AfterValidator:
    """Refuses a number outside low-high [unit], of an interval its upper bound. `none`: 0 says that there is none."""

    def check(value: float | tuple[float, float]) -> float | tuple[float, float]:
        if isinstance(value, tuple) and value[0] < 0:
            raise ValueError(f"({value[0]:g}, {value[1]:g}) {unit}: begins below 0")
        largest = abs(value[1] if isinstance(value, tuple) else value)
        if not (low <= largest <= high or (none and largest == 0)):
            zero = " (0 for none)" if none else ""
            raise ValueError(f"{largest:g} {unit}: {low:g}-{high:g} {unit}{zero} would be plausible; given in {meant}?")
        return value

    return AfterValidator(check)


def length(low_A: float, high_A: float, *, none: bool = False) -> AfterValidator:
    """A length in Å, which may have been given in nm or pm."""
    return plausible(low_A, high_A, "Å", "nm or pm", none=none)
