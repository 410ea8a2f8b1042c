"""An instrument's profile: what is known of one microscope and its camera, as data.

`[microscope]` and `[imaging]` state what differs from a recipe; `[camera]` is what `segdepth ... --detector` reads of
the same file (docs/frames.md). Lengths are in Å and doses in e/Å², unless a name says otherwise.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from segdepth_artefacts.names import PROFILE
from segdepth_training.recipes.faults import in_words, parsed
from segdepth_training.recipes.part import Part
from segdepth_training.recipes.recipe import Camera, Microscope, Recipe

SECTIONS = {"camera": "imaging"}
"""What a profile calls sections of a recipe: its own [camera] is the detector's."""

LOWEST_PER_PX = 0.1
"""Below this frequency [1/px] a modulation transfer is too near 1 to tell a width."""


class StatedMicroscope(Microscope):
    """What a profile states of the microscope; whatever it leaves out is the recipe's."""

    @model_validator(mode="after")
    def _compensated(self) -> "StatedMicroscope":
        """Whether the defocus balances C3 is for the recipe to say, which has the two together."""
        return self


class StatedImaging(Camera):
    """What a profile states of how frames are recorded; whatever it leaves out is the recipe's."""

    @model_validator(mode="after")
    def _of_an_instrument(self) -> "StatedImaging":
        if "noise_free_share" in self.model_fields_set:
            raise ValueError(
                "noise_free_share: how a model is trained, not what an instrument is; state it in a recipe"
            )
        return self


class Profile(Part):
    """One instrument."""

    name: str = Field(pattern=f"^{PROFILE}$", max_length=64, description="of the instrument; a family's after the @")
    description: str
    microscope: StatedMicroscope = StatedMicroscope()
    imaging: StatedImaging = StatedImaging()
    camera: dict[str, Any] = Field({}, description="the detector's section; `mtf` alone is used here")
    _source: str = PrivateAttr("")

    @classmethod
    def load(cls, path: Path) -> "Profile":
        """Read a TOML profile. Raises ValueError that names file, section and field, and what would be right."""
        return cls.parse(path.read_text("utf-8"), str(path))

    @classmethod
    def parse(cls, text: str, name: str) -> "Profile":
        """A profile from its TOML; `name` says in errors where that is. Raises ValueError as `load`."""
        profile = parsed(cls, text, name)
        profile._source = name
        return profile

    @model_validator(mode="after")
    def _transfers(self) -> "Profile":
        self.spread_px()
        return self

    def spread_px(self) -> tuple[float, float] | None:
        """Widths of a point's spread [px] that [camera] mtf allows, None where it says nothing.

        Of a measured curve the narrowest and the widest Gaussian that passes as much as it somewhere between a tenth
        per pixel and Nyquist's frequency: exp(-2 (π σ f)²) = mtf(f). Raises ValueError for what is no mtf.
        """
        match self.camera.get("mtf"):
            case None:
                return None
            case {"sigma_px": float() | int() as sigma_px, **others} if not others and math.isfinite(sigma_px):
                if sigma_px < 0:
                    raise ValueError(f"camera.mtf.sigma_px = {sigma_px:g}: a width, 0 or more")
                return float(sigma_px), float(sigma_px)
            case [float() | int(), float() | int(), float() | int(), *_] as curve if _is_transfer(curve):
                return _widths_px(curve)
            case said:
                raise ValueError(
                    f"camera.mtf = {said!r}: {{ sigma_px = 0.4 }}, or values above 0, from zero frequency (1) to"
                    " Nyquist's, evenly spaced, three or more"
                )

    def applied_to(self, recipe: Recipe) -> Recipe:
        """The recipe for this instrument: its crystal and specimens, this microscope and camera, a family of its own.

        Its sets keep those of their doses that the instrument has. Raises ValueError that names the section and field
        where the two together cannot be, and for a recipe that is some instrument's already.
        """
        if "@" in recipe.family:
            raise ValueError(
                f"{self._with(recipe)}: the recipe is an instrument's already; take the one that it came from"
            )
        said = recipe.model_dump(exclude_unset=True)
        stated = self.imaging.model_dump(exclude_unset=True)
        if (spread_px := self.spread_px()) is not None:
            stated = {"mtf_px": spread_px, **stated}
        camera = {**said.get("camera", {}), **stated}
        microscope = {**said.get("microscope", {}), **self.microscope.model_dump(exclude_unset=True)}
        ours = {"family": f"{recipe.family}@{self.name}", "microscope": microscope, "camera": camera}
        doses = self._doses(recipe) if "dose" in stated else {}
        try:
            return Recipe.model_validate({**said, **ours, **_adapted(said, recipe, doses)})
        except ValidationError as error:
            raise ValueError(f"{self._with(recipe)}:\n{in_words(error, 'profile', SECTIONS)}") from error

    def _with(self, recipe: Recipe) -> str:
        return f"{self._source or f'profile {self.name}'}, with recipe {recipe.family}"

    def _doses(self, recipe: Recipe) -> dict[str, Any]:
        """Sections of the recipe that speak of doses, without those that this instrument does not have."""
        low, high = self.imaging.dose
        said: dict[str, Any] = recipe.model_dump(include={"calibration", "benchmark", "training", "gates"})
        for name in ("calibration", "benchmark"):
            kept = [dose for dose in said[name]["doses"] if isinstance(dose, str) or low <= dose <= high]
            if all(isinstance(dose, str) for dose in kept):
                listed = ", ".join(f"{dose:g}" for dose in said[name]["doses"] if isinstance(dose, float))
                raise ValueError(
                    f"{self._with(recipe)}:\n- imaging.dose: ({low:g}, {high:g})"
                    f" e/Å² has none of the doses of the recipe's {name}; widen it to one of {listed}"
                )
            said[name]["doses"] = kept
        measured = [dose if isinstance(dose, str) else f"{dose:g}" for dose in said["benchmark"]["doses"]]
        gates = said["gates"]["paper_accuracy"]
        said["gates"]["paper_accuracy"] = {dose: bar for dose, bar in gates.items() if dose in measured}
        said["training"]["easy_dose"] = min(said["training"]["easy_dose"], high)
        return said


def _adapted(said: dict[str, Any], recipe: Recipe, doses: dict[str, Any]) -> dict[str, Any]:
    """Sections of a recipe that only refits a second stage, for frames that are all of one instrument."""
    stage = recipe.second_stage
    fitting = {"widened_share": 0.0, "specimens": stage.profile_specimens, "steps": stage.profile_steps}
    benchmark = doses.get("benchmark", said["benchmark"])
    specimens = min(stage.profile_benchmark, recipe.benchmark.specimens)
    return {
        **doses,
        "second_stage": {**said.get("second_stage", {}), **fitting},
        "benchmark": {**benchmark, "specimens": specimens},
        # What the recipe asks of its own instruments nobody can ask of one with less contrast; calibration all can.
        "gates": {**doses.get("gates", said.get("gates", {})), "paper_accuracy": {}},
    }


def _is_transfer(curve: Sequence[Any]) -> bool:
    numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in curve)
    return numbers and abs(curve[0] - 1) < 0.05 and all(0 < value <= 1.05 for value in curve)


def _widths_px(curve: Sequence[float]) -> tuple[float, float]:
    """Least and largest width [px] of the Gaussians through the points of a transfer from 0 to 1/2 per pixel."""
    step_per_px = 0.5 / (len(curve) - 1)
    points = [(n * step_per_px, min(value, 1.0)) for n, value in enumerate(curve) if n * step_per_px >= LOWEST_PER_PX]
    widths_px = [math.sqrt(-math.log(value) / 2) / (math.pi * per_px) for per_px, value in points]
    return min(widths_px), max(widths_px)
