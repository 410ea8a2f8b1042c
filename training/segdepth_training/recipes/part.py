"""What sections of recipes and profiles are made of."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def ordered(interval: tuple[float, float]) -> tuple[float, float]:
    """The interval itself. ValueError where its upper bound comes first."""
    low, high = interval
    if not low <= high:
        raise ValueError(f"({low:g}, {high:g}): the lower bound comes first")
    return interval


Interval = Annotated[tuple[float, float], AfterValidator(ordered)]


class Part(BaseModel):
    """Immutable; a misspelt field is an error, and so is a number that is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
