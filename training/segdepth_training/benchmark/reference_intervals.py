"""Intervals of the benchmark's figures at size `full`, kept so that a smaller size can be compared with them."""

from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict

FIGURES = {
    "exact": "right counts",
    "within_1": "within ±1",
    "recall": "found",
    "ece_debiased": "ECE",
    "interval_covers": "covers",
}
"""Of each dose and family, as the report has them and as it calls them."""


class Inside(NamedTuple):
    """A figure of a smaller size, beside full's interval."""

    family: str
    dose: str
    what: str
    value: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the interval holds it, to the three digits that are printed."""
        return round(self.low, 3) <= round(self.value, 3) <= round(self.high, 3)


class Intervals(BaseModel):
    """95 % intervals of a model's figures, as figures[family][dose][figure] = (low, high)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    model: str
    figures: dict[str, dict[str, dict[str, tuple[float, float]]]]

    @classmethod
    def of(cls, report: dict[str, Any]) -> Self:
        """Of a report's first contender."""
        model = report["model"]
        figures = {
            family: {
                dose: {name: (round(found[name]["low"], 4), round(found[name]["high"], 4)) for name in FIGURES}
                for dose, found in doses.items()
            }
            for family, doses in report["contenders"][model].items()
        }
        return cls(digest=report["digest"], model=model, figures=figures)

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a file that `write` made. ValueError where there is none."""
        if not path.exists():
            raise ValueError(f"{path} is missing; a run with --size full writes it to its --work folder")
        return cls.model_validate_json(path.read_text())

    def write(self, path: Path) -> None:
        """To a file."""
        path.write_text(self.model_dump_json(indent=1) + "\n")

    def are_of(self, digest: str, model: str) -> bool:
        """Whether they are of this benchmark and this model."""
        return (digest, model) == (self.digest, self.model)

    def beside(self, contenders: dict[str, dict[str, dict[str, Any]]]) -> list[Inside]:
        """The model's figures of a smaller size, each with its interval here."""
        found = contenders[self.model]
        return [
            Inside(family, dose, FIGURES[name], found[family][dose][name]["value"], *interval)
            for family, doses in self.figures.items()
            for dose, kept in doses.items()
            for name, interval in kept.items()
        ]
